"""WooCommerce as a platform: wires a shop's HTTP, keys and readers."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

from connector_svc.domain.fetch import FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.shop import Shop, ShopFacts
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryKeyShops
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.facts import read_facts
from connector_svc.platforms.woocommerce.products import PRODUCTS
from connector_svc.platforms.woocommerce.reader import PassReader
from connector_svc.platforms.woocommerce.routes import Route
from connector_svc.platforms.woocommerce.variations import VariationLists

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IPv4 address is no domain.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"


class WooCommercePlatform:
    """Reads WooCommerce stores; keeps nothing but which of them want the API key in the query."""

    name = "woocommerce"
    display_name = "WooCommerce"
    domain_pattern = _DOMAIN
    capabilities = Capabilities(incremental=True)

    def __init__(self, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]) -> None:
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._query_shops = QueryKeyShops()

    async def check(self, shop: Shop) -> ShopFacts:
        """Name, currency, versions, number of products, and how variations will be read. Raises SourceFailure."""
        client = self._client(shop)
        facts = await read_facts(client)
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

    def _client(self, shop: Shop, on_wait: WaitReporter | None = None) -> StoreClient:
        http = self._http.to_shop(shop, on_wait=on_wait)
        secure = http.base_url.scheme == "https"
        return StoreClient(shop, http, Authenticator(shop, self._credentials, self._query_shops, secure=secure))


def _route_notes(route: Route) -> tuple[str, ...]:
    match route:
        case Route.OFFICIAL:
            return ()
        case Route.ANALYTICS:
            return ("No bulk variations route (WooCommerce 10.3 has one): wc-analytics/variations stands in.",)
        case Route.PER_PRODUCT:
            return ("No bulk variations route: variations take at least one call per variable product.",)
