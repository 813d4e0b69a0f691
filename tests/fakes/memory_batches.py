"""Batches and sweeps over a catalog in memory."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from catalog_svc.domain.deletion_guard import DeletionDigest, PassDeletion
from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.records import IncomingProduct, RecordIssue, RecordRejected, count_rejected_products
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import MissingProduct, SourceBatch, StockLevel
from catalog_svc.domain.sync import BlockedDeletion, Lease, Progress, RecordCounts, Sync, SyncState
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_state import State, StoredItem, StoredProduct, SyncRow


class MemoryBatches:
    """`Batches`."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._catalog = link.catalog

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        def work(state: State) -> Sync:
            row = pass_fence(self._catalog, state, lease)
            if row is None:
                applied = applied_row(self._catalog, state, lease)
                if applied.checkpoint != batch.checkpoint:
                    raise LeaseLost
                return state.sync(lease.sync_id)
            return self._apply(state, row, lease, batch, full=full, rate=items_per_second)

        sync = await self._link.transaction(work)
        return replace(lease, next_seq=lease.next_seq + 1), sync

    def _apply(
        self, state: State, row: SyncRow, lease: Lease, batch: SourceBatch, *, full: bool, rate: float | None
    ) -> Sync:
        products = list({product.product_id: product for product in batch.products}.values())
        accepted, rejected = accepted_products(products)
        issues = batch.issues + rejected
        live_before = state.live_items(lease.shop_id)
        stock_of = _products_of_stock(state, lease.shop_id, batch.stock_levels)
        batch_ids = {product.product_id for product in products} | set(batch.deleted_product_ids)
        refreshed = leave_refreshed(state, lease.shop_id, batch_ids | set(stock_of.values()))
        left = [product for product in accepted if product.product_id in refreshed]
        written, items = write_products(state, lease.shop_id, [p for p in accepted if p not in left])
        written += RecordCounts(seen=len(left), unchanged=len(left))
        left_items = sum(product.item_count for product in left)
        items += RecordCounts(seen=left_items, unchanged=left_items)
        deleted_products, deleted_items = state.mark_products(
            lease.shop_id, set(batch.deleted_product_ids) - refreshed
        )
        items = replace(items, deleted=items.deleted + deleted_items)
        levels = tuple(level for level in batch.stock_levels if stock_of.get(level.item_id) not in refreshed)
        items += _write_stock(state, lease.shop_id, levels)
        if not row.allow_mass_delete:
            removed = live_before - state.live_items(lease.shop_id)
            _check_deletions(state, row, items, sorted(removed), full=full)
        rejected_ids = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
        seen = frozenset(batch.listed_product_ids) | {product.product_id for product in products} | rejected_ids
        if seen:
            state.seen[row.pass_id] = state.seen.get(row.pass_id, frozenset()) | seen
        state.issues[lease.sync_id] = state.issues.get(lease.sync_id, ()) + issues
        progress = _add(row.sync.progress, replace(written, deleted=deleted_products), items, issues, rate)
        checked = 0 if full else len(batch.listed_product_ids)
        progress = replace(progress, checked_products=progress.checked_products + checked)
        now = self._catalog.now
        waiting = row.sync.waiting
        unexpired = waiting if waiting and waiting.until > now else None
        return state.save(
            replace(
                row.with_visible_change(now, progress=progress, waiting=unexpired),
                next_seq=row.next_seq + 1,
                checkpoint=batch.checkpoint,
                progressed_at=now,
                claims_without_progress=0,
            )
        )


class MemorySweeps:
    """`Sweeps`."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._catalog = link.catalog

    async def missing(self, lease: Lease, *, after: str, limit: int) -> list[MissingProduct]:
        def work(state: State) -> list[MissingProduct]:
            row = self._catalog.owned_row(state, lease)
            ids = [i for i in _missing(state, row, lease.shop_id) if i > after]
            return [
                MissingProduct(product_id=i, item_count=_live_items_of(state, lease.shop_id, i))
                for i in ids[:limit]
            ]

        return await self._link.transaction(work)

    async def unstored(self, lease: Lease, *, after: str, limit: int) -> list[str]:
        def work(state: State) -> list[str]:
            row = self._catalog.owned_row(state, lease)
            rejected = {
                issue.product_id
                for other in state.of_shop(lease.shop_id)
                if other.pass_id == row.pass_id
                for issue in state.issues.get(other.sync.sync_id, ())
                if issue.product_rejected
            }
            unstored = state.seen.get(row.pass_id, frozenset()) - _live_products(state, lease.shop_id) - rejected
            return [i for i in sorted(unstored) if i > after][:limit]

        return await self._link.transaction(work)

    async def live_items(self, lease: Lease) -> int:
        return await self._link.transaction(lambda state: len(state.live_items(lease.shop_id)))

    async def agrees(self, lease: Lease, deletion: BlockedDeletion) -> bool:
        def work(state: State) -> bool:
            return state.agreeable_deletion(self._catalog.owned_row(state, lease)) == deletion

        return await self._link.transaction(work)

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        def work(state: State) -> Sync | None:
            row = pass_fence(self._catalog, state, lease)
            if row is None:
                applied_row(self._catalog, state, lease)
                return state.sync(lease.sync_id)
            return self._step(state, row, lease.shop_id)

        sync = await self._link.transaction(work)
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def finalize(self, lease: Lease) -> None:
        await self._link.transaction(lambda state: state.seen.pop(state.row(lease.sync_id).pass_id, None))

    def _step(self, state: State, row: SyncRow, shop_id: UUID) -> Sync | None:
        missing_ids = _missing(state, row, shop_id)
        now = self._catalog.now
        row = replace(row, next_seq=row.next_seq + 1, claims_without_progress=0)
        if not missing_ids:
            state.save(row)
            return None
        swept = set(missing_ids[: self._catalog.products_per_sweep])
        products, items = state.mark_products(shop_id, swept)
        leave_refreshed(state, shop_id, swept)
        progress = replace(
            row.sync.progress,
            products=row.sync.progress.products + RecordCounts(deleted=products),
            items=row.sync.progress.items + RecordCounts(deleted=items),
        )
        return state.save(row.with_visible_change(now, progress=progress))


def _check_deletions(state: State, row: SyncRow, items: RecordCounts, removed: list[str], *, full: bool) -> None:
    """Raise MassDeleteBlocked if the batch deletes too much, and the full pass before does not agree."""
    deleted = row.sync.progress.items.deleted
    stored = len(state.live_items(row.sync.shop.shop_id)) + deleted + items.deleted
    deletion = PassDeletion(would_delete=items.deleted, deleted=deleted, stored=stored)
    if deletion.is_allowed:
        return
    if deletion.needs_person:
        raise deletion.error(None)
    digest = DeletionDigest("items")
    digest.add(removed)
    blocked = digest.blocked() if full else BlockedDeletion()
    if not full or blocked != state.agreeable_deletion(row):
        raise deletion.error(blocked)


def leave_refreshed(state: State, shop_id: UUID, product_ids: set[str]) -> set[str]:
    """Return those of the products that a sync must not write, and let all contested ones be read again."""
    refreshed = set[str]()
    for product_id in product_ids:
        row = state.refreshes.get((shop_id, product_id))
        if row is None or not (row.refreshed or row.reader):
            continue
        if row.refreshed:
            refreshed.add(product_id)
        state.refreshes[shop_id, product_id] = replace(
            row, pending=True, reader=row.reader if row.refreshed else None
        )
    return refreshed


def _products_of_stock(state: State, shop_id: UUID, levels: tuple[StockLevel, ...]) -> dict[str, str]:
    """Return the products of the stored items of these levels, by item id."""
    stored = {level.item_id: state.items.get((shop_id, level.item_id)) for level in levels}
    return {item_id: item.record.product_id for item_id, item in stored.items() if item is not None}


def _live_products(state: State, shop_id: UUID) -> set[str]:
    return {pid for (shop, pid), product in state.products.items() if shop == shop_id and not product.deleted}


def _missing(state: State, row: SyncRow, shop_id: UUID) -> list[str]:
    return sorted(_live_products(state, shop_id) - state.seen.get(row.pass_id, frozenset()))


def _live_items_of(state: State, shop_id: UUID, product_id: str) -> int:
    return sum(
        shop == shop_id and not item.deleted and item.record.product_id == product_id
        for (shop, _), item in state.items.items()
    )


def pass_fence(catalog: MemoryCatalog, state: State, lease: Lease) -> SyncRow | None:
    """Return the sync's row if this lease may store its next batch; None if not."""
    try:
        row = catalog.owned_row(state, lease)
    except LeaseLost:
        return None
    return row if catalog.is_next(row, lease) else None


def applied_row(catalog: MemoryCatalog, state: State, lease: Lease) -> SyncRow:
    """Return the sync's row if this very write was the last one. Raises LeaseLost if not."""
    row = state.row(lease.sync_id)
    owned = row.sync.state is SyncState.RUNNING and catalog.is_owner(row, lease)
    if not owned or row.next_seq != lease.next_seq + 1:
        raise LeaseLost
    return row


def accepted_products(products: list[IncomingProduct]) -> tuple[list[IncomingProduct], tuple[RecordIssue, ...]]:
    """Return the products that can be stored, and the issues of the others."""
    accepted, rejected = list[IncomingProduct](), list[RecordIssue]()
    for product in products:
        try:
            product.unpack()
        except RecordRejected as rejection:
            rejected.append(rejection.issue)
        else:
            accepted.append(product)
    return accepted, tuple(rejected)


def write_products(
    state: State, shop_id: UUID, products: list[IncomingProduct]
) -> tuple[RecordCounts, RecordCounts]:
    counts, items = RecordCounts(seen=len(products)), RecordCounts()
    for product in products:
        stored = state.products.get((shop_id, product.product_id))
        if stored and not stored.deleted and stored.record.content_hash == product.content_hash:
            counts += RecordCounts(unchanged=1)
            items += RecordCounts(seen=product.item_count, unchanged=product.item_count)
            continue
        is_new = stored is None or stored.deleted
        counts += RecordCounts(created=int(is_new), updated=int(not is_new))
        items += _write_changed(state, shop_id, product, known=stored is not None)
    return counts, items


def _write_stock(state: State, shop_id: UUID, levels: tuple[StockLevel, ...]) -> RecordCounts:
    updated = 0
    for level in {level.item_id: level for level in levels}.values():
        stored = state.items.get((shop_id, level.item_id))
        if stored is None or stored.deleted:
            continue
        record = stored.record._replace(stock_quantity=level.stock_quantity, available=level.available)
        if level.offer is not None:
            record = record._replace(
                sku=level.offer.sku,
                price=level.offer.price,
                compare_at_price=level.offer.compare_at_price,
            )
        if stored.equals(record):
            continue
        updated += 1
        state.items[shop_id, level.item_id] = StoredItem(record)
        product = state.products[shop_id, record.product_id]
        state.products[shop_id, record.product_id] = replace(
            product, record=product.record._replace(content_hash=b"")
        )
    return RecordCounts(seen=updated, updated=updated)


def _write_changed(state: State, shop_id: UUID, product: IncomingProduct, *, known: bool) -> RecordCounts:
    record, items = product.unpack()
    state.products[shop_id, product.product_id] = StoredProduct(record)
    counts = RecordCounts(seen=len(items))
    for item in items:
        stored = state.items.get((shop_id, item.item_id))
        if stored is None or stored.deleted:
            counts += RecordCounts(created=1)
        elif stored.equals(item):
            counts += RecordCounts(unchanged=1)
        else:
            counts += RecordCounts(updated=1)
        state.items[shop_id, item.item_id] = StoredItem(item)
    if known and product.variants_complete:
        received = frozenset(item.item_id for item in items)
        counts += RecordCounts(deleted=state.mark_items(shop_id, {product.product_id}, but=received))
    return counts


def _add(
    progress: Progress,
    products: RecordCounts,
    items: RecordCounts,
    issues: tuple[RecordIssue, ...],
    rate: float | None,
) -> Progress:
    rejected_products = count_rejected_products(issues)
    rejected_items = len({issue.item_id for issue in issues if issue.item_id and not issue.product_rejected})
    return replace(
        progress,
        products=progress.products + products + RecordCounts(rejected=rejected_products),
        items=progress.items + items + RecordCounts(rejected=rejected_items),
        issue_count=progress.issue_count + len(issues),
        items_per_second=rate,
    )
