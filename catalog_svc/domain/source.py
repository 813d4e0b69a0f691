"""What a source of products delivers: a header, then batches and waits, then the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.records import IncomingProduct, RecordIssue
from catalog_svc.domain.shop import ShopKey, ShopProfile

MAX_PRODUCT_IDS = 250
"""Of one request by product ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRequest:
    """One pass, or the rest of one."""

    shop: ShopKey
    updated_after: datetime | None
    """UTC; None: everything."""
    checkpoint: bytes
    """Empty: from the beginning."""
    max_batch_products: int = 0
    """0: the connector's choice."""
    product_ids: tuple[str, ...] = ()
    """Only these products, at most `MAX_PRODUCT_IDS`, without `updated_after` and `checkpoint`; empty: a pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceHeader:
    """Always first."""

    profile: ShopProfile
    watermark: datetime
    """UTC, the platform's clock when the pass began."""
    strategy: str
    served_api_version: str
    estimated_product_count: int | None
    estimated_item_count: int | None
    notes: tuple[str, ...] = ()
    """What the pass cannot see, a sentence for people each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What an item is sold as."""

    sku: str
    price: str | None
    """Exact, as its digits."""
    compare_at_price: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StockLevel:
    """What is left of an item, found without reading its product."""

    item_id: str
    stock_quantity: int | None
    available: bool
    offer: Offer | None = None
    """None: nobody looked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceBatch:
    """Whole products, what was set aside, and where to go on."""

    products: tuple[IncomingProduct, ...]
    issues: tuple[RecordIssue, ...]
    checkpoint: bytes
    deleted_product_ids: tuple[str, ...] = ()
    stock_levels: tuple[StockLevel, ...] = ()
    listed_product_ids: tuple[str, ...] = ()
    """There, though nothing else of them was read."""

    def may_be_gathered_with(self, later: SourceBatch) -> bool:
        """Whether both as one are stored as one after the other.

        Within one batch deletions come after products, and stock comes last: a product that was deleted and is
        there again, or is read after its stock, needs a batch of its own.
        """
        if self.stock_levels and later.products:
            return False
        deleted = frozenset(self.deleted_product_ids)
        return not deleted or all(product.product_id not in deleted for product in later.products)

    def followed_by(self, later: SourceBatch) -> SourceBatch:
        """Both as one, with the later checkpoint, if they may be gathered."""
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
        """Variants in the batch."""
        return sum(product.item_count for product in self.products)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceEnd:
    """Always last of a complete pass; the counts are of the whole pass."""

    source_count: int
    emitted_count: int
    rejected_count: int
    warnings: tuple[str, ...] = ()
    all_listed: bool = False
    """Whether an incremental pass named every product of the shop."""
    notes: tuple[str, ...] = ()
    """What came to light while the pass ran, a sentence for people each."""
    absence_proven: bool = False
    """Whether the source proves that it has no other product than the pass named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingProduct:
    """A stored product that a complete pass did not meet."""

    product_id: str
    item_count: int
    """Its items that are not deleted."""


SourceEvent: TypeAlias = SourceHeader | SourceBatch | Waiting | SourceEnd
