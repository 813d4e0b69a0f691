"""Deletes what nobody needs any more: few rows at a time, each time in a transaction of its own.

Every statement says again what may be deleted, so that a row that came back meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SHOP_COLUMNS, to_shop

_SHOPS = text(f"""
    SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE shop_id > :after ORDER BY shop_id LIMIT :limit""")

_OF_SHOP = "merchant_id = :merchant_id AND shop_id = :shop_id"
_LONG_AGO = "clock_timestamp() - CAST(:older_than AS interval)"

_REQUESTS = text(f"""
    DELETE FROM idempotency_key
    WHERE merchant_id = :merchant_id AND (method, request_id) IN (
        SELECT method, request_id FROM idempotency_key
        WHERE merchant_id = :merchant_id AND created_at < {_LONG_AGO} LIMIT :most)""")

# A sync stays as long as a repeated request may ask for it.
_OLD_SYNCS = text(f"""
    SELECT sync_id FROM sync
    WHERE {_OF_SHOP} AND state NOT IN ('PENDING', 'RUNNING') AND ended_at < {_LONG_AGO}
      AND sync_id NOT IN (SELECT sync_id FROM sync WHERE {_OF_SHOP} ORDER BY sync_id DESC LIMIT :keep_latest)
      AND sync_id IS DISTINCT FROM (
          SELECT sync_id FROM sync WHERE {_OF_SHOP} AND state = 'SUCCEEDED' ORDER BY sync_id DESC LIMIT 1)
      AND NOT EXISTS (
          SELECT FROM idempotency_key AS request
          WHERE request.merchant_id = :merchant_id AND request.sync_id = sync.sync_id)
    ORDER BY sync_id LIMIT :most""")

# A resumed sync shares its parent's pass: what that met is needed as long as one of them is there.
_SEEN = text("""
    DELETE FROM sync_seen
    WHERE merchant_id = :merchant_id AND (pass_id, product_id) IN (
        SELECT pass_id, product_id FROM sync_seen
        WHERE merchant_id = :merchant_id AND pass_id IN (
            SELECT pass_id FROM sync WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids)
            EXCEPT
            SELECT pass_id FROM sync WHERE merchant_id = :merchant_id AND sync_id <> ALL(:sync_ids))
        LIMIT :most)""")

# Only the shop's latest sync can be resumed, and only if it did not succeed: no other pass needs what it met.
_SEEN_EARLIER = text(f"""
    DELETE FROM sync_seen
    WHERE merchant_id = :merchant_id AND (pass_id, product_id) IN (
        SELECT pass_id, product_id FROM sync_seen
        WHERE merchant_id = :merchant_id AND pass_id IN (
            SELECT pass_id FROM sync WHERE {_OF_SHOP}
            EXCEPT
            SELECT pass_id FROM sync WHERE {_OF_SHOP} AND state IN ('PENDING', 'RUNNING')
            EXCEPT
            SELECT pass_id FROM (
                SELECT pass_id, state FROM sync WHERE {_OF_SHOP} ORDER BY created_at DESC, sync_id DESC LIMIT 1
            ) AS latest WHERE state <> 'SUCCEEDED')
        LIMIT :most)""")

_ISSUES = text("""
    DELETE FROM sync_issue
    WHERE merchant_id = :merchant_id AND (sync_id, number) IN (
        SELECT sync_id, number FROM sync_issue
        WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids) LIMIT :most)""")

_SYNCS = text("DELETE FROM sync WHERE merchant_id = :merchant_id AND sync_id = ANY(:sync_ids)")

_ITEMS = text(f"""
    DELETE FROM item WHERE {_OF_SHOP} AND deleted_at < {_LONG_AGO} AND item_id IN (
        SELECT item_id FROM item WHERE {_OF_SHOP} AND deleted_at < {_LONG_AGO} LIMIT :most)""")

_CHILDLESS = """NOT EXISTS (
          SELECT FROM item WHERE item.merchant_id = :merchant_id AND item.shop_id = :shop_id
              AND item.product_id = product.product_id)"""

_PRODUCTS = text(f"""
    DELETE FROM product
    WHERE {_OF_SHOP} AND deleted_at < {_LONG_AGO} AND {_CHILDLESS} AND product_id IN (
        SELECT product_id FROM product
        WHERE {_OF_SHOP} AND deleted_at < {_LONG_AGO} AND {_CHILDLESS} LIMIT :most)""")


class RetentionStore:
    """Forgets, shop by shop; each method returns how many rows went, 0 when nothing was left."""

    def __init__(self, database: Database, *, rows_at_once: int = 5_000, syncs_at_once: int = 500) -> None:
        self._database = database
        self._rows_at_once = rows_at_once
        self._syncs_at_once = syncs_at_once

    async def shops(self, *, after: UUID | None, limit: int) -> list[Shop]:
        """By shop id, above `after`."""
        values = {"after": after or UUID(int=0), "limit": limit}

        async def read(connection: AsyncConnection) -> list[Shop]:
            return [to_shop(row) for row in (await connection.execute(_SHOPS, values)).mappings()]

        return await self._database.read(read)

    async def purge_requests(self, shop: Shop, *, older_than: timedelta) -> int:
        """request_ids; the same id is then a new request."""
        return await self._delete(_REQUESTS, shop, older_than=older_than)

    async def purge_syncs(self, shop: Shop, *, older_than: timedelta, keep_latest: int) -> int:
        """Ended syncs, what they met and set aside first; not the latest, nor the last successful one."""
        values = {"older_than": older_than, "keep_latest": keep_latest, "most": self._syncs_at_once}
        old = await self._old_syncs(shop, **values)
        if not old:
            return 0
        for statement in (_SEEN, _ISSUES):
            rows = await self._delete(statement, shop, sync_ids=old)
            if rows:
                return rows
        return await self._delete(_SYNCS, shop, sync_ids=old)

    async def purge_seen(self, shop: Shop) -> int:
        """Ids that passes met which cannot be resumed any more."""
        return await self._delete(_SEEN_EARLIER, shop)

    async def purge_items(self, shop: Shop, *, older_than: timedelta) -> int:
        """Items that the platform no longer has."""
        return await self._delete(_ITEMS, shop, older_than=older_than)

    async def purge_products(self, shop: Shop, *, older_than: timedelta) -> int:
        """Products that the platform no longer has, and of which no item is left."""
        return await self._delete(_PRODUCTS, shop, older_than=older_than)

    async def _old_syncs(self, shop: Shop, **values: object) -> Sequence[UUID]:
        async def read(connection: AsyncConnection) -> Sequence[UUID]:
            return (await connection.execute(_OLD_SYNCS, {**_of(shop), **values})).scalars().all()

        return await self._database.read(read)

    async def _delete(self, statement: TextClause, shop: Shop, **values: object) -> int:
        async def work(connection: AsyncConnection) -> int:
            bound = {**_of(shop), "most": self._rows_at_once, **values}
            return (await connection.execute(statement, bound)).rowcount

        return await self._database.write(work)


def _of(shop: Shop) -> dict[str, object]:
    return {"merchant_id": shop.merchant_id, "shop_id": shop.shop_id}
