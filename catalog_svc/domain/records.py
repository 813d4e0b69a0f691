"""A product as it is stored: the write side of the catalog.

Tuples by name instead of dataclasses, since a sync makes one for each changed variant.


An item as it is read: a variant with what its product tells.

Records that a sync set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple


class ItemRecord(NamedTuple):
    """One variant, as its row will be."""

    item_id: str
    product_id: str
    position: int
    title: str
    sku: str
    barcode: str
    currency_code: str
    price: str | None
    """Exact decimals are kept as their digits, here and below: 7.30 is not 7.3."""
    compare_at_price: str | None
    stock_quantity: int | None
    available: bool
    sellable_without_stock: bool
    options: str
    """JSON list of [name, value]."""
    image_url: str
    """Its own or its product's first; empty when there is none."""
    weight: str | None
    weight_unit: str
    source_created_at: datetime | None
    source_updated_at: datetime | None


class ProductRecord(NamedTuple):
    """One product, as its row will be."""

    product_id: str
    content_hash: bytes
    title: str
    handle: str
    description_html: str
    vendor: str
    product_type: str
    tags: list[str]
    status: str
    url: str
    options: str
    """JSON list of [name, [values]]."""
    images: str
    """JSON list of objects: id, url, alt_text, width, height."""
    source_created_at: datetime | None
    source_updated_at: datetime | None
    item_count: int
    """Variants received with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingProduct:
    """A product from the source, not unpacked yet: most of a re-sync is never looked into."""

    product_id: str
    content_hash: bytes
    """Over the product, its variants and the currency."""
    item_count: int
    """Variants with it."""
    variants_complete: bool
    """Whether items of this product that are not here are gone."""
    unpack: Callable[[], tuple[ProductRecord, list[ItemRecord]]]
    """Raises RecordRejected for a product that cannot be stored as it came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that can be bought."""

    item_id: str
    product_id: str
    position: int
    title: str
    sku: str
    barcode: str
    currency_code: str
    price: Decimal | None
    compare_at_price: Decimal | None
    stock_quantity: int | None
    available: bool
    sellable_without_stock: bool
    options: tuple[tuple[str, str], ...]
    image_url: str
    weight: Decimal | None
    weight_unit: str
    source_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    product_title: str
    product_status: str
    product_url: str
    vendor: str
    product_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemFilter:
    """Which items; the conditions narrow each other."""

    sku: str = ""
    product_id: str = ""
    text: str = ""
    updated_after: datetime | None = None
    include_deleted: bool = False

    def named(self) -> dict[str, object]:
        """Return the conditions that narrow, by name: those left at their default are not among them."""
        return {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default
        }


@dataclass(frozen=True, slots=True)
class ItemPosition:
    """Where a page of items ended."""

    product_id: str
    item_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordIssue:
    """A record that was set aside, or a fault within one that was stored."""

    reason: str
    """A name of `catalogsync.errors.v1.IssueReason`, without prefix."""
    product_id: str
    item_id: str
    field: str
    message: str
    sample: str
    product_rejected: bool


class RecordRejected(Exception):
    """A product that cannot be stored as it came; `issue` says why."""

    def __init__(self, issue: RecordIssue) -> None:
        super().__init__(issue.message)
        self.issue = issue


def count_rejected_products(issues: Iterable[RecordIssue]) -> int:
    """Count the products that were set aside whole: each once, however many issues name it.

    One that came without an id counts for each of its issues.
    """
    named, nameless = set[str](), 0
    for issue in issues:
        if issue.product_rejected and issue.product_id:
            named.add(issue.product_id)
        elif issue.product_rejected:
            nameless += 1
    return len(named) + nameless


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncIssue:
    """An issue with its place in its sync."""

    number: int
    issue: RecordIssue
    created_at: datetime
