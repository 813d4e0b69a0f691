"""Says what is wrong with the tables, once everything has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

import asyncpg

from devstore.catalog.catalog import Catalog
from tests.chaos import journal
from tests.chaos.journal import Entry

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


async def of_syncs(connection: asyncpg.Connection, histories: Mapping[UUID, Sequence[Entry]]) -> list[str]:
    """Books that do not balance, and syncs that were left active."""
    seen = {row["pass_id"]: row["added"] for row in await connection.fetch(_SEEN)}
    found: list[str] = []
    for row in await connection.fetch(_SYNCS):
        faults = _book(row, seen.get(row["pass_id"], 0))
        if faults:
            repeats = journal.repeats(histories[row["sync_id"]])
            faults.append(f"of shop {row['shop_id']}, strategy {row['strategy']!r}; {repeats}")
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
