"""Says what is wrong with the tables, once everything has come to rest."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import asyncpg

from devstore.catalog.catalog import Catalog

COMPARED = ("missing", "stale", "extra", "products_missing", "products_extra", "items_right")
"""What is counted."""
_ITEMS = """
    SELECT item_id, i.product_id, sku, price, stock_quantity FROM item i JOIN shop s USING (merchant_id, shop_id)
    WHERE s.platform = $1 AND s.domain = $2 AND i.deleted_at IS NULL"""
_PRODUCTS = """
    SELECT product_id FROM product p JOIN shop s USING (merchant_id, shop_id)
    WHERE s.platform = $1 AND s.domain = $2 AND p.deleted_at IS NULL"""
_SYNCS = """
    SELECT *, NOT EXISTS (SELECT FROM sync child WHERE child.parent_sync_id = sync.sync_id) AS last_of_pass
    FROM sync"""
_UNEVEN = """
    SELECT next_seq, checkpoint = before AS same_checkpoint, counted, added FROM (
        SELECT n, next_seq, checkpoint, lag(checkpoint) OVER step AS before,
            products_seen + products_set_aside - lag(products_seen + products_set_aside) OVER step AS counted,
            (SELECT coalesce(sum(added), 0)::bigint FROM chaos_seen WHERE chaos_seen.txid = j.txid) AS added
        FROM chaos_journal AS j WHERE sync_id = $1 AND revision > 0
        WINDOW step AS (ORDER BY n)) AS steps
    WHERE counted > 0 AND counted <> added ORDER BY n"""
"""Batches of a sync that counted other products than the pass had not met before."""
_SEEN = "SELECT pass_id, sum(added)::bigint AS added FROM chaos_seen GROUP BY pass_id"


async def against_truth(connection: asyncpg.Connection, catalog: Catalog) -> Counter[str]:
    """How many items are missing, stale or extra; nothing where the tables say what the shop says."""
    key = (catalog.spec.platform.value, catalog.spec.domain)
    stored = {row["item_id"]: _facts(row) for row in await connection.fetch(_ITEMS, *key)}
    truth = {
        item.item_id: (item.product_id, item.sku, item.price, item.stock) for item in catalog.sellable_items()
    }
    products = {row["product_id"] for row in await connection.fetch(_PRODUCTS, *key)}
    listed = {str(row.id) for row in catalog.rows() if row.status != "trash"}
    return Counter(
        missing=len(truth.keys() - stored.keys()),
        stale=sum(stored[item] != truth[item] for item in truth.keys() & stored.keys()),
        extra=len(stored.keys() - truth.keys()),
        products_missing=len(listed - products),
        products_extra=len(products - listed),
        items_right=sum(stored[item] == truth[item] for item in truth.keys() & stored.keys()),
    )


def _facts(row: asyncpg.Record) -> tuple[str, str, Decimal | None, int | None]:
    return row["product_id"], row["sku"], row["price"], row["stock_quantity"]


async def of_syncs(connection: asyncpg.Connection) -> list[str]:
    """Books that do not balance, and syncs that were left active."""
    seen = {row["pass_id"]: row["added"] for row in await connection.fetch(_SEEN)}
    found: list[str] = []
    for row in await connection.fetch(_SYNCS):
        faults = _book(row, seen.get(row["pass_id"], 0))
        if faults:
            uneven = [dict(step) for step in await connection.fetch(_UNEVEN, row["sync_id"])]
            faults.append(f"of shop {row['shop_id']}, strategy {row['strategy']!r}, uneven batches: {uneven}")
        found += [f"sync {row['sync_id']}: {fault}" for fault in faults]
    return found


def _book(row: asyncpg.Record, distinct: int) -> list[str]:
    found = []
    for what in ("products", "items"):
        parts = [row[f"{what}_{part}"] for part in ("created", "updated", "unchanged")]
        if row[f"{what}_seen"] != sum(parts):
            found.append(f"{row[f'{what}_seen']} {what} seen are not {'+'.join(map(str, parts))}")
    if row["state"] in ("PENDING", "RUNNING"):
        found.append(f"left {row['state']} at epoch {row['epoch']}")
    # Both platforms are read in the order of ids, so that no pass meets a product twice.
    met = row["products_seen"] + row["products_set_aside"]
    if row["mode"] == "FULL" and row["last_of_pass"] and met != distinct:
        found.append(f"{met} products met, {distinct} distinct ({row['state']})")
    return found
