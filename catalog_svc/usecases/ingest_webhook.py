"""Ingestion of webhooks: a verified delivery names products to read again; its payload is not used."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

from catalogsync_common.failure import InvalidRequest

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.refresh import (
    IngestOutcome,
    IngestResult,
    RefreshReason,
    RefreshReceipt,
    RefreshRequest,
    VerifiedWebhook,
    WebhookDelivery,
)
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.usecases.catalog_ports import Shops
from catalog_svc.usecases.ports import Platforms
from catalog_svc.usecases.refresh_ports import RefreshMetrics, RefreshRequests, WebhookLimit, WebhookVerifier
from catalog_svc.usecases.sync_commands import find_platform

_log = logging.getLogger(__name__)

_PING = IngestResult(outcome=IngestOutcome.PING)
_IGNORED = IngestResult(outcome=IngestOutcome.IGNORED)
_MAX_KNOWN_SHOPS: Final = 10_000


class IngestWebhook:
    """Requests that the products of a webhook delivery are read again."""

    def __init__(
        self,
        *,
        verifier: WebhookVerifier,
        platforms: Platforms,
        shops: Shops,
        requests: RefreshRequests,
        limit: WebhookLimit,
        wake_worker: Callable[[], None],
        metrics: RefreshMetrics,
    ) -> None:
        """Create the use case.

        Args:
            verifier: Verifies deliveries.
            platforms: The platforms that the connector supports.
            shops: The registered shops.
            requests: Where products are requested.
            limit: The rate of the deliveries of each shop. One that is not verified may name any shop, and does
                not count.
            wake_worker: Called after products were requested.
            metrics: Where deliveries are counted.
        """
        self._verifier = verifier
        self._platforms = platforms
        self._shops = shops
        self._requests = requests
        self._limit = limit
        self._wake_worker = wake_worker
        self._metrics = metrics
        self._known = _KnownShops()

    async def __call__(self, delivery: WebhookDelivery, shop: ShopRef | None) -> IngestResult:
        """Verify a delivery and request its products.

        Args:
            delivery: The delivery, without its domain.
            shop: The shop to which it was sent; None: the caller does not know.

        Raises:
            InvalidRequest: the platform sends no webhooks, or `shop` is none of its shops.
            ShopNotFound: there is no shop with this id.
            SourceFailed: the delivery is not signed by its shop, is malformed, or cannot be verified now.
            LimitExceeded: the shop has sent too many deliveries.
        """
        await find_platform(self._platforms, delivery.platform, field="platform")
        verified = await self._verifier.verify(replace(delivery, domain=await self._domain_of(delivery, shop)))
        result = await self._request(verified)
        self._metrics.webhook_received(delivery.platform, result.outcome)
        return result

    async def _domain_of(self, delivery: WebhookDelivery, shop: ShopRef | None) -> str:
        if shop is None:
            return ""
        key = shop if isinstance(shop, ShopKey) else await self._key_of(shop)
        if key.platform != delivery.platform:
            raise InvalidRequest.of("shop", f"must be a shop of the delivery's platform, {delivery.platform}")
        return key.domain

    async def _key_of(self, shop_id: UUID) -> ShopKey:
        found = await self._shops.find(shop_id)
        if found is None:
            raise ShopNotFound(shop_id)
        return found.key

    async def _request(self, verified: VerifiedWebhook) -> IngestResult:
        if verified.is_ping:
            return _PING
        if verified.shop is None or not (verified.product_ids or verified.variant_ids):
            return _IGNORED
        request = RefreshRequest(
            reason=RefreshReason.WEBHOOK, product_ids=verified.product_ids, variant_ids=verified.variant_ids
        )
        receipt = await self._add(verified.shop, request)
        if receipt is None or not receipt.product_count:
            return _IGNORED
        if receipt.needs_sync:
            context = {"shop": str(verified.shop)}
            _log.warning("too many products wait for a refresh: a sync reads them", extra=context)
        self._wake_worker()
        return IngestResult(outcome=IngestOutcome.ACCEPTED, product_count=receipt.product_count)

    async def _add(self, key: ShopKey, request: RefreshRequest) -> RefreshReceipt | None:
        """Add the request; None: the shop is not registered.

        A known shop is not looked up again. That it was deleted, and perhaps registered again, shows when the
        request is stored.
        """
        known = self._known.get(key)
        shop = known or await self._shops.find(key)
        if shop is None:
            return None
        self._known.put(key, shop)
        self._limit.take(shop.shop_id)
        try:
            return await self._requests.add(shop, request)
        except ShopNotFound:
            self._known.remove(key)
            return await self._add(key, request) if known else None


class _KnownShops:
    """The shops of the latest deliveries."""

    def __init__(self) -> None:
        self._shops: OrderedDict[ShopKey, Shop] = OrderedDict()

    def get(self, key: ShopKey) -> Shop | None:
        return self._shops.get(key)

    def put(self, key: ShopKey, shop: Shop) -> None:
        self._shops[key] = shop
        self._shops.move_to_end(key)
        if len(self._shops) > _MAX_KNOWN_SHOPS:
            self._shops.popitem(last=False)

    def remove(self, key: ShopKey) -> None:
        self._shops.pop(key, None)
