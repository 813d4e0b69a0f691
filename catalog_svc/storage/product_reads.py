"""Stored products as clients read them, each with its items: one by its id, and pages by product id.

A page of products is read in three steps, so that it never reads much more than it returns: ids with an estimate
of what each product takes, then the products that fit, then their items. Lists without deleted products read the
index `product_live`, lists with them the primary key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.catalog_reads import Feed, Item, Product, ProductFilter
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import ITEM_COLUMNS, JOIN_PRODUCT, TEXT_WINDOW, select_feed, to_items
from catalog_svc.storage.shops import Row, ShopScope
from catalog_svc.storage.text_search import like_pattern, require_text_search

_MAX_PAGE_BYTES: Final = 1_048_576
"""Estimated size of the messages of a page, after which it ends."""
_SIZE: Final = """octet_length(product.description_html) + 4 * pg_column_size(product.images) + 500
        + greatest(product.item_count, 1) * (octet_length(product.title) + octet_length(product.url) + 400)"""
"""Estimate of the bytes of a product and its items as messages."""

_JOIN_SIZE: Final = f"""LEFT JOIN LATERAL (
        SELECT {_SIZE} AS bytes FROM product
        WHERE product.shop_id = :shop_id AND product.product_id = match.product_id OFFSET 0) AS product ON true"""

_COLUMNS: Final = """product.product_id, product.title, product.handle, product.description_html, product.vendor,
    product.product_type, product.tags, product.status, product.url, product.options, product.images,
    product.source_created_at, product.source_updated_at, product.created_at, product.updated_at,
    product.deleted_at"""

_SELECT_BY_IDS = text(f"""
    SELECT {_COLUMNS} FROM product
    WHERE product.shop_id = :shop_id AND product.product_id = ANY(CAST(:product_ids AS text[]))
    ORDER BY product.product_id""")


def _select_items(state: str) -> TextClause:
    return text(f"""
    SELECT {ITEM_COLUMNS} FROM item {JOIN_PRODUCT}
    WHERE item.shop_id = :shop_id AND item.product_id = ANY(CAST(:product_ids AS text[])) AND {state}
    ORDER BY item.product_id, item.position, item.item_id""")


_SELECT_ITEMS: Final = _select_items("item.deleted_at IS NULL")
_SELECT_DELETED_ITEMS: Final = _select_items("item.deleted_at IS NOT NULL")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    """The conditions that a page has, without their values: each shape is one statement."""

    continued: bool
    include_deleted: bool

    @property
    def conditions(self) -> str:
        conditions = ["product.shop_id = :shop_id"]
        if not self.include_deleted:
            conditions.append("product.deleted_at IS NULL")
        if self.continued:
            conditions.append("product.product_id > :after")
        return " AND ".join(conditions)


class ProductStore:
    """Products of the catalog."""

    def __init__(self, database: Database, *, text_window: int = TEXT_WINDOW) -> None:
        self._database = database
        self._text_window = text_window

    async def get(self, shop: Shop, product_id: str) -> Product | None:
        """Return the product, deleted or not; None when there never was one."""

        async def read(connection: AsyncConnection) -> Product | None:
            found = await _load(connection, shop, [product_id])
            return found[0] if found else None

        return await self._database.read(read, shops=[shop.shop_id])

    async def page(
        self, shop: Shop, which: ProductFilter, *, after: str, limit: int
    ) -> tuple[Feed, Sequence[Product], bool]:
        """Return products that meet the filter, by id, and the shop's feed, from one snapshot.

        Args:
            shop: The shop.
            which: The filter.
            after: The last product of the page before; empty: from the beginning.
            limit: Maximum number of products. There are fewer, but at least one, if they would take more than
                about 1 MiB as messages.

        Returns:
            The feed, the products, and whether there are more of them.

        Raises:
            ShopNotFound: The shop was deleted in the meantime.
            TextSearchUnavailable: The filter has a text, and the database has no trigram indexes.
        """
        shape = _Shape(continued=bool(after), include_deleted=which.include_deleted)
        values = {**ShopScope.of(shop).values, "after": after, "limit": limit + 1}
        values |= {"window": max(self._text_window, limit + 1), "pattern": like_pattern(which.text)}

        async def read(connection: AsyncConnection) -> tuple[Feed, Sequence[Product], bool]:
            feed = await select_feed(connection, shop)
            if which.text:
                await require_text_search(connection)
                sizes = await _search(connection, shape, values)
            else:
                sizes = (await connection.execute(_page(shape), values)).mappings().all()
            product_ids = _fitting(sizes[:limit])
            return feed, await _load(connection, shop, product_ids), len(product_ids) < len(sizes)

        return await self._database.read(read, shops=[shop.shop_id])


def _fitting(sizes: Sequence[Row]) -> list[str]:
    """Return the ids of the first products that fit into a page, and at least one."""
    total_bytes, fitting = 0, list[str]()
    for row in sizes:
        total_bytes += row["bytes"]
        if fitting and total_bytes > _MAX_PAGE_BYTES:
            break
        fitting.append(row["product_id"])
    return fitting


@lru_cache
def _page(shape: _Shape) -> TextClause:
    return text(f"""
    SELECT product.product_id, {_SIZE} AS bytes FROM product
    WHERE {shape.conditions} ORDER BY product.product_id LIMIT :limit""")


@lru_cache
def _search_window(shape: _Shape) -> TextClause:
    """The matches within the next products; at least one row, with their number as `examined`."""
    return text(f"""
    WITH candidate AS MATERIALIZED (
        SELECT product.product_id, product.title FROM product
        WHERE {shape.conditions} ORDER BY product.product_id LIMIT :window),
    match AS (
        SELECT product_id FROM candidate WHERE title ILIKE :pattern ORDER BY product_id LIMIT :limit)
    SELECT total.examined, match.product_id, product.bytes
    FROM (SELECT count(*) AS examined FROM candidate) AS total
    LEFT JOIN match ON true {_JOIN_SIZE} ORDER BY match.product_id""")


@lru_cache
def _search_index(shape: _Shape) -> TextClause:
    """The first of all matches, which the trigram index finds, through a function; see `items._search_index`."""
    return text(f"""
    WITH found AS MATERIALIZED (
        SELECT product.product_id FROM matching_products(
            CAST(:shop_id AS uuid), CAST(:pattern AS text), {"true" if shape.include_deleted else "false"})
            AS product (product_id)
        WHERE {"product.product_id > :after" if shape.continued else "true"}),
    match AS MATERIALIZED (SELECT product_id FROM found ORDER BY product_id LIMIT :limit)
    SELECT match.product_id, product.bytes FROM match {_JOIN_SIZE} ORDER BY match.product_id""")


async def _search(connection: AsyncConnection, shape: _Shape, values: Mapping[str, Any]) -> Sequence[Row]:
    """Return ids and sizes of products that contain a text."""
    rows = (await connection.execute(_search_window(shape), values)).mappings().all()
    found = [row for row in rows if row["product_id"] is not None]
    if len(found) == values["limit"] or rows[0]["examined"] < values["window"]:
        return found
    return (await connection.execute(_search_index(shape), values)).mappings().all()


async def _load(connection: AsyncConnection, shop: Shop, product_ids: Sequence[str]) -> list[Product]:
    """Return these products, by id, with their items: all that are not deleted, and of deleted products all."""
    values = {**ShopScope.of(shop).values, "product_ids": list(product_ids)}
    rows = (await connection.execute(_SELECT_BY_IDS, values)).mappings().all()
    items: defaultdict[str, list[Item]] = defaultdict(list)
    for query, ids in (
        (_SELECT_ITEMS, [row["product_id"] for row in rows if row["deleted_at"] is None]),
        (_SELECT_DELETED_ITEMS, [row["product_id"] for row in rows if row["deleted_at"] is not None]),
    ):
        if ids:
            found = (await connection.execute(query, {**values, "product_ids": ids})).all()
            for item in await to_items(connection, ShopScope.of(shop), found):
                items[item.product_id].append(item)
    return [_to_product(row, items[row["product_id"]]) for row in rows]


def _to_product(row: Row, items: Sequence[Item]) -> Product:
    return Product(
        product_id=row["product_id"],
        title=row["title"],
        handle=row["handle"],
        description_html=row["description_html"],
        vendor=row["vendor"],
        product_type=row["product_type"],
        tags=tuple(row["tags"]),
        status=row["status"],
        url=row["url"],
        options=tuple((name, values) for name, values in row["options"]),
        images=tuple(row["images"]),
        source_created_at=row["source_created_at"],
        source_updated_at=row["source_updated_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
        items=tuple(items),
    )
