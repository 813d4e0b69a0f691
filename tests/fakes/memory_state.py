"""The catalog's tables as immutable rows: a transaction changes a copy, which is committed or dropped whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from catalog_svc.domain.errors import SyncNotFound
from catalog_svc.domain.records import ItemRecord, ProductRecord, RecordIssue
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import BlockedDeletion, Sync, SyncMode, SyncState, SyncTrigger


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRow:
    """A sync with the columns that clients do not see."""

    sync: Sync
    pass_id: UUID
    epoch: int = 0
    next_seq: int = 0
    lease_until: datetime | None = None
    progressed_at: datetime | None = None
    claims_without_progress: int = 0
    begun_epoch: int = 0
    checkpoint: bytes = b""
    updated_after: datetime | None = None
    watermark: datetime | None = None
    allow_mass_delete: bool = False
    traceparent: str = ""

    def with_visible_change(self, now: datetime, **changes: Any) -> SyncRow:
        """Return the row with a change that clients see, which raises the revision."""
        sync = replace(self.sync, revision=self.sync.revision + 1, updated_at=now, **changes)
        return replace(self, sync=sync)


@dataclass(frozen=True, slots=True)
class StoredProduct:
    """A row of `product`."""

    record: ProductRecord
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A row of `item`."""

    record: ItemRecord
    deleted: bool = False

    def equals(self, record: ItemRecord) -> bool:
        """Return whether the item is live and digit for digit the same."""
        return not self.deleted and self.record == record


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshRow:
    """A row of `product_refresh`."""

    requested_at: datetime
    pending: bool = True
    reader: UUID | None = None
    refreshed: bool = False
    read_count: int = 0

    @property
    def is_unread(self) -> bool:
        """Whether the product waits, or its read has not ended."""
        return self.pending or self.reader is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshQueueRow:
    """A row of `refresh_queue`."""

    platform: str
    due_at: datetime
    claim_id: UUID | None = None
    failure_count: int = 0
    wanted_sync: SyncMode | None = None
    wanted_count: int = 0


@dataclass(kw_only=True, slots=True)
class State:
    """All tables. Products and items are keyed by shop and platform id."""

    shops: dict[ShopKey, Shop] = field(default_factory=dict)
    syncs: dict[UUID, SyncRow] = field(default_factory=dict)
    products: dict[tuple[UUID, str], StoredProduct] = field(default_factory=dict)
    items: dict[tuple[UUID, str], StoredItem] = field(default_factory=dict)
    seen: dict[UUID, frozenset[str]] = field(default_factory=dict)
    issues: dict[UUID, tuple[RecordIssue, ...]] = field(default_factory=dict)
    blocked: dict[UUID, tuple[UUID, BlockedDeletion]] = field(default_factory=dict)
    """By shop: the pass that the deletion guard stopped, and the deletion that full passes decide about."""
    refreshes: dict[tuple[UUID, str], RefreshRow] = field(default_factory=dict)
    refresh_queue: dict[UUID, RefreshQueueRow] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[tuple[str, ...], UUID]] = field(default_factory=dict)
    """By method and request_id: the parameters of the request, and the sync that it created."""

    def copy(self) -> State:
        return State(
            shops=dict(self.shops),
            syncs=dict(self.syncs),
            products=dict(self.products),
            items=dict(self.items),
            seen=dict(self.seen),
            issues=dict(self.issues),
            blocked=dict(self.blocked),
            refreshes=dict(self.refreshes),
            refresh_queue=dict(self.refresh_queue),
            requests=dict(self.requests),
        )

    def row(self, sync_id: UUID) -> SyncRow:
        """Return the row of a sync. Raises SyncNotFound."""
        if sync_id not in self.syncs:
            raise SyncNotFound(sync_id)
        return self.syncs[sync_id]

    def save(self, row: SyncRow) -> Sync:
        """Store the row and return the sync as clients see it."""
        self.syncs[row.sync.sync_id] = row
        return self.sync(row.sync.sync_id)

    def sync(self, sync_id: UUID) -> Sync:
        """Return the sync with its shop as it is now. Raises SyncNotFound."""
        sync = self.row(sync_id).sync
        return replace(sync, shop=self.shops[sync.shop.key])

    def of_shop(self, shop_id: UUID) -> list[SyncRow]:
        """Return the shop's syncs, the oldest first."""
        return [row for row in self.syncs.values() if row.sync.shop.shop_id == shop_id]

    def open_pass(self, shop_id: UUID) -> UUID | None:
        """Return the pass of the shop's active sync, or of the last one if that can be resumed."""
        rows = self.of_shop(shop_id)
        return rows[-1].pass_id if rows and rows[-1].sync.state is not SyncState.SUCCEEDED else None

    def live_items(self, shop_id: UUID) -> set[str]:
        return {iid for (shop, iid), item in self.items.items() if shop == shop_id and not item.deleted}

    def agreeable_deletion(self, row: SyncRow) -> BlockedDeletion | None:
        """Return the deletion that the pass of this sync may agree with."""
        pass_id, blocked = self.blocked.get(row.sync.shop.shop_id, (row.pass_id, None))
        return None if pass_id == row.pass_id else blocked

    def close(self, row: SyncRow, blocked: BlockedDeletion | None = None) -> None:
        """Keep or forget the deletion that the next full pass may agree with, at the end of this sync."""
        shop_id = row.sync.shop.shop_id
        if blocked is not None:
            self.blocked[shop_id] = row.pass_id, blocked
        elif row.sync.state is SyncState.SUCCEEDED or row.sync.progress.has_read:
            self.blocked.pop(shop_id, None)

    def mark_products(self, shop_id: UUID, product_ids: set[str]) -> tuple[int, int]:
        """Mark products and their items as deleted; return how many of each."""
        products = [k for k, p in self.products.items() if _is_live(k, p, shop_id) and k[1] in product_ids]
        for key in products:
            self.products[key] = replace(self.products[key], deleted=True)
        return len(products), self.mark_items(shop_id, product_ids, but=frozenset())

    def mark_items(self, shop_id: UUID, product_ids: set[str], *, but: frozenset[str]) -> int:
        """Mark the items of these products as deleted, except `but`; return how many."""
        items = [
            key
            for key, item in self.items.items()
            if _is_live(key, item, shop_id) and item.record.product_id in product_ids and key[1] not in but
        ]
        for key in items:
            self.items[key] = replace(self.items[key], deleted=True)
        return len(items)


def claim_order(row: SyncRow) -> bool:
    """Sort key of the queue; rows with the same key keep their order, that of their creation."""
    return row.sync.trigger is SyncTrigger.SCHEDULE


def _is_live(key: tuple[UUID, str], row: StoredProduct | StoredItem, shop_id: UUID) -> bool:
    return key[0] == shop_id and not row.deleted
