"""WooCommerce as a platform: wires a shop's HTTP, keys and readers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

from connector_svc.domain.fetch import FetchEvent, FetchRequest, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryKeyShops
from connector_svc.platforms.woocommerce.client import StoreClient, Stores
from connector_svc.platforms.woocommerce.concurrency_limiter import MOST_CALLS
from connector_svc.platforms.woocommerce.product_pager import PRODUCTS
from connector_svc.platforms.woocommerce.reader import PassReader
from connector_svc.platforms.woocommerce.shop_probe import open_store, read_facts
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.wire import Route

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IPv4 address is no domain.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"


class WooCommercePlatform:
    """Reads WooCommerce stores; keeps only what it learned of their hosts, for a limited number of them."""

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
        connections_per_host: int = MOST_CALLS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connections_per_host`: what `http` keeps to one host; a call that waits for one would look slow, by
        `monotonic`, in seconds."""
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._query_shops = QueryKeyShops()
        self._stores = Stores(most_calls=min(MOST_CALLS, connections_per_host), monotonic=monotonic)

    async def check(self, shop: Shop) -> ShopInfo:
        """Name, currency, versions, number of products, and how variations will be read. Raises SourceFailure."""
        client = self._client(shop)
        facts = await read_facts(client, await open_store(client))
        count = await client.count(PRODUCTS, ())
        lists = VariationLists(client)
        await lists.probe()
        return dataclasses.replace(
            facts.shop, product_count=count.total, notes=(*facts.shop.notes, *_route_notes(lists.route))
        )

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        client = self._client(request.shop, on_wait)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Nothing runs for us there."""
        return False

    def _client(self, shop: Shop, on_wait: WaitReporter | None = None) -> StoreClient:
        notes = self._stores.notes(shop)

        def waits(wait: Wait) -> None:
            notes.gate.trouble()
            if on_wait is not None:
                on_wait(wait)

        http = self._http.to_shop(shop, on_wait=waits)
        secure = http.base_url.scheme == "https"
        authenticator = Authenticator(shop, self._credentials, self._query_shops, secure=secure)
        return StoreClient(shop, http, authenticator, notes=notes)


def _route_notes(route: Route) -> tuple[str, ...]:
    match route:
        case Route.OFFICIAL:
            return ()
        case Route.ANALYTICS:
            return ("No bulk variations route (WooCommerce 10.3 has one): wc-analytics/variations stands in.",)
        case Route.PER_PRODUCT:
            return ("No bulk variations route: variations take at least one call per variable product.",)
