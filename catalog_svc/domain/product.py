"""A product as it is stored: the write side of the catalog.

Tuples by name instead of dataclasses, since a sync makes one for each changed variant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
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
