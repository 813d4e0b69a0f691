"""Loads stored products and items as records, to be compared with records of the source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.audit import StoredItem, StoredProduct, StoredRows, StoredState
from catalog_svc.domain.records import ItemRecord, ProductRecord
from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn
from catalog_svc.storage.shops import Row, ShopScope


def _names(table: str, columns: Sequence[RecordColumn]) -> str:
    """Return the columns as they are staged: numbers and JSON as texts."""
    return ", ".join(
        f"CAST({table}.{column.name} AS text) AS {column.name}" if column.cast_to else f"{table}.{column.name}"
        for column in columns
    )


_SELECT_STATE: Final = text("SELECT feed_position, watermark FROM shop_state WHERE shop_id = :shop_id")

_SELECT_PRODUCTS: Final = text(f"""
    SELECT {_names("product", PRODUCT_COLUMNS)}, deleted_at IS NOT NULL AS deleted,
        deleted_at IS NOT DISTINCT FROM updated_at AS deleted_by_writer, updated_at, feed_position
    FROM product WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))""")

_ITEM_ROWS: Final = f"{_names('item', ITEM_COLUMNS)}, deleted_at IS NOT NULL AS deleted, updated_at, feed_position"

# Two indexes, which OR would not use.
_SELECT_ITEMS: Final = text(f"""
    SELECT {_ITEM_ROWS} FROM item
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[])) AND deleted_at IS NULL
    UNION ALL
    SELECT {_ITEM_ROWS} FROM item
    WHERE shop_id = :shop_id AND item_id = ANY(CAST(:item_ids AS text[]))
      AND (deleted_at IS NOT NULL OR product_id <> ALL(CAST(:product_ids AS text[])))""")


async def load_state(
    connection: AsyncConnection, scope: ShopScope, product_ids: Collection[str], item_ids: Collection[str]
) -> StoredState:
    """Return what is stored of these products, with whatever is stored under these ids of items.

    Items that are deleted, or stored under another product, are apart.
    """
    wanted = frozenset(product_ids)
    values = {**scope.values, "product_ids": sorted(wanted), "item_ids": sorted(item_ids)}
    state = (await connection.execute(_SELECT_STATE, values)).first()
    products = {
        row["product_id"]: _product(row) for row in (await connection.execute(_SELECT_PRODUCTS, values)).mappings()
    }
    by_product: dict[str, dict[str, StoredItem]] = defaultdict(dict)
    others: dict[str, StoredItem] = {}
    for row in (await connection.execute(_SELECT_ITEMS, values)).mappings():
        item = _item(row)
        if item.deleted or item.record.product_id not in wanted:
            others[item.record.item_id] = item
        else:
            by_product[item.record.product_id][item.record.item_id] = item
    return StoredState(
        rows={
            product_id: StoredRows(product=products.get(product_id), items=by_product[product_id])
            for product_id in wanted
        },
        others=others,
        feed_position=state.feed_position if state else 0,
        watermark=state.watermark if state else None,
    )


def _product(row: Row) -> StoredProduct:
    return StoredProduct(
        record=ProductRecord(*(row[column.name] for column in PRODUCT_COLUMNS)),
        deleted=row["deleted"],
        deleted_by_writer=row["deleted_by_writer"],
        updated_at=row["updated_at"],
        feed_position=row["feed_position"],
    )


def _item(row: Row) -> StoredItem:
    return StoredItem(
        record=ItemRecord(*(row[column.name] for column in ITEM_COLUMNS)),
        deleted=row["deleted"],
        updated_at=row["updated_at"],
        feed_position=row["feed_position"],
    )
