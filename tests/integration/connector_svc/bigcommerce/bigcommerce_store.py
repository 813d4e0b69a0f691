"""A BigCommerce store served by devstore, and the platform that reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connector_svc.domain.fetch import Batch, End, FetchRequest, Header, StockLevel, Wait
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import RecordIssue
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import utc_now
from connector_svc.http.response_body import BodyLimits
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.bigcommerce import BigCommercePlatform
from devstore.bigcommerce.api import Switches
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests import tls

SHOP = Shop("bigcommerce", "store-abc123.mybigcommerce.com")
START_TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)


class FakeCredentials:
    """Credentials provider with one token; `renewed` replaces it once the store refused it."""

    def __init__(self, token: str) -> None:
        self.token = self.renewed = token

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"access_token": Secret(self.token if refused is None else self.renewed)}


@dataclass(slots=True)
class StoreClock:
    """Clock of the store: every call is a second later."""

    now: datetime = START_TIME

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass(slots=True)
class FetchedPass:
    """Events of a complete pass."""

    header: Header
    batches: list[Batch]
    end: End
    waits: list[Wait]

    @property
    def products(self) -> dict[str, Product]:
        return {product.id: product for batch in self.batches for product in batch.products}

    @property
    def levels(self) -> dict[str, StockLevel]:
        return {level.variant_id: level for batch in self.batches for level in batch.stock_levels}

    @property
    def listed(self) -> list[str]:
        return [number for batch in self.batches for number in batch.listed_product_ids]

    @property
    def variants(self) -> dict[str, Variant]:
        return {variant.id: variant for product in self.products.values() for variant in product.variants}

    @property
    def issues(self) -> list[RecordIssue]:
        return [issue for batch in self.batches for issue in batch.issues]

    @property
    def deleted(self) -> set[str]:
        return {number for batch in self.batches for number in batch.deleted_product_ids}


@dataclass(slots=True)
class OpenStore:
    """A running store and the platform that reads it."""

    store: RunningStore
    platform: BigCommercePlatform
    credentials: FakeCredentials

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog(SHOP.domain)

    @property
    def switches(self) -> Switches:
        return self.store.shops[SHOP.domain].bigcommerce.switches

    async def fetch(
        self,
        *,
        after: datetime | None = None,
        checkpoint: bytes = b"",
        max_batch_products: int = 250,
        ids: tuple[str, ...] = (),
    ) -> FetchedPass:
        waits: list[Wait] = []
        request = FetchRequest(
            shop=SHOP,
            updated_after=after,
            checkpoint=checkpoint,
            max_batch_products=max_batch_products,
            product_ids=ids,
        )
        events = [event async for event in self.platform.fetch(request, on_wait=waits.append)]
        header, end = events[0], events[-1]
        assert isinstance(header, Header)
        assert isinstance(end, End)
        batches = [event for event in events if isinstance(event, Batch)]
        return FetchedPass(header=header, batches=batches, end=end, waits=waits)

    def calls(self) -> dict[str, int]:
        return dict(self.store.requests(SHOP.domain).by_operation)


StoreFactory = Callable[..., AbstractAsyncContextManager[OpenStore]]


def store_factory(tls_dir: Path) -> StoreFactory:
    """Return a function that serves a store of a given shape."""

    @asynccontextmanager
    async def open_store(
        *, throttle: bool = False, max_body: int = 2**24, **shape: Any
    ) -> AsyncIterator[OpenStore]:
        spec = ShopSpec(platform=Platform.BIGCOMMERCE, domain=SHOP.domain, **shape)
        async with serving([spec], tls_dir=tls_dir, throttle=throttle, clock=StoreClock()) as store:
            config = HttpConfig(
                endpoints=Endpoints.of({SHOP.domain: store.base_url(SHOP.domain)}),
                tls=tls.client_context(store.ca_file),
                body=BodyLimits(max_bytes=max_body),
            )
            credentials = FakeCredentials(spec.credentials["access_token"])
            async with open_http(config) as http:
                platform = BigCommercePlatform(http, credentials, utc_now, retry_delay_seconds=0.0)
                yield OpenStore(store, platform, credentials)

    return open_store
