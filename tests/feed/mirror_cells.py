"""The cells of the items that a mirror holds, and of those that are stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.types.v1 import product_pb2
from google.protobuf.timestamp_pb2 import Timestamp

Cells = Mapping[str, Any]
"""The fields of an item by name."""

_STORED: Final = """
    SELECT i.*, p.title AS product_title, p.status, p.url, p.vendor, p.product_type
    FROM item i JOIN product p USING (shop_id, product_id) JOIN shop s USING (shop_id)
    WHERE s.platform = $1 AND s.domain = $2 AND i.deleted_at IS NULL"""
_MIRRORED: Final = "SELECT message FROM item JOIN received USING (item_id)"
_INDEXED: Final = "SELECT count(*), (SELECT count(*) FROM item_text) FROM item"


async def stored_items(connection: asyncpg.Connection, shop: pb.ShopRef) -> dict[str, Cells]:
    """Return the live items of a shop by id."""
    rows = await connection.fetch(_STORED, shop.platform, shop.domain)
    return {row["item_id"]: _cells(_to_item(row)) for row in rows}


def mirrored_items(file: Path) -> dict[str, Cells]:
    """Return the items of a mirror by id; none while it is being created."""
    items = [pb.Item.FromString(message) for (message,) in read(file, _MIRRORED)]
    return {item.item_id: _cells(item) for item in items}


def differing_cells(mirrored: Mapping[str, Cells], stored: Mapping[str, Cells]) -> list[str]:
    """Describe each cell that differs."""
    found = [f"{item_id} is missing" for item_id in stored.keys() - mirrored.keys()]
    found += [f"{item_id} should not exist" for item_id in mirrored.keys() - stored.keys()]
    for item_id in stored.keys() & mirrored.keys():
        pairs = ((name, mirrored[item_id][name], value) for name, value in stored[item_id].items())
        found += [f"{item_id}: {name} is {has!r}, stored {value!r}" for name, has, value in pairs if has != value]
    return sorted(found)


def index_differences(file: Path) -> list[str]:
    """Describe a full-text index that has other items than the table beside it."""
    return [f"{items} items, {texts} texts" for items, texts in read(file, _INDEXED) if items != texts]


def read(file: Path, query: str) -> Sequence[tuple[Any, ...]]:
    """Return the rows of the query; none while the mirror is being created."""
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


def _cells(item: pb.Item) -> Cells:
    cells = {field.name: getattr(item, field.name) for field in item.DESCRIPTOR.fields}
    cells["options"] = [(option.name, option.value) for option in item.options]
    cells["stock_quantity"] = item.stock_quantity if item.HasField("stock_quantity") else None
    return cells


def _to_item(row: asyncpg.Record) -> pb.Item:
    """Return the message that a row should have become."""
    return pb.Item(
        item_id=row["item_id"],
        product_id=row["product_id"],
        position=row["position"],
        product_title=row["product_title"],
        title=row["title"],
        options=[pb.ItemOption(name=name, value=value) for name, value in json.loads(row["options"])],
        sku=row["sku"],
        barcode=row["barcode"],
        price=_money(row["price"], row["currency_code"]),
        compare_at_price=_money(row["compare_at_price"], row["currency_code"]),
        stock_quantity=row["stock_quantity"],
        available=row["available"],
        sellable_without_stock=row["sellable_without_stock"],
        weight="" if row["weight"] is None else str(row["weight"]),
        weight_unit=row["weight_unit"],
        image_url=row["image_url"],
        product_status=product_pb2.ProductStatus.Value(f"PRODUCT_STATUS_{row['status']}"),
        vendor=row["vendor"],
        product_type=row["product_type"],
        product_url=row["url"],
        source_update_time=_time(row["source_updated_at"]),
        create_time=_time(row["created_at"]),
        update_time=_time(row["updated_at"]),
        feed_position=row["feed_position"],
    )


def _money(amount: Decimal | None, currency_code: str) -> product_pb2.Money | None:
    return None if amount is None else product_pb2.Money(amount=str(amount), currency_code=currency_code)


def _time(value: datetime | None) -> Timestamp | None:
    if value is None:
        return None
    found = Timestamp()
    found.FromDatetime(value)
    return found
