"""An item as it is read: a variant with what its product tells."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal


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
