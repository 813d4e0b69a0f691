"""Products to read again by their ids, and who may write a product while a sync and a refresh read it.

Both read a product first and store it later, so that the later write is not always the later read. Times do not
tell, since platforms do not date every change. Two columns decide, under the shop's write lock:

* `reader` is the claim that reads the product; it is stored before the read begins. A refresh stores a product
  only while it is the reader. A sync that writes the product removes the reader; what was read is then dropped.
* `refreshed` is set when a refresh stores the product while a pass is open. The syncs of the pass do not write the
  product: what they have read may be older.

What is not written is pending: it is read again. Without an open pass the marks are removed, since everything that
is read from then on is newer. See docs/decisions/0052.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.source import SourceBatch
from catalog_svc.storage.shops import STATE_COLUMNS, Row, ShopScope

# Conflicts with the deletion of the shop, and with starts and ends of its syncs; not with writes of products.
_SHARE_SHOP = text(f"""
    SELECT incarnation, active_sync_id IS NOT NULL AS has_active_sync,
        active_sync_id IS NOT NULL OR open_pass_id IS NOT NULL AS has_open_pass, {STATE_COLUMNS}
    FROM shop_state WHERE shop_id = :shop_id AND NOT deleting FOR KEY SHARE""")

_SELECT_CONTESTED = text("""
    SELECT product_id, refreshed FROM product_refresh
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND (refreshed OR reader IS NOT NULL)""")

_SELECT_CONTESTED_ITEMS = text("""
    SELECT item.item_id, refresh.product_id, refresh.refreshed
    FROM item JOIN product_refresh AS refresh
        ON refresh.shop_id = :shop_id AND refresh.product_id = item.product_id
    WHERE item.shop_id = :shop_id AND item.item_id = ANY(CAST(:item_ids AS text[]))
      AND (refresh.refreshed OR refresh.reader IS NOT NULL)""")

# Rows are locked in the order of their ids, here and by requests: no two transactions wait for each other.
LOCK_ROWS: Final = """
        SELECT product_id FROM product_refresh
        WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
        ORDER BY product_id FOR UPDATE"""

_REQUEST_AGAIN = text(f"""
    WITH locked AS ({LOCK_ROWS})
    UPDATE product_refresh SET pending = true, last_requested_at = statement_timestamp(),
        reader = CASE WHEN refreshed THEN reader END
    FROM locked
    WHERE product_refresh.shop_id = :shop_id AND product_refresh.product_id = locked.product_id
      AND (product_refresh.refreshed OR product_refresh.reader IS NOT NULL)""")


@dataclass(frozen=True, slots=True)
class ContestedProducts:
    """Products of a sync's batch that a refresh has stored since the pass began, or reads at the moment."""

    refreshed: frozenset[str] = frozenset()
    """The sync must not write them."""
    being_read: frozenset[str] = frozenset()
    """The sync writes them, and the refresh reads them again."""
    refreshed_items: frozenset[str] = frozenset()
    """Items of refreshed products whose stock the batch has."""

    def without_refreshed(self, batch: SourceBatch) -> SourceBatch:
        """Return the batch without what must not be written. The ids that the pass listed stay."""
        if not self.refreshed:
            return batch
        return replace(
            batch,
            products=tuple(p for p in batch.products if p.product_id not in self.refreshed),
            deleted_product_ids=tuple(i for i in batch.deleted_product_ids if i not in self.refreshed),
            stock_levels=tuple(level for level in batch.stock_levels if level.item_id not in self.refreshed_items),
        )


async def share_shop(connection: AsyncConnection, scope: ShopScope) -> Row | None:
    """Lock the shop against its deletion, and against starts and ends of its syncs; None if it is being deleted.

    The first statement of every transaction that writes only requests. It does not wait for a batch.
    """
    return (await connection.execute(_SHARE_SHOP, scope.values)).mappings().first()


async def find_contested(connection: AsyncConnection, scope: ShopScope, batch: SourceBatch) -> ContestedProducts:
    """Return which products of a batch are contested, for a transaction that holds the shop's write lock."""
    product_ids = sorted({p.product_id for p in batch.products} | set(batch.deleted_product_ids))
    found: dict[str, bool] = {}
    if product_ids:
        values = {**scope.values, "product_ids": product_ids}
        rows = await connection.execute(_SELECT_CONTESTED, values)
        found |= {row.product_id: row.refreshed for row in rows}
    refreshed_items: frozenset[str] = frozenset()
    if batch.stock_levels:
        values = {**scope.values, "item_ids": [level.item_id for level in batch.stock_levels]}
        items = (await connection.execute(_SELECT_CONTESTED_ITEMS, values)).all()
        found |= {row.product_id: row.refreshed for row in items}
        refreshed_items = frozenset(row.item_id for row in items if row.refreshed)
    return ContestedProducts(
        refreshed=frozenset(i for i, refreshed in found.items() if refreshed),
        being_read=frozenset(i for i, refreshed in found.items() if not refreshed),
        refreshed_items=refreshed_items,
    )


async def request_again(connection: AsyncConnection, scope: ShopScope, product_ids: Collection[str]) -> None:
    """Let contested products be read again; a reader of one that the caller has written stores nothing.

    Those of `product_ids` that are not contested stay as they are. The caller holds the shop's write lock. Call it
    at the end of the transaction: requests for the same products wait for it.
    """
    if product_ids:
        await connection.execute(_REQUEST_AGAIN, {**scope.values, "product_ids": sorted(product_ids)})
