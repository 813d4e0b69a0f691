"""What a complete pass met, beside what is stored: what the catalog lacks, and what the platform no longer has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import MissingProduct
from catalog_svc.domain.sync import Lease, Sync
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import count_items
from catalog_svc.storage.rows import SYNC_COLUMNS, to_sync
from catalog_svc.storage.scope import ShopScope
from catalog_svc.storage.statistics import learn_growth

_PRODUCTS_PER_TRANSACTION = 2_000

_FENCE = text("""
    UPDATE sync SET next_seq = next_seq + 1, lease_until = clock_timestamp() + :ttl, claims_without_progress = 0
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq
      AND state = 'RUNNING'
    RETURNING pass_id""")

_PASS = text("""
    SELECT pass_id FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND state = 'RUNNING'""")

# Of tables that just grew the planner knows nothing, and would look through all ids for each product.
_NO_NESTED_LOOPS = text("SET LOCAL enable_nestloop = off")

_MISSING = """
    FROM product WHERE product.merchant_id = :merchant_id AND product.shop_id = :shop_id
      AND product.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM sync_seen AS seen WHERE seen.merchant_id = :merchant_id
                      AND seen.pass_id = :pass_id AND seen.product_id = product.product_id)"""

_MISSING_PAGE = text(f"""
    WITH missing AS (
        SELECT product.product_id {_MISSING} AND product.product_id > :after
        ORDER BY product.product_id LIMIT :limit)
    SELECT product_id, (
        SELECT count(*) FROM item
        WHERE item.merchant_id = :merchant_id AND item.shop_id = :shop_id
          AND item.product_id = missing.product_id AND item.deleted_at IS NULL) AS item_count
    FROM missing ORDER BY product_id""")

_UNSTORED_PAGE = text("""
    SELECT seen.product_id FROM sync_seen AS seen
    WHERE seen.merchant_id = :merchant_id AND seen.pass_id = :pass_id AND seen.product_id > :after
      AND NOT EXISTS (SELECT FROM product WHERE product.merchant_id = :merchant_id AND product.shop_id = :shop_id
                      AND product.product_id = seen.product_id AND product.deleted_at IS NULL)
      AND NOT EXISTS (SELECT FROM sync_issue AS issue
                      JOIN sync ON sync.merchant_id = issue.merchant_id AND sync.sync_id = issue.sync_id
                      WHERE issue.merchant_id = :merchant_id AND sync.shop_id = :shop_id
                      AND sync.pass_id = :pass_id AND issue.product_id = seen.product_id
                      AND issue.product_set_aside)
    ORDER BY seen.product_id LIMIT :limit""")

_MARK_PRODUCTS = text(f"""
    UPDATE product SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id
      AND product_id IN (SELECT product.product_id {_MISSING} ORDER BY product.product_id LIMIT :most)
    RETURNING product_id""")

_MARK_ITEMS = text("""
    UPDATE item SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(:product_ids)
      AND deleted_at IS NULL""")

_PROGRESS = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = clock_timestamp(),
        products_deleted = products_deleted + :products, items_deleted = items_deleted + :items
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_APPLIED = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq + 1
      AND state = 'RUNNING'""")

_FORGET_SEEN = text("""
    DELETE FROM sync_seen
    WHERE merchant_id = :merchant_id AND pass_id = (
        SELECT pass_id FROM sync WHERE merchant_id = :merchant_id AND sync_id = :sync_id)""")


class SweepStore:
    """Marks in steps, each a fenced transaction of its own, so that no step is long and any replica can go on."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def missing(self, lease: Lease, *, after: str, limit: int) -> list[MissingProduct]:
        """Stored products that the pass did not meet, by id, above `after`. Raises LeaseLost."""
        rows = await self._page(_MISSING_PAGE, lease, after=after, limit=limit)
        return [MissingProduct(product_id=row["product_id"], item_count=row["item_count"]) for row in rows]

    async def unstored(self, lease: Lease, *, after: str, limit: int) -> list[str]:
        """Ids that the pass met and the catalog lacks or holds as deleted, in order, above `after`.

        Without those of products that the pass rejected. Raises LeaseLost.
        """
        rows = await self._page(_UNSTORED_PAGE, lease, after=after, limit=limit)
        return [row["product_id"] for row in rows]

    async def live_items(self, lease: Lease) -> int:
        """Items of the shop that are not deleted."""
        scope = ShopScope(merchant_id=lease.merchant_id, shop_id=lease.shop_id)
        return await self._database.write(lambda connection: count_items(connection, scope))

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        """Marks some products that the pass did not meet, and their items; None for the sync: nothing was left.

        The caller has made sure that they are gone, and that they may be so many. Raises LeaseLost.
        """
        sync = await self._database.write(lambda connection: self._step(connection, lease, shop))
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def finalize(self, lease: Lease) -> None:
        """Drops the ids that the pass met, which nobody needs any more, and tells the planner what came."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_FORGET_SEEN, {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id})
            await learn_growth(connection, lease)

        await self._database.write(work)

    async def _page(
        self, statement: TextClause, lease: Lease, *, after: str, limit: int
    ) -> Sequence[Mapping[Any, Any]]:
        async def work(connection: AsyncConnection) -> Sequence[Mapping[Any, Any]]:
            key = {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id, "epoch": lease.epoch}
            pass_id = (await connection.execute(_PASS, key)).scalar()
            if pass_id is None:
                raise LeaseLost
            await connection.execute(_NO_NESTED_LOOPS)
            values = {**key, "shop_id": lease.shop_id, "pass_id": pass_id, "after": after, "limit": limit}
            page = await connection.execute(statement, values)
            return page.mappings().all()

        return await self._database.write(work)

    async def _step(self, connection: AsyncConnection, lease: Lease, shop: Shop) -> Sync | None:
        key = {
            "merchant_id": lease.merchant_id,
            "sync_id": lease.sync_id,
            "epoch": lease.epoch,
            "next_seq": lease.next_seq,
        }
        fenced = (await connection.execute(_FENCE, {**key, "ttl": self._ttl})).first()
        if fenced is None:
            return await self._already_applied(connection, key, shop)
        await connection.execute(_NO_NESTED_LOOPS)
        values: dict[str, Any] = {
            "merchant_id": lease.merchant_id,
            "shop_id": lease.shop_id,
            "pass_id": fenced.pass_id,
        }
        marked = await connection.execute(_MARK_PRODUCTS, {**values, "most": _PRODUCTS_PER_TRANSACTION})
        gone = list(marked.scalars())
        if not gone:
            return None
        items = (await connection.execute(_MARK_ITEMS, {**values, "product_ids": gone})).rowcount
        row = await connection.execute(_PROGRESS, {**key, "products": len(gone), "items": items})
        return to_sync(row.mappings().one(), shop)

    async def _already_applied(self, connection: AsyncConnection, key: Mapping[str, object], shop: Shop) -> Sync:
        """An earlier attempt of ours was committed though its answer got lost, or the lease is gone."""
        row: Mapping[Any, Any] | None = (await connection.execute(_APPLIED, dict(key))).mappings().first()
        if row is None:
            raise LeaseLost
        return to_sync(row, shop)
