"""Stock, and offers, that were found without reading their products."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.progress import RecordCounts
from catalog_svc.domain.source import StockLevel
from catalog_svc.storage.scope import ShopScope

# Prices are compared as texts: 7.3 and 7.30 are equal numbers, and what the platform wrote is what we keep.
_UPDATE = text("""
    WITH told AS (
        SELECT item_id, stock_quantity, available, offered, sku, CAST(price AS numeric) AS price,
            CAST(compare_at_price AS numeric) AS compare_at_price
        FROM unnest(CAST(:item_ids AS text[]), CAST(:quantities AS bigint[]), CAST(:availables AS boolean[]),
                    CAST(:offered AS boolean[]), CAST(:skus AS text[]), CAST(:prices AS text[]),
                    CAST(:compare_at_prices AS text[]))
             AS told (item_id, stock_quantity, available, offered, sku, price, compare_at_price))
    UPDATE item SET stock_quantity = told.stock_quantity, available = told.available,
        sku = CASE WHEN told.offered THEN told.sku ELSE item.sku END,
        price = CASE WHEN told.offered THEN told.price ELSE item.price END,
        compare_at_price = CASE WHEN told.offered THEN told.compare_at_price ELSE item.compare_at_price END,
        updated_at = clock_timestamp()
    FROM told
    WHERE item.merchant_id = :merchant_id AND item.shop_id = :shop_id AND item.item_id = told.item_id
      AND item.deleted_at IS NULL
      AND ((item.stock_quantity, item.available) IS DISTINCT FROM (told.stock_quantity, told.available)
        OR told.offered
           AND (item.sku, CAST(item.price AS text), CAST(item.compare_at_price AS text))
               IS DISTINCT FROM (told.sku, CAST(told.price AS text), CAST(told.compare_at_price AS text)))
    RETURNING item.product_id""")

# The hash tells what was last read whole. What goes back to what it was then must be written again.
_FORGET_HASH = text("""
    UPDATE product SET content_hash = ''
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND content_hash <> ''""")


async def write_stock(connection: AsyncConnection, scope: ShopScope, levels: Sequence[StockLevel]) -> RecordCounts:
    """Brings stored items to these levels, the last of each item; only what differs is written and counted."""
    if not levels:
        return RecordCounts()
    distinct = list({level.item_id: level for level in levels}.values())
    touched = list((await connection.execute(_UPDATE, {**scope.values, **_columns(distinct)})).scalars())
    if touched:
        await connection.execute(_FORGET_HASH, {**scope.values, "product_ids": list(set(touched))})
    return RecordCounts(seen=len(touched), updated=len(touched))


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
