"""A feed published by devstore, and passes over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import HttpDependencies
from connector_svc.platforms.base import Credentials, CredentialsProvider, Secret
from connector_svc.platforms.feed import FeedPlatform
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.feed.quirks import FeedQuirk
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests import tls
from tests.contract.platforms.passes import Pass

SHOP = Shop("feed", "shop.example")


@dataclass(slots=True)
class FakeCredentials(CredentialsProvider):
    """Credentials that a test may change; `newer` ones are returned after the first were refused."""

    values: dict[str, str]
    newer: dict[str, str] | None = None

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        given = self.newer if refused is not None and self.newer is not None else self.values
        return {name: Secret(value) for name, value in given.items()}


@dataclass(slots=True)
class FeedShop:
    """One publisher, and the platform that reads its feed."""

    store: RunningStore
    platform: FeedPlatform
    credentials: FakeCredentials
    now: Callable[[], datetime]

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog(SHOP.domain)

    @property
    def quirks(self) -> set[FeedQuirk]:
        return self.store.shops[SHOP.domain].feed_quirks

    async def fetch(
        self,
        *,
        checkpoint: bytes = b"",
        after: datetime | None = None,
        max_batch_products: int = 250,
        batches: int | None = None,
    ) -> Pass:
        """Read to the end of the pass, or until `batches` batches came."""
        found = Pass()
        await self.fetch_into(
            found, checkpoint=checkpoint, after=after, max_batch_products=max_batch_products, batches=batches
        )
        return found

    async def fetch_ids(self, *product_ids: str, max_batch_products: int = 250) -> Pass:
        """Read only these products."""
        found = Pass()
        request = FetchRequest(shop=SHOP, product_ids=product_ids, max_batch_products=max_batch_products)
        async with aclosing(self.platform.fetch(request, on_wait=found.waits.append)) as events:
            async for event in events:
                found.events.append(event)
        return found

    async def fetch_into(
        self,
        found: Pass,
        *,
        checkpoint: bytes = b"",
        after: datetime | None = None,
        max_batch_products: int = 250,
        batches: int | None = None,
    ) -> None:
        """Read like `fetch`; the events before a failure stay in `found`."""
        request = FetchRequest(
            shop=SHOP, checkpoint=checkpoint, updated_after=after, max_batch_products=max_batch_products
        )
        async with aclosing(self.platform.fetch(request, on_wait=lambda _: None)) as events:
            async for event in events:
                found.events.append(event)
                if batches is not None and len(found.batches) == batches:
                    return


@asynccontextmanager
async def feed_shop(products: int = 30, fmt: str = "ndjson", *quirks: FeedQuirk) -> AsyncIterator[FeedShop]:
    """Serve a publisher with `quirks`, whose clock advances a second with each call."""
    spec = ShopSpec(
        platform=Platform.FEED,
        domain=SHOP.domain,
        products=products,
        feed_format=fmt,
        feed_quirks=frozenset(quirks),
    )
    ticks = [datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)]

    def clock() -> datetime:
        ticks[0] += timedelta(seconds=1)
        return ticks[0]

    async with serving([spec], tls_dir=None, clock=clock) as store:
        config = HttpConfig(
            tls=tls.client_context(), endpoints=Endpoints.of({spec.domain: store.base_url(spec.domain)})
        )
        async with open_http(config, HttpDependencies(sleep=_no_sleep)) as http:
            credentials = FakeCredentials(dict(spec.credentials))
            yield FeedShop(store, FeedPlatform(http, credentials, lambda: datetime.now(UTC)), credentials, clock)


async def _no_sleep(_: timedelta) -> None: ...
