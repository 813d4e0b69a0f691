"""A published feed of the devstore, and passes over it."""

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
from devstore.feed.quirk import FeedQuirk
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests import tls
from tests.contract.platforms.passes import Pass

SHOP = Shop("feed", "shop.example")


@dataclass(slots=True)
class Keys(CredentialsProvider):
    """Credentials that may be changed; `newer` ones are given to whoever says that the first were refused."""

    values: dict[str, str]
    newer: dict[str, str] | None = None

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        given = self.newer if refused is not None and self.newer is not None else self.values
        return {name: Secret(value) for name, value in given.items()}


@dataclass(slots=True)
class FeedShop:
    """One publisher and its reader."""

    store: RunningStore
    platform: FeedPlatform
    keys: Keys
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
        batch: int = 250,
        batches: int | None = None,
    ) -> Pass:
        """To the end, or until so many batches came."""
        found = Pass()
        await self.fetch_into(found, checkpoint=checkpoint, after=after, batch=batch, batches=batches)
        return found

    async def fetch_ids(self, *product_ids: str, batch: int = 250) -> Pass:
        """Only these products."""
        found = Pass()
        request = FetchRequest(shop=SHOP, product_ids=product_ids, max_batch_products=batch)
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
        batch: int = 250,
        batches: int | None = None,
    ) -> None:
        """As `fetch`; what came before a failure stays in `found`."""
        request = FetchRequest(shop=SHOP, checkpoint=checkpoint, updated_after=after, max_batch_products=batch)
        async with aclosing(self.platform.fetch(request, on_wait=lambda _: None)) as events:
            async for event in events:
                found.events.append(event)
                if batches is not None and len(found.batches) == batches:
                    return


@asynccontextmanager
async def feed_shop(products: int = 30, fmt: str = "ndjson", *quirks: FeedQuirk) -> AsyncIterator[FeedShop]:
    """A publisher with `quirks`, whose every look at the clock is a second later."""
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
        config = HttpConfig(tls=tls.context(), endpoints=Endpoints.of({spec.domain: store.base_url(spec.domain)}))
        async with open_http(config, HttpDependencies(sleep=_at_once)) as http:
            keys = Keys(dict(spec.credentials))
            yield FeedShop(store, FeedPlatform(http, keys, lambda: datetime.now(UTC)), keys, clock)


async def _at_once(_: timedelta) -> None: ...
