"""Compares a complete pass with the stored catalog: products to fetch again, and products to mark as deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import NO_ANALYSES
from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import MissingProduct
from catalog_svc.domain.sync import BlockedDeletion, Lease, Sync
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import (
    OWNED,
    CatalogChange,
    agreeable_deletion,
    applied_row,
    count_change,
    lease_values,
    pass_fence,
)
from catalog_svc.storage.planner_statistics import analyze_if_grown
from catalog_svc.storage.product_refresh import request_again
from catalog_svc.storage.products import ProductWriter
from catalog_svc.storage.shops import Row, ShopScope
from catalog_svc.storage.syncs import SYNC_COLUMNS, to_sync

_PRODUCTS_PER_TRANSACTION: Final = 2_000

_SELECT_PASS = text(f"SELECT pass_id FROM sync WHERE {OWNED}")

# Without this the planner, which knows nothing of tables that just grew, would read all seen ids for each product.
_NO_NESTED_LOOPS = text("SET LOCAL enable_nestloop = off")

_MISSING = """
    FROM product WHERE product.shop_id = :shop_id
      AND product.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM sync_seen AS seen WHERE seen.shop_id = :shop_id
                      AND seen.pass_id = :pass_id AND seen.product_id = product.product_id)"""

_MISSING_PAGE = text(f"""
    WITH missing AS (
        SELECT product.product_id {_MISSING} AND product.product_id > :after
        ORDER BY product.product_id LIMIT :limit)
    SELECT product_id, (
        SELECT count(*) FROM item
        WHERE item.shop_id = :shop_id
          AND item.product_id = missing.product_id AND item.deleted_at IS NULL) AS item_count
    FROM missing ORDER BY product_id""")

_UNSTORED_PAGE = text("""
    SELECT seen.product_id FROM sync_seen AS seen
    WHERE seen.shop_id = :shop_id AND seen.pass_id = :pass_id AND seen.product_id > :after
      AND NOT EXISTS (SELECT FROM product WHERE product.shop_id = :shop_id
                      AND product.product_id = seen.product_id AND product.deleted_at IS NULL)
      AND NOT EXISTS (SELECT FROM sync_issue AS issue WHERE issue.shop_id = :shop_id
                      AND issue.pass_id = :pass_id AND issue.product_id = seen.product_id
                      AND issue.product_rejected)
    ORDER BY seen.product_id LIMIT :limit""")

_SELECT_MISSING = text(f"SELECT product.product_id {_MISSING} ORDER BY product.product_id LIMIT :limit")

_UPDATE_PROGRESS = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = statement_timestamp(), claims_without_progress = 0,
        products_deleted = products_deleted + :products, items_deleted = items_deleted + :items
    WHERE shop_id = :shop_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_SELECT_LIVE_ITEMS = text("SELECT item_count FROM shop_state WHERE shop_id = :shop_id")

_SELECT_BLOCKED = text("""
    SELECT blocked_pass_id, blocked_digest, blocked_count FROM shop_state WHERE shop_id = :shop_id""")

_DELETE_SEEN = text("DELETE FROM sync_seen WHERE shop_id = :shop_id AND pass_id = :pass_id")

_DELETE_OBSOLETE = text("DELETE FROM obsolete_pass WHERE shop_id = :shop_id AND pass_id = :pass_id")

_SELECT_SYNC = text("SELECT pass_id, items_created FROM sync WHERE shop_id = :shop_id AND sync_id = :sync_id")


class SweepStore:
    """Compares a pass with the stored catalog, and marks products as deleted.

    It marks in steps, each a fenced transaction of its own, so that no step is long and any replica can continue.
    """

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def missing(self, lease: Lease, *, after: str, limit: int) -> list[MissingProduct]:
        """Return stored products that the pass did not see, by id, above `after`. Raises LeaseLost."""
        rows = await self._page(_MISSING_PAGE, lease, after=after, limit=limit)
        return [MissingProduct(product_id=row["product_id"], item_count=row["item_count"]) for row in rows]

    async def unstored(self, lease: Lease, *, after: str, limit: int) -> list[str]:
        """Return ids that the pass saw and the catalog lacks or holds as deleted, in order, above `after`.

        Ids of products that the pass rejected are not among them. Raises LeaseLost.
        """
        rows = await self._page(_UNSTORED_PAGE, lease, after=after, limit=limit)
        return [row["product_id"] for row in rows]

    async def live_items(self, lease: Lease) -> int:
        """Return how many items of the shop are not deleted."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(_SELECT_LIVE_ITEMS, lease_values(lease))).scalar_one())

        return await self._database.write(work, shops=[lease.shop_id])

    async def agrees(self, lease: Lease, deletion: BlockedDeletion) -> bool:
        """Return whether the full pass before this one was stopped with the same deletion. Raises LeaseLost."""

        async def work(connection: AsyncConnection) -> bool:
            key = lease_values(lease)
            pass_id = (await connection.execute(_SELECT_PASS, key)).scalar()
            if pass_id is None:
                raise LeaseLost
            row = (await connection.execute(_SELECT_BLOCKED, key)).one()
            return agreeable_deletion(row, pass_id) == deletion

        return await self._database.write(work, shops=[lease.shop_id])

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        """Mark up to 2,000 products that the pass did not see as deleted, with their items.

        The caller has made sure that they no longer exist, and that the deletion guard allows it.

        Returns:
            The lease for the next write, and the sync after this one; None for the sync when nothing was left.

        Raises:
            LeaseLost: Nothing was written.
        """
        sync = await self._database.write(
            lambda connection: self._step(connection, lease, shop), shops=[lease.shop_id]
        )
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def finalize(self, lease: Lease) -> None:
        """Delete the seen ids of the pass, which nothing needs any more, and update the planner's statistics."""

        async def work(connection: AsyncConnection) -> None:
            sync = (await connection.execute(_SELECT_SYNC, lease_values(lease))).one()
            key = {"shop_id": lease.shop_id, "pass_id": sync.pass_id}
            await connection.execute(_DELETE_SEEN, key)
            await connection.execute(_DELETE_OBSOLETE, key)
            await analyze_if_grown(connection, rows=sync.items_created)

        await self._database.write(work, shops=[lease.shop_id])

    async def _page(self, statement: TextClause, lease: Lease, *, after: str, limit: int) -> Sequence[Row]:
        async def work(connection: AsyncConnection) -> Sequence[Row]:
            key = lease_values(lease)
            pass_id = (await connection.execute(_SELECT_PASS, key)).scalar()
            if pass_id is None:
                raise LeaseLost
            await connection.execute(_NO_NESTED_LOOPS)
            values = {**key, "pass_id": pass_id, "after": after, "limit": limit}
            page = await connection.execute(statement, values)
            return page.mappings().all()

        return await self._database.write(work, shops=[lease.shop_id])

    async def _step(self, connection: AsyncConnection, lease: Lease, shop: Shop) -> Sync | None:
        fenced = await pass_fence(connection, lease, ttl=self._ttl)
        if fenced is None:
            return to_sync(await applied_row(connection, lease), shop)
        await connection.execute(_NO_NESTED_LOOPS)
        key = lease_values(lease)
        values = {**key, "pass_id": fenced.pass_id, "limit": _PRODUCTS_PER_TRANSACTION}
        missing = list((await connection.execute(_SELECT_MISSING, values)).scalars())
        if not missing:
            return None
        writer = ProductWriter(connection, ShopScope.of(lease), feed_position=fenced.feed_position)
        products, items = await writer.delete(missing)
        change = CatalogChange(
            products=-products,
            items=-items.items,
            items_with_image=-items.items_with_image,
            deleted=True,
            changed=True,
            analysis=NO_ANALYSES - items.analysis,
        )
        await count_change(connection, lease.shop_id, change)
        await request_again(connection, ShopScope.of(lease), missing)
        counts = {"products": products, "items": items.items}
        row = await connection.execute(_UPDATE_PROGRESS, {**key, **counts})
        return to_sync(row.mappings().one(), shop)
