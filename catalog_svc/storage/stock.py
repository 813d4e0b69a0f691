"""Updates the stock and the offers of stored items without their products."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.source import StockLevel
from catalog_svc.domain.sync import RecordCounts
from catalog_svc.storage.shops import ShopScope

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
        await clear_hashes(connection, scope, list(set(updated)))
    return RecordCounts(seen=len(updated), updated=len(updated))


async def clear_hashes(connection: AsyncConnection, scope: ShopScope, product_ids: Sequence[str]) -> None:
    """Forget the content of these products, so that their next read is stored, whatever it is."""
    if product_ids:
        await connection.execute(_CLEAR_HASH, {**scope.values, "product_ids": list(product_ids)})


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
