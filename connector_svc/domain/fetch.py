"""What a fetch is asked and what it yields: header, then batches, then the end; waits are told aside.

How many products a platform may count and not deliver before a pass counts as incomplete."""

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

    Then `updated_after` and `checkpoint` are absent. Each id ends in one of four ways: in a batch, rejected by an
    issue with product_rejected, in `deleted_product_ids` (the platform, asked twice, does not have it), or
    nowhere: the platform would not tell, and the receiver keeps what it has.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Always first."""

    shop_info: ShopInfo
    strategy: str
    """"paging"."""
    strategy_reason: str
    watermark: datetime
    """The platform's clock when the pass began; kept through resumes by the checkpoint."""
    resumed: bool = False
    estimated_product_count: int | None = None
    estimated_item_count: int | None = None
    notes: tuple[str, ...] = ()
    """What this pass cannot see, a sentence for people each."""
    resume_is_expensive: bool = False
    """Whether a resume downloads a file again or waits for a job again: such a stream may live longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a variant is sold as."""

    sku: str
    price: Decimal | None
    compare_at_price: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StockLevel:
    """What is left of a variant, found without reading its product."""

    product_id: str
    variant_id: str
    """The product's id for a product without variants."""
    stock_quantity: int | None
    """None: not tracked."""
    available: bool
    offer: Offer | None = None
    """None: not looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Whole products in the platform's stable order."""

    products: tuple[Product, ...]
    checkpoint: bytes
    """Continues after this batch."""
    issues: tuple[RecordIssue, ...] = ()
    """Set aside since the last batch."""
    deleted_product_ids: tuple[str, ...] = ()
    """Gone, by the platform's own word."""
    stock_levels: tuple[StockLevel, ...] = ()
    """Of variants whose product need not have changed."""
    listed_product_ids: tuple[str, ...] = ()
    """There, though only the id was looked at."""


class WaitReason(Enum):
    """What a connector waits for."""

    THROTTLED = "THROTTLED"
    PLATFORM_JOB = "PLATFORM_JOB"
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE"
    TOKEN_SERVICE = "TOKEN_SERVICE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Nothing is wrong yet."""

    reason: WaitReason
    until: datetime
    """UTC."""
    message: str = ""
    done_count: int | None = None
    total_count: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """Always last, and only after a complete pass; counts are of the whole pass, resumes included.

    `emitted_count + rejected_count >= source_count`; a platform whose counts fall short raises
    `SourceCountMismatch` instead.
    """

    source_count: int
    """Products, as the platform counts them when the pass ends; without those made meanwhile where it can tell."""
    emitted_count: int
    rejected_count: int
    emitted_item_count: int
    warnings: tuple[str, ...] = field(default=())
    """Whatever makes it unsafe to conclude that an absent product is gone."""
    all_listed: bool = False
    """Whether an incremental pass listed every product of the shop: then absent ones are missing, as after a full
    pass, and the receiver asks for them by `product_ids` before it takes them for deleted."""
    notes: tuple[str, ...] = ()
    """What came to light while the pass ran, a sentence for people each."""
    absence_proven: bool = False
    """Whether the source proves that it has no other product than the pass named, as a signed file does."""


FetchEvent: TypeAlias = Header | Batch | End

WaitReporter: TypeAlias = Callable[[Wait], None]
"""Told of every wait when it begins, so that whoever watches learns of it while the reader sleeps."""


_ALWAYS_TOLERATED: Final = 5
_TOLERATED_PERCENT: Final = 10


def check_undelivered(shop: Shop, *, counted: int, undelivered: int) -> None:
    """Raise SourceCountMismatch when a platform counts too many products that it does not deliver.

    A few are products that a plugin hides or breaks: the pass names them, lets nothing be deleted, and ends. More
    than five and a tenth of all are a platform that does not deliver its catalog.
    """
    if undelivered > max(_ALWAYS_TOLERATED, counted * _TOLERATED_PERCENT // 100):
        raise SourceCountMismatch(shop, expected=counted, received=counted - undelivered)
