"""Retention: deletes rows past their retention period, few at a time, each time in a transaction of its own.

The work of one replica, which holds the lease "retention". It finds by index what is to be deleted: a round with
nothing to do takes a few queries, however many shops there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.storage.database import Database
from catalog_svc.storage.loop_leases import LoopLease
from catalog_svc.storage.partitions import create_partitions, drop_partitions, purge_unpartitioned
from catalog_svc.storage.shops import Row

_LOOP: Final = "retention"

# A volatile function such as clock_timestamp() would be no index condition.
_CUTOFF = "statement_timestamp() - CAST(:older_than AS interval)"

# Of all shops, and so by functions: they return ids, or delete and return numbers.
# A worker that leases at this moment holds the lock of its row, and is not old.
_DELETE_WORKERS = text("""
    DELETE FROM analysis_worker WHERE worker_id IN (
        SELECT worker_id FROM analysis_worker
        WHERE seen_at < statement_timestamp() - CAST(:older_than AS interval)
        ORDER BY seen_at LIMIT :limit FOR UPDATE SKIP LOCKED)""")
_DELETE_REQUESTS = text("SELECT purge_requests(CAST(:older_than AS interval), CAST(:limit AS integer))")

_DELETE_DELETIONS = text("SELECT purge_deletions(CAST(:older_than AS interval), CAST(:limit AS integer))")

_DELETE_EVENTS = text("SELECT purge_change_events(CAST(:older_than AS interval), CAST(:limit AS integer))")

_FIND_OBSOLETE = text("SELECT shop_id, pass_id FROM find_obsolete_pass()")

_FIND_SHOP_WITH_TOMBSTONES = text("""
    SELECT shop_id FROM find_shop_with_tombstones(CAST(:older_than AS interval)) AS shop_id""")

_DELETE_SEEN = text("""
    DELETE FROM sync_seen WHERE shop_id = :shop_id AND pass_id = :pass_id AND product_id IN (
        SELECT product_id FROM sync_seen WHERE shop_id = :shop_id AND pass_id = :pass_id LIMIT :limit)""")

_DELETE_OBSOLETE = text("DELETE FROM obsolete_pass WHERE shop_id = :shop_id AND pass_id = :pass_id")

_LOCK_SHOP = text("SELECT feed_floor FROM shop_state WHERE shop_id = :shop_id AND NOT deleting FOR UPDATE")

# Every statement repeats the condition under which rows may be deleted: a row that is live again by then stays.
_DELETE_ITEMS = text(f"""
    WITH deleted AS (
        DELETE FROM item WHERE shop_id = :shop_id AND deleted_at < {_CUTOFF} AND item_id IN (
            SELECT item_id FROM item WHERE shop_id = :shop_id AND deleted_at < {_CUTOFF} LIMIT :limit)
        RETURNING feed_position)
    SELECT count(*) AS deleted_count, max(feed_position) AS position FROM deleted""")

# One condition for each of the two indexes of items by product.
_WITHOUT_ITEMS = """NOT EXISTS (
          SELECT FROM item WHERE item.shop_id = :shop_id AND item.product_id = product.product_id
            AND item.deleted_at IS NULL)
          AND NOT EXISTS (
          SELECT FROM item WHERE item.shop_id = :shop_id AND item.product_id = product.product_id
            AND item.deleted_at IS NOT NULL)"""

_DELETE_PRODUCTS = text(f"""
    WITH deleted AS (
        DELETE FROM product
        WHERE shop_id = :shop_id AND deleted_at < {_CUTOFF} AND {_WITHOUT_ITEMS} AND product_id IN (
            SELECT product_id FROM product
            WHERE shop_id = :shop_id AND deleted_at < {_CUTOFF} AND {_WITHOUT_ITEMS} LIMIT :limit)
        RETURNING feed_position)
    SELECT count(*) AS deleted_count, max(feed_position) AS position FROM deleted""")

_RAISE_FLOOR = text("""
    UPDATE shop_state SET feed_floor = greatest(feed_floor, :position) WHERE shop_id = :shop_id""")

# A product that still has items waits for them: were it counted, the shop would be selected again and again.
_SELECT_OLDEST_TOMBSTONE = text(f"""
    SELECT least(
        (SELECT deleted_at FROM item WHERE shop_id = :shop_id AND deleted_at IS NOT NULL
         ORDER BY deleted_at LIMIT 1),
        (SELECT deleted_at FROM product WHERE shop_id = :shop_id AND deleted_at IS NOT NULL AND {_WITHOUT_ITEMS}
         ORDER BY deleted_at LIMIT 1))""")

_SET_OLDEST_TOMBSTONE = text("UPDATE shop_state SET oldest_tombstone_at = :oldest WHERE shop_id = :shop_id")


class RetentionStore:
    """Purges of one replica, the `owner`. Each `purge_` method returns how many rows it deleted, 0 when none."""

    def __init__(self, database: Database, *, owner: UUID, rows_per_purge: int = 5_000) -> None:
        self._database = database
        self._lease = LoopLease(database, name=_LOOP, owner=owner)
        self._rows_per_purge = rows_per_purge

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend the right to purge, for `ttl`; return whether this replica has it, and no other one."""
        return await self._lease.acquire(ttl=ttl)

    async def create_partitions(self) -> None:
        """Create the partitions of the coming months."""
        await self._database.write(create_partitions)

    async def drop_partitions(self, *, older_than: timedelta) -> int:
        """Drop the partitions all of whose syncs ended before `older_than` ago; return how many."""
        return await self._database.write(lambda connection: drop_partitions(connection, older_than=older_than))

    async def purge_unpartitioned(self, *, older_than: timedelta) -> int:
        """Delete old syncs and issues of months without a partition."""
        return await self._database.write(
            lambda connection: purge_unpartitioned(connection, older_than=older_than)
        )

    async def purge_requests(self, *, older_than: timedelta) -> int:
        """Delete idempotency keys; a request with the same request_id is then a new request."""
        return await self._delete(_DELETE_REQUESTS, older_than)

    async def purge_deletions(self, *, older_than: timedelta) -> int:
        """Delete the reports of deletions of shops that ended before `older_than` ago."""
        return await self._delete(_DELETE_DELETIONS, older_than)

    async def purge_changes(self, *, older_than: timedelta) -> int:
        """Delete change events, the oldest transactions first; the change feed then begins after them."""
        return await self._delete(_DELETE_EVENTS, older_than)

    async def purge_workers(self, *, older_than: timedelta) -> int:
        """Delete the rows of workers that have leased no analysis tasks for `older_than`, the oldest first."""
        values = {"older_than": older_than, "limit": self._rows_per_purge}

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(_DELETE_WORKERS, values)).rowcount

        return await self._database.write(work)

    async def purge_seen(self) -> int:
        """Delete seen ids of passes that cannot be resumed any more."""
        found = await self._find(_FIND_OBSOLETE)
        if found is None:
            return 0
        values = {**found, "limit": self._rows_per_purge}

        async def work(connection: AsyncConnection) -> int:
            deleted = (await connection.execute(_DELETE_SEEN, values)).rowcount
            if deleted < self._rows_per_purge:
                deleted += (await connection.execute(_DELETE_OBSOLETE, values)).rowcount
            return deleted

        return await self._database.write(work, shops=[found["shop_id"]])

    async def purge_deleted(self, *, older_than: timedelta) -> int:
        """Delete tombstones of items and products of one shop; the feed of the shop then begins after them."""
        found = await self._find(_FIND_SHOP_WITH_TOMBSTONES, older_than=older_than)
        if found is None:
            return 0
        values = {**found, "older_than": older_than, "limit": self._rows_per_purge}
        return await self._database.write(
            lambda connection: _purge_tombstones(connection, values), shops=[found["shop_id"]]
        )

    async def _find(self, query: TextClause, **values: object) -> Row | None:
        """Return the first row, in a transaction of its own: one that writes touches one shop only."""

        async def work(connection: AsyncConnection) -> Row | None:
            return (await connection.execute(query, values)).mappings().first()

        return await self._database.read(work)

    async def _delete(self, statement: TextClause, older_than: timedelta) -> int:
        values = {"older_than": older_than, "limit": self._rows_per_purge}

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement, values)).scalar_one())

        return await self._database.write(work)


async def _purge_tombstones(connection: AsyncConnection, values: Mapping[str, Any]) -> int:
    """Delete some tombstones, items before their products; return how many, at least 1."""
    if (await connection.execute(_LOCK_SHOP, values)).first() is None:
        # The shop is being deleted, with its tombstones.
        return 1
    deleted: Sequence[Any] = [
        (await connection.execute(statement, values)).one() for statement in (_DELETE_ITEMS, _DELETE_PRODUCTS)
    ]
    positions = [row.position for row in deleted if row.position is not None]
    if positions:
        await connection.execute(_RAISE_FLOOR, {**values, "position": max(positions)})
    count: int = sum(row.deleted_count for row in deleted)
    if count < values["limit"]:
        oldest = (await connection.execute(_SELECT_OLDEST_TOMBSTONE, values)).scalar()
        await connection.execute(_SET_OLDEST_TOMBSTONE, {**values, "oldest": oldest})
    return max(1, count)
