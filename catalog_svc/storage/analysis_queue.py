"""The queue of the shops that have tasks for an analyzer, in turns of equal size.

`due_at` says when a shop may have a task that can be leased; NULL: it has no open task. A transaction that makes
tasks always writes the row, as its last statement, and so waits for one that is about to set it to NULL; that one
looks for tasks after it has locked the row. So no task is missed, whatever the order of the two.

`virtual_time` counts the leased tasks of a shop. The shop with the lowest one is served first. A shop that has
tasks again begins at the present virtual time of the analyzer, which `analysis_clock` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.storage.shops import ShopScope

# Across shops, and so by functions, which return ids and numbers.
_SELECT_DUE_SHOPS = text("""
    SELECT shop_id FROM due_analysis_shops(CAST(:analyzer AS text), CAST(:limit AS integer))""")
_SELECT_DUE_ANALYZERS = text("SELECT due_analyzers(CAST(:analyzers AS text[])) AS analyzer")
_COUNT_LEASES = text("SELECT count_analysis_leases(CAST(:worker_id AS text))")

_ACTIVATE = text("""
    UPDATE analysis_queue SET due_at = least(due_at, statement_timestamp() + CAST(:delay AS interval)),
        virtual_time = CASE WHEN due_at IS NULL THEN greatest(virtual_time, analysis_clock(analyzer))
            ELSE virtual_time END
    WHERE shop_id = :shop_id AND analyzer = ANY(CAST(:analyzers AS text[]))""")

_CHARGE = text("""
    UPDATE analysis_queue SET virtual_time = virtual_time + :count
    WHERE shop_id = :shop_id AND analyzer = :analyzer""")

_LOCK = text("SELECT analyzer FROM analysis_queue WHERE shop_id = :shop_id AND analyzer = :analyzer FOR UPDATE")

_SET_DUE = text("""
    UPDATE analysis_queue SET due_at = :due_at WHERE shop_id = :shop_id AND analyzer = :analyzer""")

# Of the tasks that can be leased now, of those that wait for a retry, and of leases that may expire.
_SELECT_NEXT = text("""
    SELECT min(available_at) AS due_at,
        coalesce(bool_or(attempt_count >= :max_attempts AND available_at <= statement_timestamp()), false)
            AS exhausted
    FROM analysis_task WHERE shop_id = :shop_id AND analyzer = :analyzer AND NOT dead""")

_INSERT = text("""
    INSERT INTO analysis_queue (shop_id, analyzer)
    SELECT :shop_id, unnest(CAST(:analyzers AS text[])) ON CONFLICT DO NOTHING""")
_DELETE_OTHERS = text("""
    DELETE FROM analysis_queue WHERE shop_id = :shop_id AND analyzer <> ALL(CAST(:analyzers AS text[]))""")

# The lock of a worker's row lasts until the end of the transaction: its leases are counted and added one
# transaction after the other, whatever its streams and replicas.
_LOCK_WORKER = text("""
    INSERT INTO analysis_worker (worker_id, analyzer, model_version)
    VALUES (:worker_id, :analyzer, :model_version)
    ON CONFLICT (worker_id) DO UPDATE SET analyzer = excluded.analyzer, model_version = excluded.model_version,
        seen_at = excluded.seen_at""")

_AT_ONCE: Final = timedelta()


async def due_shops(connection: AsyncConnection, analyzer: str, *, limit: int) -> list[UUID]:
    """Return up to `limit` shops that may have tasks for the analyzer, the one that was served least first."""
    rows = await connection.execute(_SELECT_DUE_SHOPS, {"analyzer": analyzer, "limit": limit})
    return list(rows.scalars())


async def due_analyzers(connection: AsyncConnection, analyzers: Collection[str]) -> list[str]:
    """Return those of these analyzers for which a shop may have tasks."""
    return list((await connection.execute(_SELECT_DUE_ANALYZERS, {"analyzers": list(analyzers)})).scalars())


async def activate(
    connection: AsyncConnection, scope: ShopScope, analyzers: Sequence[str], *, delay: timedelta = _AT_ONCE
) -> None:
    """Record that tasks can be leased after `delay`. The last statement of the transaction that makes them."""
    values = {**scope.values, "analyzers": list(analyzers), "delay": delay}
    await connection.execute(_ACTIVATE, values)


async def charge(connection: AsyncConnection, scope: ShopScope, analyzer: str, *, count: int) -> None:
    """Count leased tasks of the shop."""
    await connection.execute(_CHARGE, {**scope.values, "analyzer": analyzer, "count": count})


async def update_due_time(
    connection: AsyncConnection, scope: ShopScope, analyzer: str, *, max_attempts: int
) -> bool:
    """Record when the shop will next have a task that can be leased, after a lease has found too few.

    Returns:
        Whether there are tasks whose last lease has expired: they must become dead.
    """
    values = {**scope.values, "analyzer": analyzer}
    if (await connection.execute(_LOCK, values)).first() is None:
        return False
    # A statement of its own: it sees what was committed before the lock.
    row = (await connection.execute(_SELECT_NEXT, {**values, "max_attempts": max_attempts})).one()
    due_at: datetime | None = row.due_at
    await connection.execute(_SET_DUE, {**values, "due_at": due_at})
    return bool(row.exhausted)


async def set_analyzers(connection: AsyncConnection, scope: ShopScope, analyzers: Sequence[str]) -> None:
    """Replace the analyzers of the shop."""
    values = {**scope.values, "analyzers": list(analyzers)}
    await connection.execute(_DELETE_OTHERS, values)
    await connection.execute(_INSERT, values)


async def lock_worker(connection: AsyncConnection, worker_id: str, *, analyzer: str, model_version: str) -> int:
    """Lock the worker until the end of the transaction, and return how many unexpired leases it has."""
    values = {"worker_id": worker_id, "analyzer": analyzer, "model_version": model_version}
    await connection.execute(_LOCK_WORKER, values)
    return await count_leases(connection, worker_id)


async def count_leases(connection: AsyncConnection, worker_id: str) -> int:
    """Return how many unexpired leases the worker has."""
    count: int = (await connection.execute(_COUNT_LEASES, {"worker_id": worker_id})).scalar_one()
    return count
