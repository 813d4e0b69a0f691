"""Marks what a complete full pass did not meet: the platform no longer has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.fuse import check_fuse
from catalog_svc.domain.shop import Shop
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
    RETURNING pass_id, items_deleted, allow_mass_delete""")

# Of tables that just grew the planner knows nothing, and would look through all ids for each product.
_NO_NESTED_LOOPS = text("SET LOCAL enable_nestloop = off")

_VANISHED = """
    FROM product WHERE product.merchant_id = :merchant_id AND product.shop_id = :shop_id
      AND product.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM sync_seen AS seen WHERE seen.merchant_id = :merchant_id
                      AND seen.pass_id = :pass_id AND seen.product_id = product.product_id)"""

_COUNT_VANISHING = text(f"""
    SELECT count(*) FROM item
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND deleted_at IS NULL
      AND product_id IN (SELECT product.product_id {_VANISHED})""")

_MARK_PRODUCTS = text(f"""
    UPDATE product SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id
      AND product_id IN (SELECT product.product_id {_VANISHED} ORDER BY product.product_id LIMIT :most)
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
    """Sweeps in steps, each a fenced transaction of its own, so that no step is long and any replica can go on."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        """Marks some vanished products and their items; None for the sync: nothing was left to mark.

        Raises MassDeleteBlocked before anything is marked, LeaseLost.
        """
        sync = await self._database.write(lambda connection: self._step(connection, lease, shop))
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def tidy_up(self, lease: Lease) -> None:
        """Drops the ids that the pass met, which nobody needs any more, and tells the planner what came."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_FORGET_SEEN, {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id})
            await learn_growth(connection, lease)

        await self._database.write(work)

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
        if not fenced.allow_mass_delete:
            await self._check(connection, lease, values, deleted=fenced.items_deleted)
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

    async def _check(
        self, connection: AsyncConnection, lease: Lease, values: dict[str, Any], *, deleted: int
    ) -> None:
        """Counts what this sync has deleted already, so that many small steps are one deletion to the fuse."""
        vanishing = (await connection.execute(_COUNT_VANISHING, values)).scalar_one()
        scope = ShopScope(merchant_id=lease.merchant_id, shop_id=lease.shop_id)
        stored = await count_items(connection, scope) + deleted
        check_fuse(would_delete=deleted + vanishing, stored=stored)
