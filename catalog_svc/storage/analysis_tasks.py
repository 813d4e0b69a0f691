"""Tasks of AnalysisService as they are stored: lease, extend, submit, mark dead.

A lease writes the task alone and does not wait for a batch of the shop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import (
    LEASE_EXPIRED,
    MAX_ATTEMPTS,
    LeasedPage,
    LeasedTask,
    SubmittedResult,
    TaskLease,
    TaskOutcome,
    Worker,
)
from catalog_svc.storage.analysis_images import update_items
from catalog_svc.storage.analysis_leases import LEASE_COLUMNS, LEASES, OF_LEASE, lease_values, to_lease
from catalog_svc.storage.analysis_queue import (
    activate,
    charge,
    count_leases,
    due_analyzers,
    due_shops,
    lock_worker,
    update_due_time,
)
from catalog_svc.storage.analysis_results import store_results
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import lock_for_analysis
from catalog_svc.storage.shops import ShopScope

_MAX_MARKED_DEAD: Final = 500
"""Tasks that one transaction declares dead."""

_LEASE = text("""
    WITH picked AS (
        SELECT image_hash FROM analysis_task
        WHERE shop_id = :shop_id AND analyzer = :analyzer AND NOT dead AND feed_position >= :from_position
          AND available_at <= statement_timestamp() AND attempt_count < :max_attempts
        ORDER BY feed_position, image_hash LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE analysis_task AS task SET epoch = task.epoch + 1, attempt_count = task.attempt_count + 1,
        worker_id = :worker_id, available_at = statement_timestamp() + :duration
    FROM picked
    WHERE task.shop_id = :shop_id AND task.analyzer = :analyzer AND task.image_hash = picked.image_hash
    RETURNING task.analyzer, task.image_hash, task.image_url, task.feed_position, task.epoch, task.attempt_count,
        task.available_at""")

# One item of each image. OFFSET keeps the subqueries as they are: a look-up by key for each image.
_SELECT_ITEMS = text("""
    SELECT image.image_hash, item.item_id, item.item_title, product.product_id, product.title AS product_title,
        product.product_type, product.vendor, product.tags
    FROM unnest(CAST(:image_hashes AS bytea[])) AS image (image_hash)
    CROSS JOIN LATERAL (
        SELECT item.item_id, item.title AS item_title, item.product_id FROM item
        WHERE item.shop_id = :shop_id AND item.image_hash = image.image_hash AND item.deleted_at IS NULL
        LIMIT 1 OFFSET 0) AS item
    CROSS JOIN LATERAL (
        SELECT product.product_id, product.title, product.product_type, product.vendor, product.tags FROM product
        WHERE product.shop_id = :shop_id AND product.product_id = item.product_id OFFSET 0) AS product""")

# No item has the image any more. Under the shop's write lock, so that no batch adds such an item meanwhile.
_DELETE_UNUSED = text("""
    DELETE FROM analysis_task AS task
    WHERE task.shop_id = :shop_id AND task.analyzer = :analyzer
      AND task.image_hash = ANY(CAST(:image_hashes AS bytea[]))
      AND NOT EXISTS (
        SELECT FROM item WHERE item.shop_id = :shop_id AND item.image_hash = task.image_hash
          AND item.deleted_at IS NULL)""")

# Not an expired one: another task may have taken its slot already.
_EXTEND = text(f"""
    UPDATE analysis_task AS task SET available_at = statement_timestamp() + :duration
    FROM {LEASES} WHERE {OF_LEASE} AND task.worker_id = :worker_id
      AND task.available_at > statement_timestamp()
    RETURNING {LEASE_COLUMNS}, task.available_at""")

# The next lease has another epoch: a result of this one is late from now on.
_RELEASE = text(f"""
    UPDATE analysis_task AS task SET available_at = statement_timestamp(), worker_id = NULL,
        epoch = task.epoch + 1, attempt_count = task.attempt_count - 1
    FROM {LEASES} WHERE {OF_LEASE} AND task.worker_id = :worker_id
    RETURNING {LEASE_COLUMNS}, task.available_at""")

_MARK_DEAD = text("""
    UPDATE analysis_task SET dead = true, worker_id = NULL, epoch = epoch + 1, failure_reason = :reason,
        failure_message = 'The leases of all attempts expired: the workers did not answer in time.'
    WHERE shop_id = :shop_id AND analyzer = :analyzer AND image_hash IN (
        SELECT image_hash FROM analysis_task
        WHERE shop_id = :shop_id AND analyzer = :analyzer AND NOT dead AND attempt_count >= :max_attempts
          AND available_at <= statement_timestamp()
        ORDER BY feed_position, image_hash LIMIT :limit)
    RETURNING image_hash""")


class AnalysisTaskStore:
    """Tasks of all shops, each leased to one worker at a time."""

    def __init__(self, database: Database, *, write_ttl: timedelta) -> None:
        """Create the store; no statement of a write under a shop's lock takes longer than `write_ttl`."""
        self._database = database
        self._ttl = write_ttl

    async def due_analyzers(self, analyzers: Collection[str]) -> list[str]:
        """Return those of these analyzers for which a shop may have tasks."""
        return await self._database.read(lambda connection: due_analyzers(connection, analyzers))

    async def due_shops(self, analyzer: str, *, limit: int) -> list[UUID]:
        """Return up to `limit` shops that may have tasks for the analyzer, the one that was served least first."""
        return await self._database.read(lambda connection: due_shops(connection, analyzer, limit=limit))

    async def lease(self, worker: Worker, shop_id: UUID, *, limit: int, from_position: int = 0) -> LeasedPage:
        """Lease up to `limit` tasks of a shop, no more than the worker has free slots.

        Args:
            worker: The worker.
            shop_id: The shop.
            limit: Maximum number of tasks.
            from_position: Tasks of earlier positions are left out: the caller has found none a moment ago.
        """
        return await self._database.write(
            lambda connection: _lease(connection, worker, shop_id, limit=limit, from_position=from_position),
            shops=[shop_id],
        )

    async def held_leases(self, worker_id: str) -> int:
        """Return how many unexpired leases the worker has, over all shops."""
        return await self._database.read(lambda connection: count_leases(connection, worker_id))

    async def extend(
        self, worker_id: str, leases: Sequence[TaskLease], duration: timedelta
    ) -> dict[TaskLease, datetime]:
        """Extend leases of the worker; with a duration of zero end them.

        Returns:
            Until when the extended leases last; those that are lost are missing.
        """
        extended: dict[TaskLease, datetime] = {}
        for shop_id, some in _by_shop(leases):
            extended |= await self._database.write(
                lambda connection, shop_id=shop_id, some=some: _extend(  # type: ignore[misc]
                    connection, worker_id, shop_id, some, duration
                ),
                shops=[shop_id],
            )
        return extended

    async def submit(self, shop_id: UUID, results: Sequence[SubmittedResult]) -> list[TaskOutcome]:
        """Store results of leases of one shop, each only if its lease is the current one.

        A repeated call returns the same outcomes and changes nothing, but for failures, which are then stale.

        Returns:
            The outcomes, in the order of the results.
        """
        return await self._database.write(
            lambda connection: self._submit(connection, shop_id, results), shops=[shop_id]
        )

    async def _submit(
        self, connection: AsyncConnection, shop_id: UUID, results: Sequence[SubmittedResult]
    ) -> list[TaskOutcome]:
        write = await lock_for_analysis(connection, shop_id, ttl=self._ttl)
        if write is None:
            return [TaskOutcome.STALE] * len(results)
        outcomes = await store_results(connection, ShopScope(shop_id=shop_id), write, results)
        return [outcomes[result.lease] for result in results]

    async def drop_unused(self, worker_id: str, leases: Sequence[TaskLease]) -> None:
        """Delete leased tasks of one shop and analyzer whose image no item has; end the leases of the others."""
        shop_id, analyzer = leases[0].shop_id, leases[0].image.analyzer

        async def work(connection: AsyncConnection) -> None:
            if await lock_for_analysis(connection, shop_id, ttl=self._ttl) is None:
                return
            hashes = sorted(lease.image.image_hash for lease in leases)
            values = {**ShopScope(shop_id=shop_id).values, "analyzer": analyzer, "image_hashes": hashes}
            await connection.execute(_DELETE_UNUSED, values)
            await _extend(connection, worker_id, shop_id, leases, timedelta())

        await self._database.write(work, shops=[shop_id])

    async def mark_dead(self, shop_id: UUID, analyzer: str) -> int:
        """Declare those tasks dead whose last lease has expired, and return how many."""

        async def work(connection: AsyncConnection) -> int:
            write = await lock_for_analysis(connection, shop_id, ttl=self._ttl)
            if write is None:
                return 0
            scope = ShopScope(shop_id=shop_id)
            values = {"analyzer": analyzer, "max_attempts": MAX_ATTEMPTS, "reason": LEASE_EXPIRED}
            marked = list(
                (
                    await connection.execute(_MARK_DEAD, {**scope.values, **values, "limit": _MAX_MARKED_DEAD})
                ).scalars()
            )
            await update_items(connection, scope, write, marked)
            await update_due_time(connection, scope, analyzer, max_attempts=MAX_ATTEMPTS)
            return len(marked)

        return await self._database.write(work, shops=[shop_id])


async def _lease(
    connection: AsyncConnection, worker: Worker, shop_id: UUID, *, limit: int, from_position: int
) -> LeasedPage:
    scope = ShopScope(shop_id=shop_id)
    held = await lock_worker(
        connection, worker.worker_id, analyzer=worker.analyzer, model_version=worker.model_version
    )
    if (free := min(limit, worker.max_in_flight - held)) <= 0:
        return LeasedPage(is_full=True)
    values = {
        **scope.values,
        "analyzer": worker.analyzer,
        "worker_id": worker.worker_id,
        "duration": worker.lease_duration,
        "limit": free,
        "from_position": from_position,
        "max_attempts": MAX_ATTEMPTS,
    }
    rows = {row.image_hash: row for row in await connection.execute(_LEASE, values)}
    tasks = await _with_items(connection, scope, rows)
    if tasks:
        await charge(connection, scope, worker.analyzer, count=len(tasks))
    exhausted = False
    if len(rows) < free and from_position == 0:
        exhausted = await update_due_time(connection, scope, worker.analyzer, max_attempts=MAX_ATTEMPTS)
    unused = rows.keys() - {task.lease.image.image_hash for task in tasks}
    return LeasedPage(
        tasks=tuple(tasks),
        unused=tuple(to_lease(scope, rows[image]) for image in sorted(unused)),
        has_exhausted=exhausted,
    )


async def _with_items(
    connection: AsyncConnection, scope: ShopScope, rows: Mapping[bytes, SqlRow[Any]]
) -> list[LeasedTask]:
    """Return the leased tasks in order, each with an item; without those whose image no item has."""
    if not rows:
        return []
    items = (await connection.execute(_SELECT_ITEMS, {**scope.values, "image_hashes": list(rows)})).all()
    tasks = [_to_task(scope, rows[item.image_hash], item) for item in items]
    return sorted(tasks, key=lambda task: (task.lease.feed_position, task.lease.image.image_hash))


def _to_task(scope: ShopScope, row: SqlRow[Any], item: SqlRow[Any]) -> LeasedTask:
    return LeasedTask(
        lease=to_lease(scope, row),
        image_url=row.image_url,
        attempt=row.attempt_count,
        expires_at=row.available_at,
        item_id=item.item_id,
        item_title=item.item_title,
        product_id=item.product_id,
        product_title=item.product_title,
        product_type=item.product_type,
        vendor=item.vendor,
        tags=tuple(item.tags),
    )


async def _extend(
    connection: AsyncConnection,
    worker_id: str,
    shop_id: UUID,
    leases: Sequence[TaskLease],
    duration: timedelta,
) -> dict[TaskLease, datetime]:
    scope = ShopScope(shop_id=shop_id)
    values = {**scope.values, **lease_values(leases), "worker_id": worker_id}
    if duration:
        rows = await connection.execute(_EXTEND, {**values, "duration": duration})
    else:
        rows = await connection.execute(_RELEASE, values)
    until = {to_lease(scope, row): row.available_at for row in rows}
    if until and not duration:
        await activate(connection, scope, sorted({lease.image.analyzer for lease in until}))
    return until


def _by_shop(leases: Sequence[TaskLease]) -> Iterator[tuple[UUID, list[TaskLease]]]:
    for shop_id in dict.fromkeys(lease.shop_id for lease in leases):
        yield shop_id, [lease for lease in leases if lease.shop_id == shop_id]
