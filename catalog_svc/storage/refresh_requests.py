"""Requests to read products again: one row per product, however often it is requested."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.refresh import (
    COALESCING_DELAY,
    MAX_PENDING_PRODUCTS,
    PendingRefreshes,
    RefreshReason,
    RefreshReceipt,
    RefreshRequest,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import SyncMode
from catalog_svc.storage.database import Database
from catalog_svc.storage.product_refresh import share_shop
from catalog_svc.storage.refresh_queue import enqueue_shop
from catalog_svc.storage.shop_webhooks import record_delivery
from catalog_svc.storage.shops import ShopScope

_SELECT_PRODUCTS_OF_VARIANTS = text("""
    SELECT item_id, product_id FROM item
    WHERE shop_id = :shop_id AND item_id = ANY(CAST(:variant_ids AS text[]))""")

# Nothing, if too many would wait.
_UPSERT = text("""
    INSERT INTO product_refresh (shop_id, product_id, reason, first_requested_at, last_requested_at)
    SELECT CAST(:shop_id AS uuid), request.product_id, CAST(:reason AS text), statement_timestamp(),
        statement_timestamp()
    FROM unnest(CAST(:product_ids AS text[])) AS request (product_id)
    WHERE (SELECT count(*) FROM (SELECT FROM product_refresh WHERE shop_id = :shop_id LIMIT :limit) AS waiting)
        + CAST(:product_count AS bigint) <= :max_products
    ORDER BY request.product_id
    ON CONFLICT (shop_id, product_id) DO UPDATE
    SET pending = true, read_count = 0, reason = excluded.reason, last_requested_at = excluded.last_requested_at,
        first_requested_at = CASE WHEN product_refresh.pending THEN product_refresh.first_requested_at
            ELSE excluded.first_requested_at END""")

# Across shops, and so by a function.
_SELECT_PENDING = text("SELECT pending_count, oldest_age FROM pending_refreshes()")


class RefreshRequestStore:
    """Requests to read products again."""

    def __init__(self, database: Database, *, max_products: int = MAX_PENDING_PRODUCTS) -> None:
        """Create the store; `max_products` of each shop may wait."""
        self._database = database
        self._max_products = max_products

    async def add(self, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        """Let products of the shop be read again soon; if too many wait already, request a sync instead.

        Raises:
            ShopNotFound: The shop was deleted in the meantime.
        """
        return await self._database.write(
            lambda connection: self._add(connection, shop, request), shops=[shop.shop_id]
        )

    async def _add(self, connection: AsyncConnection, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        scope = ShopScope.of(shop)
        if await share_shop(connection, scope) is None:
            raise ShopNotFound(shop.shop_id)
        delivered = request.reason is RefreshReason.WEBHOOK
        product_ids = await _products_of(connection, scope, request)
        if not product_ids:
            if delivered:
                await record_delivery(connection, shop)
            return RefreshReceipt()
        values = {
            **scope.values,
            "product_ids": product_ids,
            "product_count": len(product_ids),
            "reason": request.reason.value,
            "limit": self._max_products + 1,
            "max_products": self._max_products,
        }
        if (await connection.execute(_UPSERT, values)).rowcount:
            await enqueue_shop(connection, shop, delay=COALESCING_DELAY, delivered=delivered)
            return RefreshReceipt(product_count=len(product_ids))
        await enqueue_shop(
            connection, shop, delay=timedelta(), wanted_sync=SyncMode.INCREMENTAL, delivered=delivered
        )
        return RefreshReceipt(product_count=len(product_ids), needs_sync=True)

    async def pending(self) -> PendingRefreshes:
        """Return how many products wait for a refresh, of all shops."""

        async def read(connection: AsyncConnection) -> PendingRefreshes:
            row = (await connection.execute(_SELECT_PENDING)).one()
            return PendingRefreshes(
                count=row.pending_count, oldest_age=max(timedelta(), row.oldest_age or timedelta())
            )

        return await self._database.read(read)


async def _products_of(connection: AsyncConnection, scope: ShopScope, request: RefreshRequest) -> list[str]:
    """Return the ids of the products to read, each once, in order.

    An id that may be of a product or of a variant is one of a variant if such a variant is stored.
    """
    product_ids = set(request.product_ids)
    if request.variant_ids:
        values = {**scope.values, "variant_ids": list(request.variant_ids)}
        rows = await connection.execute(_SELECT_PRODUCTS_OF_VARIANTS, values)
        of_variants = {row.item_id: row.product_id for row in rows}
        product_ids = (product_ids - of_variants.keys()) | set(of_variants.values())
    return sorted(product_ids)
