"""Stored items: reading them, and updating their stock and offers without their products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.records import Item, ItemFilter, ItemPosition
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import StockLevel
from catalog_svc.domain.sync import RecordCounts
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import Row, ShopScope
from catalog_svc.storage.tables import item, product

_SELECT = select(
    item,
    product.c.title.label("product_title"),
    product.c.status.label("product_status"),
    product.c.url.label("product_url"),
    product.c.vendor,
    product.c.product_type,
).join_from(
    item,
    product,
    and_(
        product.c.shop_id == item.c.shop_id,
        product.c.product_id == item.c.product_id,
    ),
)

# Prices are compared as texts: 7.3 and 7.30 are equal numbers, and what the platform wrote is what we keep.
_UPDATE_STOCK = text("""
    WITH level AS (
        SELECT item_id, stock_quantity, available, offered, sku, CAST(price AS numeric) AS price,
            CAST(compare_at_price AS numeric) AS compare_at_price
        FROM unnest(CAST(:item_ids AS text[]), CAST(:quantities AS bigint[]), CAST(:availables AS boolean[]),
                    CAST(:offered AS boolean[]), CAST(:skus AS text[]), CAST(:prices AS text[]),
                    CAST(:compare_at_prices AS text[]))
             AS level (item_id, stock_quantity, available, offered, sku, price, compare_at_price))
    UPDATE item SET stock_quantity = level.stock_quantity, available = level.available,
        sku = CASE WHEN level.offered THEN level.sku ELSE item.sku END,
        price = CASE WHEN level.offered THEN level.price ELSE item.price END,
        compare_at_price = CASE WHEN level.offered THEN level.compare_at_price ELSE item.compare_at_price END,
        feed_position = :feed_position, updated_at = statement_timestamp()
    FROM level
    WHERE item.shop_id = :shop_id AND item.item_id = level.item_id
      AND item.deleted_at IS NULL
      AND ((item.stock_quantity, item.available) IS DISTINCT FROM (level.stock_quantity, level.available)
        OR level.offered
           AND (item.sku, CAST(item.price AS text), CAST(item.compare_at_price AS text))
               IS DISTINCT FROM (level.sku, CAST(level.price AS text), CAST(level.compare_at_price AS text)))
    RETURNING item.product_id""")

# The hash is that of the product when it was last read as a whole. Without this, a product that returns to the
# state of that read would be taken for unchanged.
_CLEAR_HASH = text("""
    UPDATE product SET content_hash = ''
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND content_hash <> ''""")


class ItemStore:
    """Items of the catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, shop: Shop, item_id: str) -> Item | None:
        """Return the item, deleted or not; None when there never was one."""
        found = await self._select(_SELECT.where(_of_shop(item, shop), item.c.item_id == item_id))
        return found[0] if found else None

    async def page(self, shop: Shop, which: ItemFilter, *, after: ItemPosition | None, limit: int) -> list[Item]:
        """Return up to `limit` items that meet the filter, by product id and item id, after `after`."""
        query = _SELECT.where(_of_shop(item, shop), *_conditions(which))
        if after is not None:
            query = query.where(
                tuple_(item.c.product_id, item.c.item_id) > tuple_(after.product_id, after.item_id)
            )
        return await self._select(query.order_by(item.c.product_id, item.c.item_id).limit(limit))

    async def _select(self, query: Select[Any]) -> list[Item]:
        async def read(connection: AsyncConnection) -> list[Item]:
            return [_to_item(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(read)


async def write_stock(
    connection: AsyncConnection, scope: ShopScope, levels: Sequence[StockLevel], *, feed_position: int
) -> RecordCounts:
    """Update stored items to these levels, the last level of each item; write and count only what differs.

    Args:
        connection: The caller's transaction, which holds the shop's write lock.
        scope: The shop.
        levels: The levels, in the order in which they were read.
        feed_position: The position of the rows that change.
    """
    if not levels:
        return RecordCounts()
    distinct = list({level.item_id: level for level in levels}.values())
    values = {**scope.values, **_columns(distinct), "feed_position": feed_position}
    updated = list((await connection.execute(_UPDATE_STOCK, values)).scalars())
    if updated:
        await connection.execute(_CLEAR_HASH, {**scope.values, "product_ids": list(set(updated))})
    return RecordCounts(seen=len(updated), updated=len(updated))


def _columns(levels: Sequence[StockLevel]) -> dict[str, list[object]]:
    offers = [level.offer for level in levels]
    return {
        "item_ids": [level.item_id for level in levels],
        "quantities": [level.stock_quantity for level in levels],
        "availables": [level.available for level in levels],
        "offered": [offer is not None for offer in offers],
        "skus": [offer.sku if offer else "" for offer in offers],
        "prices": [offer.price if offer else None for offer in offers],
        "compare_at_prices": [offer.compare_at_price if offer else None for offer in offers],
    }


def _of_shop(table: Table, shop: Shop | ShopScope) -> ColumnElement[bool]:
    return table.c.shop_id == shop.shop_id


def _conditions(which: ItemFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if which.sku:
        conditions.append(item.c.sku == which.sku)
    if which.product_id:
        conditions.append(item.c.product_id == which.product_id)
    if which.text:
        conditions.append(
            or_(
                item.c.title.icontains(which.text, autoescape=True),
                product.c.title.icontains(which.text, autoescape=True),
            )
        )
    if which.updated_after is not None:
        # A change of the product is a change of its items.
        conditions.append(func.greatest(item.c.updated_at, product.c.updated_at) > which.updated_after)
    if not which.include_deleted:
        conditions.append(item.c.deleted_at.is_(None))
    return conditions


def _to_item(row: Row) -> Item:
    return Item(
        item_id=row["item_id"],
        product_id=row["product_id"],
        position=row["position"],
        title=row["title"],
        sku=row["sku"],
        barcode=row["barcode"],
        currency_code=row["currency_code"],
        price=row["price"],
        compare_at_price=row["compare_at_price"],
        stock_quantity=row["stock_quantity"],
        available=row["available"],
        sellable_without_stock=row["sellable_without_stock"],
        options=tuple((name, value) for name, value in row["options"]),
        image_url=row["image_url"],
        weight=row["weight"],
        weight_unit=row["weight_unit"],
        source_updated_at=row["source_updated_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
        product_title=row["product_title"],
        product_status=row["product_status"],
        product_url=row["product_url"],
        vendor=row["vendor"],
        product_type=row["product_type"],
    )
