"""The item feed as it is stored: pages of items in the order of feed positions, and the positions of shops.

Each page reads the indexes `item_by_position` and `item_deleted_by_position` and little more than its own rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.catalog_reads import Feed
from catalog_svc.domain.item_feed import FeedCursor, FeedPage, check_cursor, page_of, start_cursor
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import ITEM_COLUMNS, JOIN_PRODUCT, TABLE_COLUMNS, select_feed, to_items
from catalog_svc.storage.shops import ShopScope

_LIVE: Final = "item.deleted_at IS NULL"
_DELETED: Final = "item.deleted_at IS NOT NULL"
_ORDER: Final = "item.feed_position, item.item_id"

_SELECT_HEADS = text("SELECT shop_id, feed_position FROM feed_heads(CAST(:shop_ids AS uuid[]))")


class ItemFeedStore:
    """Feeds of items."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, shop: Shop, after: FeedCursor | None, *, limit: int) -> FeedPage:
        """Return up to `limit` items of the feed, from one database snapshot.

        Args:
            shop: The shop.
            after: Where the consumer continues; None: it has read nothing.
            limit: Maximum number of items.

        Raises:
            ShopNotFound: The shop was deleted in the meantime.
            PositionExpired: Changes after the cursor may have been purged, or it is of another history.
        """

        async def read(connection: AsyncConnection) -> FeedPage:
            feed = await select_feed(connection, shop)
            cursor = after or start_cursor(feed)
            check_cursor(feed, cursor)
            if _is_at_end(feed, cursor):
                return page_of(feed, cursor, (), limit=limit)
            values = {**ShopScope.of(shop).values, "limit": limit, "feed_position": cursor.position}
            values |= {"item_id": cursor.item_id, "snapshot_position": cursor.snapshot_position}
            query = _select_page(snapshot=cursor.snapshot_position is not None, continued=bool(cursor.item_id))
            rows = (await connection.execute(query, values)).all()
            items = await to_items(connection, ShopScope.of(shop), rows)
            return page_of(feed, cursor, items, limit=limit)

        return await self._database.read(read, shops=[shop.shop_id])

    async def heads(self, shop_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """Return the position of the last change of each of these shops; without those that were deleted."""
        values = {"shop_ids": list(shop_ids)}

        async def read(connection: AsyncConnection) -> Mapping[UUID, int]:
            rows = await connection.execute(_SELECT_HEADS, values)
            return {row.shop_id: row.feed_position for row in rows}

        return await self._database.read(read)


def _is_at_end(feed: Feed, cursor: FeedCursor) -> bool:
    return cursor.snapshot_position is None and not cursor.item_id and cursor.position == feed.position


@lru_cache
def _select_page(*, snapshot: bool, continued: bool) -> TextClause:
    """Return the query of a page of the snapshot, or of the changes after it."""
    conditions = "item.shop_id = :shop_id AND " + (
        "item.feed_position >= :feed_position AND (item.feed_position, item.item_id) > (:feed_position, :item_id)"
        if continued
        else "item.feed_position > :feed_position"
    )
    if snapshot:
        conditions += " AND item.feed_position <= :snapshot_position"
    scans = " UNION ALL ".join(
        f"(SELECT {TABLE_COLUMNS} FROM item WHERE {conditions} AND {state} ORDER BY {_ORDER} LIMIT :limit)"
        for state in ((_LIVE,) if snapshot else (_LIVE, _DELETED))
    )
    page = f"SELECT {TABLE_COLUMNS} FROM ({scans}) AS item ORDER BY {_ORDER} LIMIT :limit"
    return text(f"SELECT {ITEM_COLUMNS} FROM ({page}) AS item {JOIN_PRODUCT} ORDER BY {_ORDER}")
