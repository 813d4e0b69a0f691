"""Writes products that were read again by their ids, outside of any sync, under the shop's write lock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.deletion_guard import PassDeletion
from catalog_svc.domain.records import IncomingProduct
from catalog_svc.domain.sync import RecordCounts
from catalog_svc.storage.fence import UnfencedWrite, count_change
from catalog_svc.storage.products import ProductWriter, WriteResult
from catalog_svc.storage.shops import ShopScope

GUARD_WINDOW: Final = timedelta(days=1)
"""The deletion guard counts the deletions of this time as one: many writes delete no more than one pass may."""

# Those of the syncs are among them: the guard never allows more because of that.
_COUNT_DELETED = text("""
    SELECT count(*) FROM item
    WHERE shop_id = :shop_id AND deleted_at IS NOT NULL
      AND deleted_at > statement_timestamp() - CAST(:window AS interval)""")

_INSERT_SEEN = text("""
    INSERT INTO sync_seen (shop_id, pass_id, product_id)
    SELECT CAST(:shop_id AS uuid), CAST(:pass_id AS uuid), unnest(CAST(:product_ids AS text[]))
    ON CONFLICT DO NOTHING""")


async def write_reread(
    connection: AsyncConnection,
    scope: ShopScope,
    locked: UnfencedWrite,
    products: Sequence[IncomingProduct],
    *,
    rejected_ids: Collection[str] = (),
    deleted_ids: Sequence[str] = (),
) -> WriteResult:
    """Store products as they were read, and mark others as deleted.

    An open pass gets the ids of those that exist: it must not delete a product that was created after the pass
    listed the shop.

    Args:
        connection: The caller's transaction, which holds the write lock.
        scope: The shop.
        locked: The write lock.
        products: Products that exist, each id once.
        rejected_ids: Products that exist and cannot be stored as they came: what is stored of them stays.
        deleted_ids: Products that the platform does not have.

    Raises:
        MassDeleteBlocked: The deletion guard stopped the write; the transaction must be rolled back.
    """
    writer = ProductWriter(connection, scope, feed_position=locked.feed_position, analyzers=locked.analyzers)
    written = await writer.write(products, deleted_ids)
    await _check_deletions(connection, scope, locked, written.items)
    existing = sorted({product.product_id for product in products} | set(rejected_ids))
    if locked.open_pass_id is not None and existing:
        values = {**scope.values, "pass_id": locked.open_pass_id, "product_ids": existing}
        await connection.execute(_INSERT_SEEN, values)
    await count_change(connection, scope.shop_id, written.change)
    return written


async def _check_deletions(
    connection: AsyncConnection, scope: ShopScope, locked: UnfencedWrite, items: RecordCounts
) -> None:
    """Apply the deletion guard to this write and the deletions of the last day. Raises MassDeleteBlocked."""
    if not items.deleted:
        return
    values = {**scope.values, "window": GUARD_WINDOW}
    recent: int = (await connection.execute(_COUNT_DELETED, values)).scalar_one()
    earlier = max(0, recent - items.deleted)
    deletion = PassDeletion(
        would_delete=items.deleted, deleted=earlier, stored=locked.item_count + items.created + earlier
    )
    if not deletion.is_allowed:
        raise deletion.error(None)
