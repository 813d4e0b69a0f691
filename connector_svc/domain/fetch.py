"""What a fetch takes and yields: a header, then batches, then the end; waits are reported through a callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.domain.shop import Shop, ShopInfo

_TOLERATED_UNDELIVERED: Final = 5
_TOLERATED_UNDELIVERED_PERCENT: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchRequest:
    """One pass over a shop's catalog."""

    shop: Shop
    updated_after: datetime | None = None
    """UTC. None: everything."""
    checkpoint: bytes = b""
    """Of the last stored batch; empty: from the beginning."""
    max_batch_products: int = 250
    """1 to 250."""
    product_ids: tuple[str, ...] = ()
    """Only these products, distinct, at most 250; empty: all that `updated_after` selects.

    If given, `updated_after` and `checkpoint` are absent. Each id ends in one of four ways: in a batch, rejected
    by an issue with product_rejected, in `deleted_product_ids` (the platform, asked twice, does not have it), or
    nowhere: the platform did not say, and the receiver keeps what it has.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The first event of a pass."""

    shop_info: ShopInfo
    strategy: str
    """How the shop is read, such as "paging"."""
    strategy_reason: str
    watermark: datetime
    """The platform's clock when the pass began; the checkpoint keeps it through resumes."""
    resumed: bool = False
    estimated_product_count: int | None = None
    estimated_variant_count: int | None = None
    notes: tuple[str, ...] = ()
    """What this pass cannot see; each is a sentence for people."""
    resume_is_expensive: bool = False
    """Whether a resume downloads a file again or waits for a job again: such a stream may live longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """SKU and prices of a variant."""

    sku: str
    price: Decimal | None
    compare_at_price: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StockLevel:
    """The stock of a variant that was read without its product."""

    product_id: str
    variant_id: str
    """The product's id for a product without variants."""
    stock_quantity: int | None
    """None: not tracked."""
    available: bool
    offer: Offer | None = None
    """None: not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Whole products in the platform's stable order."""

    products: tuple[Product, ...]
    checkpoint: bytes
    """Continues after this batch."""
    issues: tuple[RecordIssue, ...] = ()
    """Found since the last batch."""
    deleted_product_ids: tuple[str, ...] = ()
    """Products that the platform says it no longer has."""
    stock_levels: tuple[StockLevel, ...] = ()
    """Of variants whose product may be unchanged."""
    listed_product_ids: tuple[str, ...] = ()
    """Products that exist and of which only the id was read."""


class WaitReason(Enum):
    """What the connector waits for."""

    THROTTLED = "THROTTLED"
    PLATFORM_JOB = "PLATFORM_JOB"
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE"
    TOKEN_SERVICE = "TOKEN_SERVICE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """A pause of a pass that has not failed."""

    reason: WaitReason
    until: datetime
    """UTC."""
    message: str = ""
    done_count: int | None = None
    """Progress of a platform's job, if it reports one."""
    total_count: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The last event, only after a complete pass. Counts are of the whole pass, resumes included.

    `emitted_count + rejected_count >= source_count`; a platform that delivers less raises `SourceCountMismatch`
    instead.
    """

    source_count: int
    """Products, as the platform counts them when the pass ends; without those created meanwhile where possible."""
    emitted_count: int
    rejected_count: int
    emitted_variant_count: int
    warnings: tuple[str, ...] = field(default=())
    """Whatever makes it unsafe to conclude that an absent product was deleted."""
    all_listed: bool = False
    """Whether an incremental pass listed every product of the shop: then absent ones are missing, as after a full
    pass, and the receiver requests them by `product_ids` before it marks them as deleted."""
    notes: tuple[str, ...] = ()
    """What was found while the pass ran; each is a sentence for people."""
    absence_proven: bool = False
    """Whether the source proves that it has no other products than those of the pass, as a signed file does."""


FetchEvent: TypeAlias = Header | Batch | End

WaitReporter: TypeAlias = Callable[[Wait], None]
"""Called with every wait when the wait begins, so that watchers see it while the reader sleeps."""


def check_completeness(shop: Shop, *, counted: int, undelivered: int) -> None:
    """Raise SourceCountMismatch if a platform counts too many products that it does not deliver.

    A few are products that a plugin hides or breaks: the pass names them, lets nothing be deleted, and ends. More
    than five and more than a tenth of all means that the platform does not deliver its catalog.

    Args:
        shop: The shop that was read.
        counted: Products that the platform counts.
        undelivered: How many of these it did not deliver.
    """
    if undelivered > max(_TOLERATED_UNDELIVERED, counted * _TOLERATED_UNDELIVERED_PERCENT // 100):
        raise SourceCountMismatch(shop, expected=counted, received=counted - undelivered)
