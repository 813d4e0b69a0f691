"""The columns of exported items, and a row of values per item.

This is the inner loop of an export of a million items: plain functions and tuples, no objects per cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import lru_cache
from typing import Final, TypeAlias

from catalogsync.catalog.v1.catalog_service_pb2 import Item
from catalogsync.types.v1.product_pb2 import ProductStatus
from google.protobuf.timestamp_pb2 import Timestamp

Value: TypeAlias = str | int | bool | list[tuple[str, str]] | None
Row: TypeAlias = tuple[Value, ...]


class Kind(Enum):
    """What the values of a column are in a row."""

    TEXT = auto()
    """str."""
    INTEGER = auto()
    """int or None."""
    BOOLEAN = auto()
    """bool."""
    DECIMAL = auto()
    """str with a decimal number, or None."""
    TIME = auto()
    """int: microseconds since 1970 in UTC, or None."""
    OPTIONS = auto()
    """A list of names and values."""


COLUMNS: Final[Mapping[str, Kind]] = {
    "item_id": Kind.TEXT,
    "product_id": Kind.TEXT,
    "position": Kind.INTEGER,
    "product_title": Kind.TEXT,
    "title": Kind.TEXT,
    "options": Kind.OPTIONS,
    "sku": Kind.TEXT,
    "barcode": Kind.TEXT,
    "price": Kind.DECIMAL,
    "price_currency": Kind.TEXT,
    "compare_at_price": Kind.DECIMAL,
    "compare_at_price_currency": Kind.TEXT,
    "stock_quantity": Kind.INTEGER,
    "available": Kind.BOOLEAN,
    "sellable_without_stock": Kind.BOOLEAN,
    "weight": Kind.DECIMAL,
    "weight_unit": Kind.TEXT,
    "image_url": Kind.TEXT,
    "product_status": Kind.TEXT,
    "vendor": Kind.TEXT,
    "product_type": Kind.TEXT,
    "product_url": Kind.TEXT,
    "source_update_time": Kind.TIME,
    "create_time": Kind.TIME,
    "update_time": Kind.TIME,
    "delete_time": Kind.TIME,
}
"""The columns of every format, in their order. The names are those of the contract's `Item`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES: Final = {
    number: name.removeprefix("PRODUCT_STATUS_") if number else "" for name, number in ProductStatus.items()
}


def row_of(item: Item) -> Row:
    """Return the values of an item below COLUMNS."""
    has = item.HasField
    price = item.price if has("price") else None
    compare_at = item.compare_at_price if has("compare_at_price") else None
    return (
        item.item_id,
        item.product_id,
        item.position,
        item.product_title,
        item.title,
        [(option.name, option.value) for option in item.options],
        item.sku,
        item.barcode,
        price.amount if price is not None else None,
        price.currency_code if price is not None else "",
        compare_at.amount if compare_at is not None else None,
        compare_at.currency_code if compare_at is not None else "",
        item.stock_quantity if has("stock_quantity") else None,
        item.available,
        item.sellable_without_stock,
        item.weight or None,
        item.weight_unit,
        item.image_url,
        _STATUSES.get(item.product_status, ""),
        item.vendor,
        item.product_type,
        item.product_url,
        _microseconds(item.source_update_time) if has("source_update_time") else None,
        _microseconds(item.create_time) if has("create_time") else None,
        _microseconds(item.update_time) if has("update_time") else None,
        _microseconds(item.delete_time) if has("delete_time") else None,
    )


def _microseconds(stamp: Timestamp) -> int:
    return stamp.seconds * 1_000_000 + stamp.nanos // 1_000


@lru_cache(maxsize=4_096)
def time_text(microseconds: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC; None stays None. Cached: items of one batch were stored at one time."""
    if microseconds is None:
        return None
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
