"""Requests, claims and writes of refreshes over a catalog in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from catalog_svc.domain.deletion_guard import PassDeletion
from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.refresh import (
    COALESCING_DELAY,
    MAX_PENDING_PRODUCTS,
    MAX_UNDECIDED_READS,
    UNDECIDED_DELAY,
    PendingRefreshes,
    QueuedRefresh,
    RefreshClaim,
    RefreshReceipt,
    RefreshRequest,
    RefreshResult,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import SyncMode
from tests.fakes.memory_batches import accepted_products, write_products
from tests.fakes.memory_catalog import MemoryLink
from tests.fakes.memory_state import RefreshQueueRow, RefreshRow, State

_INCARNATION: Final = UUID(int=1)
_REVISIT_DELAY: Final = timedelta(seconds=5)
"""Until a shop with refreshed products and an open pass is claimed again."""


class MemoryRefreshRequests:
    """`RefreshRequests`."""

    def __init__(self, link: MemoryLink, *, max_products: int = MAX_PENDING_PRODUCTS) -> None:
        self._link = link
        self._catalog = link.catalog
        self._max_products = max_products

    async def add(self, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        return await self._link.transaction(lambda state: self._add(state, shop, request))

    def _add(self, state: State, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        registered = state.shops.get(shop.key)
        if registered is None or registered.shop_id != shop.shop_id:
            raise ShopNotFound(shop.shop_id)
        shop_id, now = shop.shop_id, self._catalog.now
        stored = {i: state.items.get((shop_id, i)) for i in request.variant_ids}
        of_variants = {i: item.record.product_id for i, item in stored.items() if item is not None}
        product_ids = (set(request.product_ids) - of_variants.keys()) | set(of_variants.values())
        if not product_ids:
            return RefreshReceipt()
        if len(_rows(state, shop_id)) + len(product_ids) > self._max_products:
            self._enqueue(state, shop, SyncMode.INCREMENTAL)
            return RefreshReceipt(product_count=len(product_ids), needs_sync=True)
        for product_id in product_ids:
            row = state.refreshes.get((shop_id, product_id), RefreshRow(requested_at=now))
            first = row.requested_at if row.pending else now
            state.refreshes[shop_id, product_id] = replace(row, pending=True, read_count=0, requested_at=first)
        self._enqueue(state, shop, None)
        return RefreshReceipt(product_count=len(product_ids))

    async def pending(self) -> PendingRefreshes:
        def work(state: State) -> PendingRefreshes:
            requested = [row.requested_at for row in state.refreshes.values() if row.is_unread]
            oldest = min(requested, default=self._catalog.now)
            return PendingRefreshes(count=len(requested), oldest_age=self._catalog.now - oldest)

        return await self._link.transaction(work)

    def _enqueue(self, state: State, shop: Shop, wanted: SyncMode | None) -> None:
        now = self._catalog.now
        due_at = now if wanted else now + COALESCING_DELAY
        row = state.refresh_queue.get(shop.shop_id)
        if row is None:
            row = RefreshQueueRow(platform=shop.key.platform, due_at=due_at)
        elif row.claim_id is None and not row.failure_count:
            row = replace(row, due_at=min(row.due_at, due_at))
        state.refresh_queue[shop.shop_id] = _wanting(row, wanted)


class MemoryRefreshes:
    """`Refreshes`."""

    def __init__(self, link: MemoryLink, *, ttl: timedelta) -> None:
        self._link = link
        self._catalog = link.catalog
        self._ttl = ttl

    async def claim(self, *, limit: int, without_platforms: Collection[str] = ()) -> list[QueuedRefresh]:
        def work(state: State) -> list[QueuedRefresh]:
            claim_id, now = uuid4(), self._catalog.now
            due = [
                (row.due_at, shop_id)
                for shop_id, row in state.refresh_queue.items()
                if row.due_at <= now and row.platform not in without_platforms
            ]
            claimed = [shop_id for _, shop_id in sorted(due)[:limit]]
            for shop_id in claimed:
                row = state.refresh_queue[shop_id]
                state.refresh_queue[shop_id] = replace(row, claim_id=claim_id, due_at=now + self._ttl)
            return [_queued(shop_id, state.refresh_queue[shop_id], claim_id) for shop_id in claimed]

        return await self._link.transaction(work)

    async def take(self, queued: QueuedRefresh, *, limit: int) -> RefreshClaim | None:
        def work(state: State) -> RefreshClaim | None:
            shop = _shop(state, queued)
            if shop is None:
                return None
            if state.open_pass(queued.shop_id) is None:
                _remove_marks(state, queued.shop_id)
            unread = sorted(
                (row.read_count, row.requested_at, i)
                for i, row in _rows(state, queued.shop_id).items()
                if row.is_unread
            )
            taken = sorted(product_id for _, _, product_id in unread[:limit])
            for product_id in taken:
                row = state.refreshes[queued.shop_id, product_id]
                state.refreshes[queued.shop_id, product_id] = replace(
                    row, reader=queued.claim_id, pending=False, read_count=row.read_count + 1
                )
            return RefreshClaim(
                shop=shop,
                claim_id=queued.claim_id,
                incarnation=_INCARNATION,
                product_ids=tuple(taken),
                connection_reason=_connection_reason(state, queued.shop_id),
                has_active_sync=any(not row.sync.state.ended for row in state.of_shop(queued.shop_id)),
            )

        return await self._link.transaction(work)

    async def write(self, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
        return await self._link.transaction(lambda state: _write(state, claim, batch))

    async def finish(self, queued: QueuedRefresh, *, more: bool = False) -> None:
        def work(state: State) -> None:
            undecided = False
            for product_id, row in _read_by(state, queued).items():
                given_up = row.read_count >= MAX_UNDECIDED_READS
                if given_up and not row.pending and not row.refreshed:
                    del state.refreshes[queued.shop_id, product_id]
                    continue
                undecided = True
                state.refreshes[queued.shop_id, product_id] = replace(
                    row, reader=None, pending=row.pending or not given_up
                )
            self._end(state, queued, self._next_delay(state, queued, undecided=undecided, more=more))

        await self._link.transaction(work)

    async def fail(self, queued: QueuedRefresh, *, delay: timedelta, wanted_sync: SyncMode | None = None) -> None:
        def work(state: State) -> None:
            _release_rows(state, queued)
            self._end(state, queued, delay, failure_count=queued.failure_count + 1, wanted=wanted_sync)

        await self._link.transaction(work)

    async def release(self, queued: QueuedRefresh) -> None:
        def work(state: State) -> None:
            _release_rows(state, queued)
            self._end(state, queued, timedelta(), failure_count=queued.failure_count)

        await self._link.transaction(work)

    async def leave_to_sync(self, queued: QueuedRefresh, wanted_sync: SyncMode | None) -> None:
        def work(state: State) -> None:
            stays = False
            for product_id, row in _read_by(state, queued).items():
                if row.pending or row.refreshed:
                    stays = stays or row.refreshed
                    state.refreshes[queued.shop_id, product_id] = replace(row, reader=None, pending=True)
                else:
                    del state.refreshes[queued.shop_id, product_id]
            self._end(state, queued, _REVISIT_DELAY if stays else timedelta(), wanted=wanted_sync)

        await self._link.transaction(work)

    async def sync_started(self, queued: QueuedRefresh) -> None:
        def work(state: State) -> None:
            row = _claimed_row(state, queued)
            if row is not None:
                left = row.wanted_count - queued.wanted_count
                wanted = row.wanted_sync if left > 0 else None
                state.refresh_queue[queued.shop_id] = replace(row, wanted_count=left, wanted_sync=wanted)

        await self._link.transaction(work)

    def _next_delay(self, state: State, queued: QueuedRefresh, *, undecided: bool, more: bool) -> timedelta | None:
        """Return when the shop is due next; None: nothing is left of it."""
        rows = _rows(state, queued.shop_id)
        if any(row.is_unread for row in rows.values()):
            if undecided:
                return UNDECIDED_DELAY
            return timedelta() if more else COALESCING_DELAY
        row = _claimed_row(state, queued)
        return _REVISIT_DELAY if rows or (row is not None and row.wanted_sync) else None

    def _end(
        self,
        state: State,
        queued: QueuedRefresh,
        delay: timedelta | None,
        *,
        failure_count: int = 0,
        wanted: SyncMode | None = None,
    ) -> None:
        row = _claimed_row(state, queued)
        if row is None:
            return
        if delay is None:
            del state.refresh_queue[queued.shop_id]
            return
        released = replace(row, claim_id=None, due_at=self._catalog.now + delay, failure_count=failure_count)
        state.refresh_queue[queued.shop_id] = _wanting(released, wanted)


def _write(state: State, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
    shop_id, open_pass = claim.shop.shop_id, state.open_pass(claim.shop.shop_id)
    products = {product.product_id: product for product in batch.products}
    rejected = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
    deleted = set(batch.deleted_product_ids) - products.keys() - rejected
    read = products.keys() | rejected | deleted
    own = {i for i in read if (row := state.refreshes.get((shop_id, i))) and row.reader == claim.claim_id}
    live_before = len(state.live_items(shop_id))
    accepted, _ = accepted_products([products[i] for i in sorted(products.keys() & own)])
    written, items = write_products(state, shop_id, accepted)
    deleted_products, deleted_items = state.mark_products(shop_id, deleted & own)
    _check_deletions(state, shop_id, live_before + items.created, deleted_items + items.deleted)
    existing = frozenset((products.keys() | rejected) & own)
    if open_pass is not None and existing:
        state.seen[open_pass] = state.seen.get(open_pass, frozenset()) | existing
    for product_id in own:
        _settle(state, (shop_id, product_id), is_open=open_pass is not None)
    return RefreshResult(
        stored=written.seen,
        changed=written.created + written.updated,
        deleted=deleted_products,
        dropped=len(read) - len(own),
    )


def _settle(state: State, key: tuple[UUID, str], *, is_open: bool) -> None:
    row = state.refreshes[key]
    if is_open or row.pending:
        state.refreshes[key] = replace(row, reader=None, read_count=0, refreshed=row.refreshed or is_open)
    else:
        del state.refreshes[key]


def _check_deletions(state: State, shop_id: UUID, live_before: int, deleted: int) -> None:
    """Apply the deletion guard to all tombstones: none is older than a day. Raises MassDeleteBlocked."""
    tombstones = sum(shop == shop_id and item.deleted for (shop, _), item in state.items.items())
    earlier = tombstones - deleted
    deletion = PassDeletion(would_delete=deleted, deleted=earlier, stored=live_before + earlier)
    if not deletion.is_allowed:
        raise deletion.error(None)


def _rows(state: State, shop_id: UUID) -> dict[str, RefreshRow]:
    return {i: row for (shop, i), row in state.refreshes.items() if shop == shop_id}


def _read_by(state: State, queued: QueuedRefresh) -> dict[str, RefreshRow]:
    return {i: row for i, row in _rows(state, queued.shop_id).items() if row.reader == queued.claim_id}


def _release_rows(state: State, queued: QueuedRefresh) -> None:
    for product_id, row in _read_by(state, queued).items():
        state.refreshes[queued.shop_id, product_id] = replace(row, reader=None, pending=True)


def _remove_marks(state: State, shop_id: UUID) -> None:
    for product_id, row in _rows(state, shop_id).items():
        if row.is_unread:
            state.refreshes[shop_id, product_id] = replace(row, refreshed=False)
        else:
            del state.refreshes[shop_id, product_id]


def _shop(state: State, queued: QueuedRefresh) -> Shop | None:
    return next((shop for shop in state.shops.values() if shop.shop_id == queued.shop_id), None)


def _connection_reason(state: State, shop_id: UUID) -> str:
    errors = [row.sync.error for row in state.of_shop(shop_id) if row.sync.state.ended]
    return errors[-1].reason if errors and errors[-1] is not None else ""


def _claimed_row(state: State, queued: QueuedRefresh) -> RefreshQueueRow | None:
    row = state.refresh_queue.get(queued.shop_id)
    return row if row is not None and row.claim_id == queued.claim_id else None


def _queued(shop_id: UUID, row: RefreshQueueRow, claim_id: UUID) -> QueuedRefresh:
    return QueuedRefresh(
        shop_id=shop_id,
        platform=row.platform,
        claim_id=claim_id,
        failure_count=row.failure_count,
        wanted_sync=row.wanted_sync,
        wanted_count=row.wanted_count,
    )


def _wanting(row: RefreshQueueRow, wanted: SyncMode | None) -> RefreshQueueRow:
    if wanted is None:
        return row
    mode = SyncMode.FULL if SyncMode.FULL in (row.wanted_sync, wanted) else wanted
    return replace(row, wanted_sync=mode, wanted_count=row.wanted_count + 1)
