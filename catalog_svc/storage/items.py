"""Stored items as clients read them: one by its id, and pages by product or by position.

A page reads little more than its own rows, whatever the size of the shop, since an index has them in its order:

| List | Index |
|---|---|
| by product and item | item_by_product |
| by position and item | item_by_position; items of one position, which one batch has written, are sorted |
| of a sku, by product and item | item_by_sku |
| the same of deleted items | item_deleted_by_product, item_deleted_by_position, item_deleted_by_sku |
| in a state of analysis, by product and item | item_by_analysis |
| of a text | one of the above; if the text is rare, the trigram indexes, see `TEXT_WINDOW` |

Deleted items have indexes of their own, so that a list of the others does not read through them: a shop that has
replaced its catalog has more deleted items than others. A list of both merges two scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import AnalysisState, AnalysisSummary, ItemAnalysis
from catalog_svc.domain.catalog_reads import Feed, Item, ItemCursor, ItemFilter
from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.analyses import load_summaries
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import ShopScope
from catalog_svc.storage.tables import item
from catalog_svc.storage.text_search import like_pattern, require_text_search

TEXT_WINDOW: Final = 3_000
"""Items, in the order of the list, in which a text is searched first. A page of a frequent text is complete with
them; for a rarer one the trigram indexes find all of its matches, which are few enough to be sorted."""

_NAMES: Final = tuple(column.name for column in item.columns if column.name != "image_version")
"""Named one by one, so that a column that a newer release adds disturbs no prepared statement."""
TABLE_COLUMNS: Final = ", ".join(f"item.{name}" for name in _NAMES)

_OF_PRODUCT: Final = {
    "product_title": "product.title AS product_title",
    "product_status": "product.status AS product_status",
    "product_url": "product.url AS product_url",
    "vendor": "product.vendor",
    "product_type": "product.product_type",
}
_FIELDS: Final = tuple(name for name in Item._fields if name != "analysis")
_OPTIONS: Final = _FIELDS.index("options")

ITEM_COLUMNS: Final = ", ".join(
    [_OF_PRODUCT.get(name, f"item.{name}") for name in _FIELDS] + ["item.analysis_state", "item.image_hash"]
)
"""The columns that `to_items` reads: the fields of an Item in their order, and where its analysis is found."""

# OFFSET keeps the subquery as it is: one look-up by key for each item. As a plain join the planner would sometimes
# read all products of the shop.
JOIN_PRODUCT: Final = """CROSS JOIN LATERAL (
        SELECT title, status, url, vendor, product_type FROM product
        WHERE product.shop_id = :shop_id AND product.product_id = item.product_id OFFSET 0) AS product"""

_SELECT_FEED = text("""
    SELECT feed_position, feed_floor, present_incarnation(incarnation) AS incarnation
    FROM shop_state WHERE shop_id = :shop_id AND NOT deleting""")

_SELECT_BY_ID = text(f"""
    SELECT {ITEM_COLUMNS} FROM item {JOIN_PRODUCT}
    WHERE item.shop_id = :shop_id AND item.item_id = :item_id""")

_KEYS: Final = "item.feed_position, item.product_id, item.item_id"
_LIVE: Final = "item.deleted_at IS NULL"
_DELETED: Final = "item.deleted_at IS NOT NULL"
_FOUND: Final = {_LIVE: "NOT item.is_deleted", _DELETED: "item.is_deleted"}
"""The same of rows of `matching_items`."""
_MATCHES: Final = "(item.title ILIKE :pattern OR product.title ILIKE :pattern)"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shape:
    """The conditions that a page has, without their values: each shape is one statement."""

    by_position: bool
    continued: bool
    sku: bool
    product: bool
    include_deleted: bool
    analysis: bool

    @classmethod
    def of(cls, which: ItemFilter, after: ItemCursor | None) -> _Shape:
        return cls(
            by_position=which.after_position > 0,
            continued=after is not None,
            sku=bool(which.sku),
            product=bool(which.product_id),
            include_deleted=which.include_deleted,
            analysis=which.analysis_state is not None,
        )

    @property
    def states(self) -> tuple[str, ...]:
        return (_LIVE, _DELETED) if self.include_deleted else (_LIVE,)

    def order(self, table: str) -> str:
        return f"{table}.{'feed_position' if self.by_position else 'product_id'}, {table}.item_id"

    @property
    def conditions(self) -> str:
        """Conditions on the rows of `item`, but for the text and the state."""
        conditions = ["item.shop_id = :shop_id"]
        if self.sku:
            conditions.append("item.sku = :sku")
        if self.product:
            conditions.append("item.product_id = :product_id")
        if self.analysis:
            conditions.append("item.analysis_state = :analysis_state")
        return " AND ".join([*conditions, *self.cursor])

    @property
    def cursor(self) -> Sequence[str]:
        """Those of the conditions that say where the page begins."""
        if self.by_position and self.continued:
            return (
                "item.feed_position >= :feed_position",
                "(item.feed_position, item.item_id) > (:feed_position, :item_id)",
            )
        if self.by_position:
            return ("item.feed_position > :feed_position",)
        return ("(item.product_id, item.item_id) > (:after_product_id, :item_id)",) if self.continued else ()


class ItemStore:
    """Items of the catalog."""

    def __init__(self, database: Database, *, text_window: int = TEXT_WINDOW) -> None:
        self._database = database
        self._text_window = text_window

    async def get(self, shop: Shop, item_id: str) -> Item | None:
        """Return the item, deleted or not; None when there never was one."""
        values = {**ShopScope.of(shop).values, "item_id": item_id}

        async def read(connection: AsyncConnection) -> Item | None:
            rows = (await connection.execute(_SELECT_BY_ID, values)).all()
            return next(iter(await to_items(connection, ShopScope.of(shop), rows)), None)

        return await self._database.read(read, shops=[shop.shop_id])

    async def page(
        self, shop: Shop, which: ItemFilter, *, after: ItemCursor | None, limit: int
    ) -> tuple[Feed, Sequence[Item]]:
        """Return up to `limit` items that meet the filter, and the shop's feed, from one snapshot.

        Args:
            shop: The shop.
            which: The filter. With a position the items are in the order of positions and item ids, else of
                product and item ids.
            after: Where the page before ended; None: from the beginning.
            limit: Maximum number of items.

        Raises:
            ShopNotFound: The shop was deleted in the meantime.
            TextSearchUnavailable: The filter has a text, and the database has no trigram indexes.
        """
        shape, values = _Shape.of(which, after), _values(shop, which, after, limit)
        window = max(self._text_window, limit)

        async def read(connection: AsyncConnection) -> tuple[Feed, Sequence[Item]]:
            feed = await select_feed(connection, shop)
            if which.text:
                await require_text_search(connection)
                rows = await _search(connection, shape, values, window=window)
            else:
                rows = (await connection.execute(_page(shape), values)).all()
            return feed, await to_items(connection, ShopScope.of(shop), rows)

        return await self._database.read(read, shops=[shop.shop_id])


async def select_feed(connection: AsyncConnection, shop: Shop) -> Feed:
    """Return the feed of a shop. Raises ShopNotFound if the shop was deleted in the meantime."""
    row = (await connection.execute(_SELECT_FEED, ShopScope.of(shop).values)).first()
    if row is None:
        raise ShopNotFound(shop.shop_id)
    return Feed(position=row.feed_position, floor=row.feed_floor, incarnation=row.incarnation)


def _values(shop: Shop, which: ItemFilter, after: ItemCursor | None, limit: int) -> dict[str, object]:
    values = {**ShopScope.of(shop).values, "limit": limit, "feed_position": which.after_position}
    if after is not None:
        values |= {"after_product_id": after.product_id, "item_id": after.item_id}
        values["feed_position"] = after.feed_position
    state = which.analysis_state.value if which.analysis_state else None
    values |= {"sku": which.sku, "product_id": which.product_id, "pattern": like_pattern(which.text)}
    return values | {"analysis_state": state}


async def _search(
    connection: AsyncConnection, shape: _Shape, values: Mapping[str, Any], *, window: int
) -> Sequence[Row[Any]]:
    """Return the rows of a page of items that contain a text."""
    rows = (await connection.execute(_search_window(shape), {**values, "window": window})).all()
    found = [row for row in rows if row.item_id is not None]
    if len(found) == values["limit"] or rows[0].examined < window:
        return found
    return (await connection.execute(_search_index(shape), values)).all()


def _ordered(shape: _Shape, *, limit: str) -> str:
    """A query of the first rows of `item` that meet the conditions, in order."""
    scans = " UNION ALL ".join(
        f"""(SELECT {TABLE_COLUMNS} FROM item WHERE {shape.conditions} AND {state}
             ORDER BY {shape.order("item")} LIMIT :{limit})"""
        for state in shape.states
    )
    return f"SELECT {', '.join(_NAMES)} FROM ({scans}) AS page ORDER BY {shape.order('page')} LIMIT :{limit}"


@lru_cache
def _page(shape: _Shape) -> TextClause:
    return text(f"""
    SELECT {ITEM_COLUMNS} FROM ({_ordered(shape, limit="limit")}) AS item {JOIN_PRODUCT}
    ORDER BY {shape.order("item")}""")


@lru_cache
def _search_window(shape: _Shape) -> TextClause:
    """The matches within the next items; at least one row, with their number as `examined`."""
    return text(f"""
    WITH candidate AS MATERIALIZED ({_ordered(shape, limit="window")}),
    match AS (
        SELECT {ITEM_COLUMNS} FROM candidate AS item {JOIN_PRODUCT}
        WHERE {_MATCHES} ORDER BY {shape.order("item")} LIMIT :limit)
    SELECT match.*, total.examined FROM (SELECT count(*) AS examined FROM candidate) AS total
    LEFT JOIN match ON true ORDER BY {shape.order("match")}""")


@lru_cache
def _search_index(shape: _Shape) -> TextClause:
    """The first of all matches, which the trigram indexes find: those of items, and those of products.

    Functions look there, since row-level security keeps ILIKE from being the condition of an index.

    What the indexes find is materialized: with a limit in sight, the planner would rather read the shop in order
    and expect to meet enough matches soon.
    """
    from_product = (
        "" if shape.by_position or not shape.continued else "AND product.product_id >= :after_product_id"
    )
    matches = " UNION ".join(
        f"""(SELECT {_KEYS} FROM matching_item AS item WHERE {_FOUND[state]}
             ORDER BY {shape.order("item")} LIMIT :limit)
        UNION ({_items_of_products(shape, state)})"""
        for state in shape.states
    )
    return text(f"""
    WITH matching_item AS MATERIALIZED (
        SELECT {_KEYS}, item.is_deleted FROM matching_items(
            CAST(:shop_id AS uuid), CAST(:pattern AS text), CAST(:sku AS text), CAST(:product_id AS text),
            {"true" if shape.include_deleted else "false"}) AS item
        WHERE {" AND ".join(shape.cursor) or "true"}),
    matching_product AS MATERIALIZED (
        SELECT product.product_id
        FROM matching_products(CAST(:shop_id AS uuid), CAST(:pattern AS text), true) AS product (product_id)
        WHERE true {from_product}),
    page AS MATERIALIZED (
        SELECT match.item_id FROM ({matches}) AS match ORDER BY {shape.order("match")} LIMIT :limit)
    SELECT {ITEM_COLUMNS} FROM page
    CROSS JOIN LATERAL (
        SELECT {TABLE_COLUMNS} FROM item
        WHERE item.shop_id = :shop_id AND item.item_id = page.item_id OFFSET 0) AS item {JOIN_PRODUCT}
    ORDER BY {shape.order("item")}""")


def _items_of_products(shape: _Shape, state: str) -> str:
    """The first items of the products that match; by product, those of no more products than the page needs."""
    products = "matching_product" if shape.by_position else "(SELECT * FROM matching_product ORDER BY product_id)"
    order = shape.order("item") if shape.by_position else "product.product_id, item.item_id"
    return f"""
        SELECT {_KEYS} FROM {products} AS product
        CROSS JOIN LATERAL (
            SELECT {_KEYS} FROM item
            WHERE item.product_id = product.product_id AND {shape.conditions} AND {state} OFFSET 0) AS item
        ORDER BY {order} LIMIT :limit"""


async def to_items(connection: AsyncConnection, scope: ShopScope, rows: Sequence[Row[Any]]) -> list[Item]:
    """Convert rows that begin with `ITEM_COLUMNS`, with the results of their analysis from the same snapshot."""
    summaries = await load_summaries(connection, scope, {row.image_hash for row in rows})
    return [_to_item(row, summaries) for row in rows]


def _to_item(row: Row[Any], summaries: Mapping[bytes, tuple[AnalysisSummary, ...]]) -> Item:
    item = Item._make((*row[:_OPTIONS], tuple(map(tuple, row[_OPTIONS])), None))
    if row.analysis_state is None or item.deleted_at is not None:
        return item
    results = summaries.get(row.image_hash, ())
    return item._replace(analysis=ItemAnalysis(state=AnalysisState(row.analysis_state), results=results))
