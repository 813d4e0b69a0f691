"""Generates shops by SQL: products, items, tombstones, counters and ended syncs, as syncs would have stored them.

A generated shop is not the easiest one to read. Of its products, in the order of their ids:

| Share | What |
|---|---|
| the first tenth | is deleted: the shop has replaced its old catalog |
| every 50th of the others | is deleted as well |
| the last tenth | has the word "Winter" in its title, all others have not |
| one of 20 | has the word "Shirt" in its title |
| one of 10 | has the sku "N/A" on all of its items |
| each | has its number in its title, and skus of its own otherwise |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.ids import new_shop_id, sync_id_of

ITEMS_PER_PRODUCT: Final = 5
PRODUCTS_PER_POSITION: Final = 250
"""Products that are stored in one batch, and so have one position."""
COMMON_SKU: Final = "N/A"

_FIRST_ID: Final = 7_000_000_000_000
_DELETED: Final = "(n <= :products / 10 OR n % 50 = 7)"
_POSITION: Final = f"""CASE WHEN {_DELETED}
        THEN 2 + (:products + n) / {PRODUCTS_PER_POSITION} ELSE 1 + n / {PRODUCTS_PER_POSITION} END"""
_DELETED_AT: Final = f"CASE WHEN {_DELETED} THEN statement_timestamp() - interval '30 days' END"

_INSERT_SHOP = text("INSERT INTO shop (shop_id, platform, domain) VALUES (:shop_id, 'shopify', :domain)")
_INSERT_SCHEDULE = text("INSERT INTO shop_schedule (shop_id, platform) VALUES (:shop_id, 'shopify')")

_INSERT_PRODUCTS = text(f"""
    INSERT INTO product (shop_id, product_id, content_hash, title, handle, description_html, vendor, product_type,
        tags, status, url, options, images, item_count, feed_position, deleted_at)
    SELECT :shop_id, CAST({_FIRST_ID} + n AS text), '\\x00',
        CASE WHEN n > :products * 9 / 10 THEN 'Winter ' ELSE '' END
            || (ARRAY['Red', 'Green', 'Linen', 'Woollen', 'Striped', 'Long', 'Classic'])[1 + n % 7] || ' '
            || (ARRAY['Shirt', 'Trousers', 'Jacket', 'Dress', 'Boots', 'Scarf', 'Hat', 'Gloves', 'Belt', 'Socks',
                      'Coat', 'Skirt', 'Blouse', 'Vest', 'Sandals', 'Cap', 'Shorts', 'Jumper', 'Robe', 'Tie'
                     ])[1 + n % 20] || ' No. ' || n,
        'product-' || n, repeat('<p>A description of some length, as shops have them.</p>', 1 + n % 20),
        'Acme', 'Clothing', ARRAY['new', 'sale'], 'ACTIVE', 'https://shop.example/products/product-' || n,
        CAST('[["Size", ["S", "M", "L", "XL", "XXL"]]]' AS jsonb),
        jsonb_build_array(jsonb_build_object('id', 'i' || n, 'url', 'https://cdn.example/' || n || '.jpg',
            'alt_text', '', 'width', 800, 'height', 600)),
        {ITEMS_PER_PRODUCT}, {_POSITION}, {_DELETED_AT}
    FROM generate_series(1, :products) AS n""")

_INSERT_ITEMS = text(f"""
    INSERT INTO item (shop_id, item_id, product_id, position, title, sku, barcode, currency_code, price,
        stock_quantity, available, sellable_without_stock, options, image_url, weight, weight_unit, feed_position,
        deleted_at)
    SELECT :shop_id, CAST({_FIRST_ID} + 10 * n + k AS text), CAST({_FIRST_ID} + n AS text), k,
        size || ' / ' || (ARRAY['Red', 'Blue', 'Black'])[1 + n % 3],
        CASE WHEN n % 10 = 0 THEN '{COMMON_SKU}' ELSE 'SKU-' || n || '-' || k END, '40' || {_FIRST_ID} + n,
        'EUR', (n % 100) + 0.95, n % 50, true, false, jsonb_build_array(jsonb_build_array('Size', size)),
        'https://cdn.example/' || n || '.jpg', 250, 'g', {_POSITION}, {_DELETED_AT}
    FROM generate_series(1, :products) AS n, generate_series(1, {ITEMS_PER_PRODUCT}) AS k,
        LATERAL (SELECT (ARRAY['S', 'M', 'L', 'XL', 'XXL'])[k] AS size) AS variant""")

_INSERT_STATE = text("""
    INSERT INTO shop_state (shop_id, feed_position, product_count, item_count, item_with_image_count,
        oldest_tombstone_at, last_sync_number, last_ended_sync_id)
    SELECT :shop_id, max(feed_position), count(*) FILTER (WHERE deleted_at IS NULL),
        coalesce(sum(item_count) FILTER (WHERE deleted_at IS NULL), 0),
        coalesce(sum(item_count) FILTER (WHERE deleted_at IS NULL), 0),
        min(deleted_at), :last_number, :last_sync_id
    FROM product WHERE shop_id = :shop_id""")

_STATE_OF_SYNC: Final = (
    """CASE WHEN n % 50 = 0 THEN 'FAILED' WHEN n % 331 = 0 THEN 'CANCELLED' ELSE 'SUCCEEDED' END"""
)


def _insert_syncs(table: str) -> str:
    """The statement that stores ended syncs, one every two minutes until now."""
    return f"""
    INSERT INTO {table} (shop_id, sync_id, state, mode, trigger, pass_id, created_at, started_at, ended_at)
    SELECT :shop_id, CAST(:id_prefix || lpad(to_hex(n), 10, '0') AS uuid), {_STATE_OF_SYNC}, 'FULL', 'REQUEST',
        gen_random_uuid(), created_at, created_at, created_at + interval '1 minute'
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n,
        LATERAL (SELECT statement_timestamp() - (CAST(:syncs AS int) - n + 1) * interval '2 minutes' AS created_at)
            AS sync"""


_INSERT_SMALL_SHOPS = text("""
    WITH number AS (
        SELECT n, gen_random_uuid() AS shop_id, gen_random_uuid() AS sync_id FROM generate_series(1, :count) AS n),
    shop AS (
        INSERT INTO shop (shop_id, platform, domain)
        SELECT shop_id, 'shopify', 's' || n || '.example' FROM number),
    schedule AS (
        INSERT INTO shop_schedule (shop_id, platform) SELECT shop_id, 'shopify' FROM number),
    state AS (
        INSERT INTO shop_state (shop_id, last_sync_number, last_ended_sync_id)
        SELECT shop_id, 1, sync_id FROM number)
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, pass_id, created_at, started_at, ended_at)
    SELECT shop_id, sync_id, 'SUCCEEDED', 'FULL', 'REQUEST', sync_id, time, time, time
    FROM number, LATERAL (SELECT statement_timestamp() - n * interval '1 minute' AS time) AS sync""")


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedShop:
    """A shop, and what is in it."""

    shop_id: UUID
    domain: str
    products: int

    def product_id(self, number: int) -> str:
        """Return the id of a product by its number, from 1."""
        return str(_FIRST_ID + number)

    def item_id(self, number: int) -> str:
        """Return the id of the first item of a product by the product's number."""
        return str(_FIRST_ID + 10 * number + 1)

    def sku(self, number: int) -> str:
        """Return the sku of the first item of a product by its number, which is no multiple of 10."""
        return f"SKU-{number}-1"

    @property
    def newest_position(self) -> int:
        """The position of the last product that is not deleted: after it, only deletions follow."""
        return 1 + self.products // PRODUCTS_PER_POSITION


async def generate_shop(connection: AsyncConnection, *, domain: str, items: int, syncs: int = 0) -> GeneratedShop:
    """Store a shop.

    Args:
        connection: A transaction.
        domain: The domain of the shop, on Shopify.
        items: Its number of items, deleted ones included.
        syncs: Its number of ended syncs; the newest five are those that the service keeps at hand.
    """
    shop = GeneratedShop(shop_id=new_shop_id(), domain=domain, products=max(1, items // ITEMS_PER_PRODUCT))
    values = {"shop_id": shop.shop_id, "domain": domain, "products": shop.products}
    last_sync_id = sync_id_of(shop.shop_id, syncs) if syncs else None
    await connection.execute(_INSERT_SHOP, values)
    await connection.execute(_INSERT_SCHEDULE, values)
    await connection.execute(_INSERT_PRODUCTS, values)
    await connection.execute(_INSERT_ITEMS, values)
    await connection.execute(_INSERT_STATE, {**values, "last_number": syncs, "last_sync_id": last_sync_id})
    id_prefix = str(shop.shop_id)[:-10]
    for table, first, last in (("sync_history", 1, syncs - 5), ("sync", max(1, syncs - 4), syncs)):
        more = {"id_prefix": id_prefix, "first": first, "last": last, "syncs": syncs}
        await connection.execute(text(_insert_syncs(table)), {**values, **more})
    return shop


async def generate_small_shops(connection: AsyncConnection, count: int) -> None:
    """Store shops without products, each with one ended sync: the directory of a catalog with many shops."""
    await connection.execute(_INSERT_SMALL_SHOPS, {"count": count})


async def analyze(connection: AsyncConnection) -> None:
    """Bring statistics and visibility maps up to date.

    Args:
        connection: In autocommit mode.
    """
    tables = "shop, shop_state, shop_schedule, product, item, sync, sync_history"
    await connection.execute(text(f"VACUUM (ANALYZE) {tables}"))
