"""BigCommerce as a platform of the connector."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.fetch import FetchEvent, FetchRequest, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory, RateLimitHeaders
from connector_svc.platforms.bigcommerce.client import PAUSE, StoreClient
from connector_svc.platforms.bigcommerce.pace import Pace
from connector_svc.platforms.bigcommerce.reader import Reader
from connector_svc.platforms.bigcommerce.shop_info import LIMITATION, count_products, count_variants, read_facts

API_HOST: Final = "api.bigcommerce.com"
RATE_LIMIT_HEADERS: Final = RateLimitHeaders(
    requests_left="X-Rate-Limit-Requests-Left", reset_milliseconds="X-Rate-Limit-Time-Reset-Ms"
)


class BigCommercePlatform:
    """Reads BigCommerce stores; see `Platform` for what callers may rely on.

    Credentials: {"access_token": ...} of an API account with the scopes store_v2_products_read_only and
    store_v2_information_read_only, and store_inventory_read_only for stock over all locations. A store is named by
    its permanent address, store-{hash}.mybigcommerce.com, and called at api.bigcommerce.com.
    """

    name = "bigcommerce"
    display_name = "BigCommerce"
    domain_pattern = r"store-[a-z0-9]{1,32}\.mybigcommerce\.com"
    domain_example = "store-abc123.mybigcommerce.com"
    capabilities = Capabilities(incremental=True, deletions=True)

    def __init__(
        self,
        http: HttpFactory,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        *,
        pause: float = PAUSE,
    ) -> None:
        """`pause`: seconds before an answer that is not whole is asked for again."""
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._pause = pause
        self._paces: WeakValueDictionary[str, Pace] = WeakValueDictionary()

    async def check(self, shop: Shop) -> ShopInfo:
        """Name, currency and counts, by four calls. Raises SourceFailure."""
        client = self._client(shop, _ignore)
        facts = (await read_facts(client)).shop
        products, items = await count_products(client), await count_variants(client)
        notes = (LIMITATION, *facts.notes)
        return dataclasses.replace(facts, product_count=products.total, item_count=items.total, notes=notes)

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`. Two pages are held at most: the one being consumed and the next."""
        client = self._client(request.shop, on_wait)
        async with aclosing(Reader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Nothing runs for us there."""
        return False

    def _client(self, shop: Shop, on_wait: WaitReporter) -> StoreClient:
        return StoreClient(
            shop,
            store_hash=shop.domain.partition(".")[0].removeprefix("store-"),
            http=self._http.to_shop(
                shop, on_wait=on_wait, api_host=API_HOST, rate_limit_headers=RATE_LIMIT_HEADERS
            ),
            credentials=self._credentials,
            pace=self._paces.setdefault(shop.domain, Pace(self._clock)),
            on_wait=on_wait,
            pause=self._pause,
        )


def _ignore(wait: Wait) -> None:
    """Nobody follows a check."""
