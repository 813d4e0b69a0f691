"""Reading the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.records import Item, ItemFilter, ItemPosition
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import CatalogCounts
from catalog_svc.storage.database import Database
from catalog_svc.storage.scope import ShopScope
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
        product.c.merchant_id == item.c.merchant_id,
        product.c.shop_id == item.c.shop_id,
        product.c.product_id == item.c.product_id,
    ),
)


class ItemStore:
    """Items and counts by shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, shop: Shop, item_id: str) -> Item | None:
        """The item, deleted or not; None when there never was one."""
        found = await self._select(_SELECT.where(_of(shop), item.c.item_id == item_id))
        return found[0] if found else None

    async def page(self, shop: Shop, which: ItemFilter, *, after: ItemPosition | None, limit: int) -> list[Item]:
        """Items by product id and item id, after `after`."""
        query = _SELECT.where(_of(shop), *_conditions(which))
        if after is not None:
            query = query.where(
                tuple_(item.c.product_id, item.c.item_id) > tuple_(after.product_id, after.item_id)
            )
        return await self._select(query.order_by(item.c.product_id, item.c.item_id).limit(limit))

    async def counts(self, shop: Shop) -> CatalogCounts:
        """Stored and not deleted."""
        items = select(func.count(), func.count().filter(item.c.image_url != "")).where(
            _of(shop), item.c.deleted_at.is_(None)
        )
        products = select(func.count()).where(
            product.c.merchant_id == shop.merchant_id,
            product.c.shop_id == shop.shop_id,
            product.c.deleted_at.is_(None),
        )

        async def read(connection: AsyncConnection) -> CatalogCounts:
            item_count, with_image = (await connection.execute(items)).one()
            product_count = (await connection.execute(products)).scalar_one()
            return CatalogCounts(products=product_count, items=item_count, items_with_image=with_image)

        return await self._database.read(read)

    async def _select(self, query: Select[Any]) -> list[Item]:
        async def read(connection: AsyncConnection) -> list[Item]:
            return [_to_item(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(read)


async def count_items(connection: AsyncConnection, scope: ShopScope, *, at_most: int | None = None) -> int:
    """Items of the shop that are not deleted, as the caller's transaction sees them; no more than `at_most`."""
    live = select(item.c.item_id).where(
        item.c.merchant_id == scope.merchant_id, item.c.shop_id == scope.shop_id, item.c.deleted_at.is_(None)
    )
    query = select(func.count()).select_from(live.limit(at_most).subquery())
    return (await connection.execute(query)).scalar_one()


def _of(shop: Shop) -> ColumnElement[bool]:
    return and_(item.c.merchant_id == shop.merchant_id, item.c.shop_id == shop.shop_id)


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
        # A product's own change shows in its items.
        conditions.append(func.greatest(item.c.updated_at, product.c.updated_at) > which.updated_after)
    if not which.include_deleted:
        conditions.append(item.c.deleted_at.is_(None))
    return conditions


def _to_item(row: Mapping[Any, Any]) -> Item:
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
