"""Retention: deletes rows past their retention period, few at a time, each time in a transaction of its own.

Every statement repeats the condition under which rows may be deleted, so that a row that is live again by then
stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import OF_SHOP, SHOP_COLUMNS, ShopScope, to_shop

_SELECT_SHOPS = text(f"""
    SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE shop_id > :after ORDER BY shop_id LIMIT :limit""")

_CUTOFF = "clock_timestamp() - CAST(:older_than AS interval)"

_DELETE_REQUESTS = text(f"""
    DELETE FROM idempotency_key
    WHERE merchant_id = :merchant_id AND (method, request_id) IN (
        SELECT method, request_id FROM idempotency_key
        WHERE merchant_id = :merchant_id AND created_at < {_CUTOFF} LIMIT :limit)""")

# A sync stays as long as a request that may be repeated refers to it.
_SELECT_OLD_SYNCS = text(f"""
    SELECT sync_id FROM sync
    WHERE {OF_SHOP} AND state NOT IN ('PENDING', 'RUNNING') AND ended_at < {_CUTOFF}
      AND sync_id NOT IN (SELECT sync_id FROM sync WHERE {OF_SHOP} ORDER BY sync_id DESC LIMIT :keep_latest)
      AND sync_id IS DISTINCT FROM (
          SELECT sync_id FROM sync WHERE {OF_SHOP} AND state = 'SUCCEEDED' ORDER BY sync_id DESC LIMIT 1)
      AND NOT EXISTS (
          SELECT FROM idempotency_key AS request
          WHERE request.merchant_id = :merchant_id AND request.sync_id = sync.sync_id)
    ORDER BY sync_id LIMIT :limit""")

# A resumed sync shares its parent's pass: the seen ids are needed as long as one of the two is stored.
_DELETE_SEEN = text("""
    DELETE FROM sync_seen
    WHERE merchant_id = :merchant_id AND (pass_id, product_id) IN (
        SELECT pass_id, product_id FROM sync_seen
        WHERE merchant_id = :merchant_id AND pass_id IN (
            SELECT pass_id FROM sync WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids)
            EXCEPT
            SELECT pass_id FROM sync WHERE merchant_id = :merchant_id AND sync_id <> ALL(:sync_ids))
        LIMIT :limit)""")

# Only the shop's latest sync can be resumed, and only if it did not succeed: no other pass needs its seen ids.
_DELETE_UNRESUMABLE_SEEN = text(f"""
    DELETE FROM sync_seen
    WHERE merchant_id = :merchant_id AND (pass_id, product_id) IN (
        SELECT pass_id, product_id FROM sync_seen
        WHERE merchant_id = :merchant_id AND pass_id IN (
            SELECT pass_id FROM sync WHERE {OF_SHOP}
            EXCEPT
            SELECT pass_id FROM sync WHERE {OF_SHOP} AND state IN ('PENDING', 'RUNNING')
            EXCEPT
            SELECT pass_id FROM (
                SELECT pass_id, state FROM sync WHERE {OF_SHOP} ORDER BY created_at DESC, sync_id DESC LIMIT 1
            ) AS latest WHERE state <> 'SUCCEEDED')
        LIMIT :limit)""")

_DELETE_ISSUES = text("""
    DELETE FROM sync_issue
    WHERE merchant_id = :merchant_id AND (sync_id, number) IN (
        SELECT sync_id, number FROM sync_issue
        WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids) LIMIT :limit)""")

_DELETE_SYNCS = text("DELETE FROM sync WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids)")

_DELETE_ITEMS = text(f"""
    DELETE FROM item WHERE {OF_SHOP} AND deleted_at < {_CUTOFF} AND item_id IN (
        SELECT item_id FROM item WHERE {OF_SHOP} AND deleted_at < {_CUTOFF} LIMIT :limit)""")

_WITHOUT_ITEMS = """NOT EXISTS (
          SELECT FROM item WHERE item.merchant_id = :merchant_id AND item.shop_id = :shop_id
              AND item.product_id = product.product_id)"""

_DELETE_PRODUCTS = text(f"""
    DELETE FROM product
    WHERE {OF_SHOP} AND deleted_at < {_CUTOFF} AND {_WITHOUT_ITEMS} AND product_id IN (
        SELECT product_id FROM product
        WHERE {OF_SHOP} AND deleted_at < {_CUTOFF} AND {_WITHOUT_ITEMS} LIMIT :limit)""")


class RetentionStore:
    """Purges, shop by shop. Each `purge_` method returns how many rows it deleted, 0 when nothing was left."""

    def __init__(self, database: Database, *, rows_per_purge: int = 5_000, syncs_per_purge: int = 500) -> None:
        self._database = database
        self._rows_per_purge = rows_per_purge
        self._syncs_per_purge = syncs_per_purge

    async def shops(self, *, after: UUID | None, limit: int) -> list[Shop]:
        """Return up to `limit` shops by shop id, above `after`; None: from the first one."""
        values = {"after": after or UUID(int=0), "limit": limit}

        async def read(connection: AsyncConnection) -> list[Shop]:
            return [to_shop(row) for row in (await connection.execute(_SELECT_SHOPS, values)).mappings()]

        return await self._database.read(read)

    async def purge_requests(self, shop: Shop, *, older_than: timedelta) -> int:
        """Delete idempotency keys; a request with the same request_id is then a new request."""
        return await self._delete(_DELETE_REQUESTS, shop, older_than=older_than)

    async def purge_syncs(self, shop: Shop, *, older_than: timedelta, keep_latest: int) -> int:
        """Delete ended syncs, after their seen ids and issues.

        The `keep_latest` newest syncs and the last successful one stay.
        """
        values = {"older_than": older_than, "keep_latest": keep_latest, "limit": self._syncs_per_purge}
        old = await self._select_old_syncs(shop, **values)
        if not old:
            return 0
        for statement in (_DELETE_SEEN, _DELETE_ISSUES):
            rows = await self._delete(statement, shop, sync_ids=old)
            if rows:
                return rows
        return await self._delete(_DELETE_SYNCS, shop, sync_ids=old)

    async def purge_seen(self, shop: Shop) -> int:
        """Delete the seen ids of passes that cannot be resumed any more."""
        return await self._delete(_DELETE_UNRESUMABLE_SEEN, shop)

    async def purge_items(self, shop: Shop, *, older_than: timedelta) -> int:
        """Delete tombstones of items: items that the platform no longer has."""
        return await self._delete(_DELETE_ITEMS, shop, older_than=older_than)

    async def purge_products(self, shop: Shop, *, older_than: timedelta) -> int:
        """Delete tombstones of products of which no item is left."""
        return await self._delete(_DELETE_PRODUCTS, shop, older_than=older_than)

    async def _select_old_syncs(self, shop: Shop, **values: object) -> Sequence[UUID]:
        async def read(connection: AsyncConnection) -> Sequence[UUID]:
            bound = {**ShopScope.of(shop).values, **values}
            return (await connection.execute(_SELECT_OLD_SYNCS, bound)).scalars().all()

        return await self._database.read(read)

    async def _delete(self, statement: TextClause, shop: Shop, **values: object) -> int:
        async def work(connection: AsyncConnection) -> int:
            bound = {**ShopScope.of(shop).values, "limit": self._rows_per_purge, **values}
            return (await connection.execute(statement, bound)).rowcount

        return await self._database.write(work)
