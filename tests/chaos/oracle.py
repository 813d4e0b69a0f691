"""The oracle: checks the tables after the last sync, against the shops and against the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg

from devstore.catalog.catalog import Catalog
from tests.chaos import journal
from tests.chaos.journal import Entry

COMPARISON_COUNTS = ("missing", "stale", "extra", "products_missing", "products_extra", "items_correct")
"""The keys of the counts that `compare_with_shop` returns."""
_ITEMS = """
    SELECT item_id, i.product_id, sku, price, stock_quantity FROM item i JOIN shop s USING (shop_id)
    WHERE s.platform = $1 AND s.domain = $2 AND i.deleted_at IS NULL"""
_PRODUCTS = """
    SELECT product_id FROM product p JOIN shop s USING (shop_id)
    WHERE s.platform = $1 AND s.domain = $2 AND p.deleted_at IS NULL"""
_SYNCS = """
    WITH every AS (SELECT * FROM sync UNION ALL SELECT * FROM sync_history)
    SELECT *, NOT EXISTS (SELECT FROM every child WHERE child.parent_sync_id = every.sync_id) AS last_of_pass
    FROM every"""
_COUNTERS = """
    SELECT shop_id, feed_position, ARRAY[product_count, item_count, item_with_image_count] AS counters, ARRAY[
        (SELECT count(*) FROM product p WHERE p.shop_id = s.shop_id AND deleted_at IS NULL),
        (SELECT count(*) FROM item i WHERE i.shop_id = s.shop_id AND deleted_at IS NULL),
        (SELECT count(*) FROM item i WHERE i.shop_id = s.shop_id AND deleted_at IS NULL AND image_url <> '')
    ] AS counted,
    greatest((SELECT max(feed_position) FROM product p WHERE p.shop_id = s.shop_id),
             (SELECT max(feed_position) FROM item i WHERE i.shop_id = s.shop_id), 0) AS last_position
    FROM shop_state s"""
_SEEN = "SELECT pass_id, sum(added)::bigint AS added FROM chaos_seen GROUP BY pass_id"


async def compare_with_shop(connection: asyncpg.Connection, catalog: Catalog) -> Counter[str]:
    """Count the items and products that are missing, stale or extra in the tables, and the correct items."""
    key = (catalog.spec.platform.value, catalog.spec.domain)
    stored = {row["item_id"]: _compared_fields(row) for row in await connection.fetch(_ITEMS, *key)}
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
        items_correct=sum(stored[item] == truth[item] for item in truth.keys() & stored.keys()),
    )


def _compared_fields(row: asyncpg.Record) -> tuple[str, str, Decimal | None, int | None]:
    return row["product_id"], row["sku"], row["price"], row["stock_quantity"]


async def sync_violations(connection: asyncpg.Connection, histories: Mapping[UUID, Sequence[Entry]]) -> list[str]:
    """Describe syncs that were left active, and syncs whose counts are inconsistent."""
    seen = {row["pass_id"]: row["added"] for row in await connection.fetch(_SEEN)}
    violations: list[str] = []
    for row in await connection.fetch(_SYNCS):
        found = _row_violations(row, seen.get(row["pass_id"], 0))
        if found:
            recounted = journal.recounted_batches(histories[row["sync_id"]])
            found.append(f"of shop {row['shop_id']}, strategy {row['strategy']!r}; {recounted}")
        violations += [f"sync {row['sync_id']}: {violation}" for violation in found]
    return violations


async def counter_violations(connection: asyncpg.Connection) -> list[str]:
    """Describe shops whose counters or whose position differ from the rows of their tables."""
    violations: list[str] = []
    for row in await connection.fetch(_COUNTERS):
        if row["counters"] != row["counted"]:
            violations.append(
                f"shop {row['shop_id']}: counts {row['counters']} products, items, items with image;"
                f" stored are {row['counted']}"
            )
        if row["feed_position"] < row["last_position"]:
            violations.append(
                f"shop {row['shop_id']}: is at position {row['feed_position']}, a row has {row['last_position']}"
            )
    return violations


def _row_violations(row: asyncpg.Record, distinct: int) -> list[str]:
    found = []
    for kind in ("products", "items"):
        parts = [row[f"{kind}_{part}"] for part in ("created", "updated", "unchanged")]
        if row[f"{kind}_seen"] != sum(parts):
            found.append(f"{row[f'{kind}_seen']} {kind} seen are not {'+'.join(map(str, parts))}")
    if row["state"] in ("PENDING", "RUNNING"):
        found.append(f"left {row['state']} at epoch {row['epoch']}")
    # Both platforms are read in the order of ids, so that no pass sees a product twice.
    counted = row["products_seen"] + row["products_rejected"]
    if row["mode"] == "FULL" and row["last_of_pass"] and counted != distinct:
        found.append(f"{counted} products counted, {distinct} distinct ({row['state']})")
    return found
