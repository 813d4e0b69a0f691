"""The WooCommerce platform: wires a shop's HTTP client, credentials and readers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

from connector_svc.domain.fetch import FetchEvent, FetchRequest, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.domain.webhook import WebhookSubscription
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory, Secret
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryAuthShops
from connector_svc.platforms.woocommerce.client import StoreClient, StoreStates
from connector_svc.platforms.woocommerce.concurrency_limiter import MAX_CONCURRENT_CALLS
from connector_svc.platforms.woocommerce.reader import PassReader
from connector_svc.platforms.woocommerce.shop_probe import discover_api, read_store_info
from connector_svc.platforms.woocommerce.variations import VariationReader
from connector_svc.platforms.woocommerce.webhook_registrar import WebhookStore
from connector_svc.platforms.woocommerce.wire import PRODUCTS_PATH, VariationRoute

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label starts with a letter, so that an IPv4 address is not a domain.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"


class WooCommercePlatform:
    """Reads WooCommerce stores; keeps only what it has learned of their hosts, for a bounded number of stores."""

    name = "woocommerce"
    display_name = "WooCommerce"
    domain_pattern = _DOMAIN
    domain_example = "store.example"
    capabilities = Capabilities(incremental=True, deletions=True)

    def __init__(
        self,
        http: HttpFactory,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        *,
        connections_per_host: int = MAX_CONCURRENT_CALLS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the platform.

        Args:
            connections_per_host: How many connections `http` keeps to one host. No more calls are made at once,
                since a call that waits for a connection would look slow.
            monotonic: The clock in seconds that measures latencies.
        """
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._query_auth_shops = QueryAuthShops()
        self._store_states = StoreStates(
            max_concurrent_calls=min(MAX_CONCURRENT_CALLS, connections_per_host), monotonic=monotonic
        )

    async def check(self, shop: Shop) -> ShopInfo:
        """Read name, currency, versions, number of products, and the variation route. Raise SourceFailure."""
        client = self._client(shop)
        info = await read_store_info(client, await discover_api(client))
        count = await client.count(PRODUCTS_PATH, ())
        variations = VariationReader(client)
        await variations.probe()
        return dataclasses.replace(
            info.shop, product_count=count.total, notes=(*info.shop.notes, *_route_notes(variations.route))
        )

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        client = self._client(request.shop, on_wait)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Return False: WooCommerce runs no jobs for us."""
        return False

    async def webhooks(self, shop: Shop) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`."""
        return await (await self._webhook_store(shop)).list_own()

    async def ensure_webhooks(self, shop: Shop, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`."""
        return await (await self._webhook_store(shop)).ensure(address, secret)

    async def _webhook_store(self, shop: Shop) -> WebhookStore:
        client = self._client(shop)
        await discover_api(client)
        return WebhookStore(client)

    def _client(self, shop: Shop, on_wait: WaitReporter | None = None) -> StoreClient:
        state = self._store_states.get_or_create(shop)

        def report_wait(wait: Wait) -> None:
            state.limiter.record_retry()
            if on_wait is not None:
                on_wait(wait)

        http = self._http.to_shop(shop, on_wait=report_wait)
        secure = http.base_url.scheme == "https"
        authenticator = Authenticator(shop, self._credentials, self._query_auth_shops, secure=secure)
        return StoreClient(shop, http, authenticator, state=state)


def _route_notes(route: VariationRoute) -> tuple[str, ...]:
    match route:
        case VariationRoute.OFFICIAL:
            return ()
        case VariationRoute.ANALYTICS:
            return (
                "No bulk variations route (WooCommerce 10.3 has one): wc-analytics/variations is used instead.",
            )
        case VariationRoute.PER_PRODUCT:
            return ("No bulk variations route: variations take at least one request per variable product.",)
