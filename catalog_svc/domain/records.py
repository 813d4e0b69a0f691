"""Records of the catalog: products and items as they are stored, and what is wrong with some of them.

`ProductRecord` and `ItemRecord` declare the columns of the catalog's tables, once: the tables, the staging tables
of the bulk writer and its statements derive their column lists from these fields (see
`catalog_svc.storage.tables`). A new column is a field here, a migration, and a value in
`catalog_svc.source.decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, NamedTuple, TypeAlias

PlatformId: TypeAlias = Annotated[str, "platform id"]
"""An id that the platform has given; never empty."""
DecimalDigits: TypeAlias = Annotated[str, "decimal digits"]
"""An exact decimal number as the platform wrote it: 7.30 is not 7.3."""
JsonText: TypeAlias = Annotated[str, "JSON"]
Int64: TypeAlias = Annotated[int, "64 bits"]


# Named tuples and not dataclasses, since a sync makes one for each changed variant, and COPY takes tuples.
class ItemRecord(NamedTuple):
    """One variant as its row is stored."""

    item_id: PlatformId
    product_id: PlatformId
    position: int
    title: str
    sku: str
    barcode: str
    currency_code: str
    price: DecimalDigits | None
    compare_at_price: DecimalDigits | None
    stock_quantity: Int64 | None
    available: bool
    sellable_without_stock: bool
    options: JsonText
    """List of [name, value]."""
    image_url: str
    """The variant's own image, else the product's first one; empty when there is none."""
    image_version: str
    """Differs when the platform serves another image at the same address; empty if it does not say."""
    weight: DecimalDigits | None
    weight_unit: str
    source_created_at: datetime | None
    source_updated_at: datetime | None


class ProductRecord(NamedTuple):
    """One product as its row is stored."""

    product_id: PlatformId
    content_hash: bytes
    title: str
    handle: str
    description_html: str
    vendor: str
    product_type: str
    tags: list[str]
    status: str
    url: str
    options: JsonText
    """List of [name, [values]]."""
    images: JsonText
    """List of objects: id, url, alt_text, width, height."""
    source_created_at: datetime | None
    source_updated_at: datetime | None
    item_count: int
    """Number of variants that came with the product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingProduct:
    """A product from the source, not unpacked yet: most products of a re-sync are compared by their hash only."""

    product_id: str
    content_hash: bytes
    """Hash of the product, its variants and the currency."""
    item_count: int
    """Number of variants that came with the product."""
    variants_complete: bool
    """Whether all variants came: stored items of the product that are missing here are then deleted."""
    unpack: Callable[[], tuple[ProductRecord, list[ItemRecord]]]
    """Raises RecordRejected for a product that cannot be stored as it came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordIssue:
    """Why a record was rejected, or what is wrong within a record that was stored."""

    reason: str
    """A name of `catalogsync.errors.v1.IssueReason`, without prefix."""
    product_id: str
    item_id: str
    field: str
    message: str
    sample: str
    product_rejected: bool


class RecordRejected(Exception):
    """Raised for a product that cannot be stored as it came; `issue` says why."""

    def __init__(self, issue: RecordIssue) -> None:
        super().__init__(issue.message)
        self.issue = issue


def count_rejected_products(issues: Iterable[RecordIssue]) -> int:
    """Return how many products were rejected: each counts once, however many issues name it.

    A product that came without an id counts for each of its issues.
    """
    product_ids, missing_id_count = set[str](), 0
    for issue in issues:
        if issue.product_rejected and issue.product_id:
            product_ids.add(issue.product_id)
        elif issue.product_rejected:
            missing_id_count += 1
    return len(product_ids) + missing_id_count


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncIssue:
    """An issue with its number within its sync."""

    number: int
    issue: RecordIssue
    created_at: datetime
