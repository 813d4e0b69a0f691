"""The refreshes of a worker: claim a shop, take products, write them, end the claim.

The write is a transaction of the shop's tables, as a sync's batch is, and with new images of the analysis queue.
What becomes of the shop's row in the queue of refreshes is decided afterwards, in a transaction that finds all
that is left to do.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.refresh import (
    COALESCING_DELAY,
    MAX_UNDECIDED_READS,
    UNDECIDED_DELAY,
    QueuedRefresh,
    RefreshClaim,
    RefreshResult,
)
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import SyncMode
from catalog_svc.storage.analysis_queue import activate
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import lock_outside_sync
from catalog_svc.storage.product_refresh import LOCK_ROWS, share_shop
from catalog_svc.storage.refresh_queue import (
    claim_shops,
    delete_claim,
    lock_claim,
    record_started_sync,
    release_claim,
)
from catalog_svc.storage.reread import write_reread
from catalog_svc.storage.shops import Row, ShopScope, load_shops, with_state

_IN_PASS_DELAY: Final = timedelta(seconds=5)
"""Between two claims of a shop with refreshed products whose sync runs: it may have left some of them pending."""
_OPEN_PASS_DELAY: Final = timedelta(minutes=1)
"""The same while no sync runs, and one may be resumed."""
_WANTED_SYNC_DELAY: Final = timedelta(seconds=30)
"""Until a sync is tried to be started again."""

# Without an open pass nothing that was read before can be written any more.
_DELETE_DONE = text("DELETE FROM product_refresh WHERE shop_id = :shop_id AND NOT pending AND reader IS NULL")
_RESET_REFRESHED = text("UPDATE product_refresh SET refreshed = false WHERE shop_id = :shop_id AND refreshed")

_SELECT_CONNECTION = text("SELECT connection_reason FROM shop WHERE shop_id = :shop_id")

# Those that a failed read has named come last: one that cannot be read keeps no other one from being read.
_SELECT_UNREAD = text("""
    SELECT product_id FROM product_refresh WHERE shop_id = :shop_id AND (pending OR reader IS NOT NULL)
    ORDER BY read_count, first_requested_at, product_id LIMIT :limit""")

_TAKE = text(f"""
    WITH locked AS ({LOCK_ROWS})
    UPDATE product_refresh SET reader = CAST(:claim_id AS uuid), pending = false, read_count = read_count + 1
    FROM locked
    WHERE product_refresh.shop_id = :shop_id AND product_refresh.product_id = locked.product_id
      AND (product_refresh.pending OR product_refresh.reader IS NOT NULL)
    RETURNING product_refresh.product_id""")

_OF_READER: Final = """shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND reader = CAST(:claim_id AS uuid)"""

_SELECT_OF_READER = text(f"SELECT product_id FROM product_refresh WHERE {_OF_READER}")

_MARK_REFRESHED = text(f"""
    UPDATE product_refresh SET reader = NULL, refreshed = true, read_count = 0 WHERE {_OF_READER}""")
_DELETE_SETTLED = text(f"DELETE FROM product_refresh WHERE {_OF_READER} AND NOT pending")
_RELEASE_SETTLED = text(f"UPDATE product_refresh SET reader = NULL, read_count = 0 WHERE {_OF_READER}")

_HAS_READER: Final = "shop_id = :shop_id AND reader = CAST(:claim_id AS uuid)"

# In the order of the ids, like all transactions that write several rows.
_LOCK_OF_READER = text(f"SELECT FROM product_refresh WHERE {_HAS_READER} ORDER BY product_id FOR UPDATE")

_RELEASE_FAILED = text(f"UPDATE product_refresh SET reader = NULL, pending = true WHERE {_HAS_READER}")
_DELETE_UNDECIDED = text(f"""
    DELETE FROM product_refresh
    WHERE {_HAS_READER} AND NOT pending AND NOT refreshed AND read_count >= :max_reads""")
_RELEASE_UNDECIDED = text(f"""
    UPDATE product_refresh SET reader = NULL, pending = pending OR read_count < :max_reads WHERE {_HAS_READER}""")
_LEAVE = text(f"DELETE FROM product_refresh WHERE {_HAS_READER} AND NOT pending AND NOT refreshed")
# A pass leaves products that were refreshed during it to their refresh: those wait for it.
_RELEASE_LEFT = text(f"""
    UPDATE product_refresh SET reader = NULL, pending = pending OR refreshed WHERE {_HAS_READER}
    RETURNING refreshed""")

# Not EXISTS, for which the planner would sometimes read the whole table.
_SELECT_REMAINING = text("""
    SELECT (SELECT product_id FROM product_refresh WHERE shop_id = :shop_id AND (pending OR reader IS NOT NULL)
            ORDER BY read_count LIMIT 1) IS NOT NULL AS unread,
        (SELECT product_id FROM product_refresh WHERE shop_id = :shop_id
         ORDER BY product_id LIMIT 1) IS NOT NULL AS any_row""")


class RefreshStore:
    """Claims of shops with products to read again, and the writes of what was read."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        """Create the store; a claim lasts for `ttl`, and no statement of a write takes longer."""
        self._database = database
        self._ttl = ttl

    async def claim(self, *, limit: int, without_platforms: Collection[str] = ()) -> list[QueuedRefresh]:
        """Claim up to `limit` shops that are due, of other platforms than these."""

        async def work(connection: AsyncConnection) -> list[QueuedRefresh]:
            return await claim_shops(connection, limit=limit, without_platforms=without_platforms, ttl=self._ttl)

        return await self._database.write(work)

    async def take(self, queued: QueuedRefresh, *, limit: int) -> RefreshClaim | None:
        """Make this claim the reader of up to `limit` products that wait, those that were requested first.

        The read must begin after this. Returns None if the shop was deleted.
        """

        async def work(connection: AsyncConnection) -> RefreshClaim | None:
            values = _reader_values(queued)
            state = await share_shop(connection, ShopScope(shop_id=queued.shop_id))
            shop = (await load_shops(connection, [queued.shop_id])).get(queued.shop_id)
            if state is None or shop is None:
                return None
            reason: str = (await connection.execute(_SELECT_CONNECTION, values)).scalar_one()
            if not state["has_open_pass"]:
                await connection.execute(_DELETE_DONE, values)
                await connection.execute(_RESET_REFRESHED, values)
            unread = list((await connection.execute(_SELECT_UNREAD, {**values, "limit": limit})).scalars())
            taken = (await connection.execute(_TAKE, {**values, "product_ids": sorted(unread)})).scalars()
            return RefreshClaim(
                shop=with_state(shop, state),
                claim_id=queued.claim_id,
                incarnation=state["incarnation"],
                product_ids=tuple(sorted(taken)),
                connection_reason=reason,
                has_active_sync=state["has_active_sync"],
            )

        return await self._database.write(work, shops=[queued.shop_id])

    async def write(self, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
        """Store products that were read for a claim, each only if the claim is still its reader.

        A repeated call with the same batch changes nothing.

        Raises:
            MassDeleteBlocked: The deletion guard stopped the batch; nothing was written.
        """
        return await self._database.write(
            lambda connection: self._write(connection, claim, batch), shops=[claim.shop.shop_id]
        )

    async def _write(self, connection: AsyncConnection, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
        scope = ShopScope.of(claim.shop)
        locked = await lock_outside_sync(connection, scope.shop_id, incarnation=claim.incarnation, ttl=self._ttl)
        products = {product.product_id: product for product in batch.products}
        rejected = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
        deleted = set(batch.deleted_product_ids) - products.keys() - rejected
        read = products.keys() | rejected | deleted
        if locked is None or not read:
            return RefreshResult(dropped=len(read))
        values = {**scope.values, "claim_id": claim.claim_id, "product_ids": sorted(read)}
        own = set((await connection.execute(_SELECT_OF_READER, values)).scalars())
        written = await write_reread(
            connection,
            scope,
            locked,
            [products[product_id] for product_id in sorted(products.keys() & own)],
            rejected_ids=rejected & own,
            deleted_ids=sorted(deleted & own),
        )
        values["product_ids"] = sorted(own)
        await connection.execute(_LOCK_OF_READER, values)
        if locked.open_pass_id is not None:
            await connection.execute(_MARK_REFRESHED, values)
        else:
            await connection.execute(_DELETE_SETTLED, values)
            await connection.execute(_RELEASE_SETTLED, values)
        if written.new_tasks:
            await activate(connection, scope, locked.analyzers)
        return RefreshResult(
            stored=written.products.seen,
            changed=written.products.created + written.products.updated,
            deleted=written.products.deleted,
            dropped=len(read) - len(own),
        )

    async def finish(self, queued: QueuedRefresh, *, more: bool = False) -> None:
        """End a claim all of whose reads were complete.

        Products that were taken and not written are those about which the platform did not say anything: they are
        read again later, a few times, and are then left to the next sync.

        Args:
            queued: The claim.
            more: Whether more products waited than were taken: the shop is due at once.
        """
        values = {**_reader_values(queued), "max_reads": MAX_UNDECIDED_READS}

        async def work(connection: AsyncConnection) -> None:
            state = await _lock_products(connection, queued)
            if state is None:
                return
            await connection.execute(_DELETE_UNDECIDED, values)
            undecided = (await connection.execute(_RELEASE_UNDECIDED, values)).rowcount > 0
            if not await lock_claim(connection, queued):
                return
            # After the lock: see `lock_claim`.
            remaining = (await connection.execute(_SELECT_REMAINING, values)).one()
            if not remaining.any_row and await delete_claim(connection, queued):
                return
            if remaining.unread:
                delay = UNDECIDED_DELAY if undecided else timedelta() if more else COALESCING_DELAY
            elif remaining.any_row:
                delay = _IN_PASS_DELAY if state["has_active_sync"] else _OPEN_PASS_DELAY
            else:
                delay = _WANTED_SYNC_DELAY
            await release_claim(connection, queued, delay=delay)

        await self._database.write(work, shops=[queued.shop_id])

    async def fail(self, queued: QueuedRefresh, *, delay: timedelta, wanted_sync: SyncMode | None = None) -> None:
        """End a claim whose read failed: its products stay pending, and the shop is due after `delay`."""

        async def work(connection: AsyncConnection) -> None:
            await _release_products(connection, queued)
            await release_claim(
                connection,
                queued,
                delay=delay,
                failure_count=queued.failure_count + 1,
                wanted_sync=wanted_sync,
            )

        await self._database.write(work, shops=[queued.shop_id])

    async def release(self, queued: QueuedRefresh) -> None:
        """End a claim before its read has ended, so that another replica reads the products at once."""

        async def work(connection: AsyncConnection) -> None:
            await _release_products(connection, queued)
            await release_claim(connection, queued, delay=timedelta(), failure_count=queued.failure_count)

        await self._database.write(work, shops=[queued.shop_id])

    async def leave_to_sync(self, queued: QueuedRefresh, wanted_sync: SyncMode | None) -> None:
        """Drop the products of a claim, since a sync reads them, and request that sync unless it is None.

        Products that the open pass leaves to their refresh stay, and are read again while that pass is open.
        """

        async def work(connection: AsyncConnection) -> None:
            if await _lock_products(connection, queued) is None:
                return
            await connection.execute(_LEAVE, _reader_values(queued))
            stayed = (await connection.execute(_RELEASE_LEFT, _reader_values(queued))).scalars()
            delay = _OPEN_PASS_DELAY if any(stayed) else timedelta()
            await release_claim(connection, queued, delay=delay, wanted_sync=wanted_sync)

        await self._database.write(work, shops=[queued.shop_id])

    async def sync_started(self, queued: QueuedRefresh) -> None:
        """Record that the sync that the claim wanted was started."""

        async def work(connection: AsyncConnection) -> None:
            await record_started_sync(connection, queued)

        await self._database.write(work, shops=[queued.shop_id])


async def _release_products(connection: AsyncConnection, queued: QueuedRefresh) -> None:
    if await _lock_products(connection, queued) is not None:
        await connection.execute(_RELEASE_FAILED, _reader_values(queued))


async def _lock_products(connection: AsyncConnection, queued: QueuedRefresh) -> Row | None:
    """Lock the products that the claim reads; return the shop's state, None if the shop is being deleted."""
    state = await share_shop(connection, ShopScope(shop_id=queued.shop_id))
    if state is not None:
        await connection.execute(_LOCK_OF_READER, _reader_values(queued))
    return state


def _reader_values(queued: QueuedRefresh) -> dict[str, object]:
    return {"shop_id": queued.shop_id, "claim_id": queued.claim_id}
