"""The custom feed as a platform: any shop whose publisher follows docs/custom-feed.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

from connector_svc.domain.fetch import FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory
from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.reader import PassReader, facts_of

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IPv4 address is no domain.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"


class FeedPlatform:
    """Reads published feeds; keeps nothing between calls."""

    name = "feed"
    display_name = "Custom feed"
    domain_pattern = _DOMAIN
    domain_example = "shop.example"
    capabilities = Capabilities(incremental=True, bulk=True, deletions=True)

    def __init__(self, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]) -> None:
        self._http = http
        self._credentials = credentials
        self._clock = clock

    async def check(self, shop: Shop) -> ShopInfo:
        """What the manifest says, once its signature fits; the files are not read. Raises SourceFailure."""
        client = FeedClient(shop, self._http.to_shop(shop), self._credentials)
        return facts_of(await client.manifest(self._clock()))

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        http = self._http.to_shop(request.shop, on_wait=on_wait)
        client = FeedClient(request.shop, http, self._credentials)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Nothing runs for us there."""
        return False
