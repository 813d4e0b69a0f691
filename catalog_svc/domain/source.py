"""Events of a source of products: a header, then batches and waits, then the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from catalog_svc.domain.records import IncomingProduct, RecordIssue
from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.sync import Waiting

MAX_PRODUCT_IDS = 250
"""Maximum of one request by product ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRequest:
    """A request for one pass, or for the rest of one."""

    shop: ShopKey
    updated_after: datetime | None
    """Only products that changed after this time, UTC; None: all products."""
    checkpoint: bytes
    """Where to continue; empty: from the beginning."""
    max_batch_products: int = 0
    """Maximum number of products per batch; 0: the connector decides."""
    product_ids: tuple[str, ...] = ()
    """Only these products, at most `MAX_PRODUCT_IDS`; cannot be combined with `updated_after` or `checkpoint`.
    Empty:
    a pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceHeader:
    """The first event."""

    profile: ShopProfile
    watermark: datetime
    """When the pass began, UTC, by the platform's clock."""
    strategy: str
    served_api_version: str
    estimated_product_count: int | None
    estimated_item_count: int | None
    notes: tuple[str, ...] = ()
    """Limitations of the pass, one English sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """SKU and prices of an item."""

    sku: str
    price: str | None
    """Exact decimal digits; None: the item has no price."""
    compare_at_price: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StockLevel:
    """Stock of an item, read without its product."""

    item_id: str
    stock_quantity: int | None
    available: bool
    offer: Offer | None = None
    """None: SKU and prices were not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceBatch:
    """Products, issues, and the checkpoint after them."""

    products: tuple[IncomingProduct, ...]
    issues: tuple[RecordIssue, ...]
    checkpoint: bytes
    deleted_product_ids: tuple[str, ...] = ()
    stock_levels: tuple[StockLevel, ...] = ()
    listed_product_ids: tuple[str, ...] = ()
    """Ids of products that exist, of which nothing else was read."""

    def can_merge_with(self, later: SourceBatch) -> bool:
        """Return whether both merged are stored like one after the other.

        Within one batch deletions come after products, and stock comes last: a product that exists again after its
        deletion, or that is read after its stock, needs a separate batch.
        """
        if self.stock_levels and later.products:
            return False
        deleted = frozenset(self.deleted_product_ids)
        return not deleted or all(product.product_id not in deleted for product in later.products)

    def merged_with(self, later: SourceBatch) -> SourceBatch:
        """Return both as one batch with the later checkpoint; only valid after `can_merge_with`."""
        return SourceBatch(
            products=self.products + later.products,
            issues=self.issues + later.issues,
            checkpoint=later.checkpoint,
            deleted_product_ids=self.deleted_product_ids + later.deleted_product_ids,
            stock_levels=self.stock_levels + later.stock_levels,
            listed_product_ids=self.listed_product_ids + later.listed_product_ids,
        )

    @property
    def item_count(self) -> int:
        """Number of variants in the batch."""
        return sum(product.item_count for product in self.products)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceEnd:
    """The last event of a complete pass; counts are of the whole pass."""

    source_count: int
    emitted_count: int
    rejected_count: int
    warnings: tuple[str, ...] = ()
    all_listed: bool = False
    """Whether an incremental pass listed every product of the shop."""
    notes: tuple[str, ...] = ()
    """Limitations that were found during the pass, one English sentence each."""
    absence_proven: bool = False
    """Whether the source proves that it has no other products than those the pass listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingProduct:
    """A stored product that a complete pass did not see."""

    product_id: str
    item_count: int
    """Number of its items that are not deleted."""


SourceEvent: TypeAlias = SourceHeader | SourceBatch | Waiting | SourceEnd
