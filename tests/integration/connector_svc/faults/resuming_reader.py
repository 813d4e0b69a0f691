"""A reader of one devstore shop that stores batches and resumes after failures, as the catalog does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from connector_svc.domain.errors import SourceFailure
from connector_svc.domain.fetch import Batch, End, FetchRequest
from connector_svc.domain.product import Product
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import HttpDependencies, utc_now
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Platform
from connector_svc.platforms.registry import create_platforms
from connector_svc.rpc.requests import Platforms
from devstore.catalog.catalog import Catalog
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests import tls
from tests.contract.platforms.devstore_harness import StaticCredentials

LONG_TIMEOUT = timedelta(seconds=30)


@dataclass(slots=True)
class Reader:
    """One shop, and what was stored of it."""

    store: RunningStore
    spec: ShopSpec
    platform: Platform
    stored: dict[str, Product] = field(default_factory=dict)
    checkpoint: bytes = b""
    end: End | None = None
    failures: list[SourceFailure] = field(default_factory=list)

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog(self.spec.domain)

    async def read(self, *, passes: int = 1) -> None:
        """Read up to `passes` passes, each from the last stored batch, until one is complete."""
        for _ in range(passes):
            try:
                await self._pass()
            except SourceFailure as failure:
                self.failures.append(failure)
            if self.end is not None:
                return

    async def _pass(self) -> None:
        shop = Shop(self.spec.platform.value, self.spec.domain)
        request = FetchRequest(shop=shop, checkpoint=self.checkpoint, max_batch_products=10)
        async with aclosing(self.platform.fetch(request, on_wait=lambda _: None)) as events:
            async for event in events:
                if isinstance(event, Batch):
                    self.stored |= {product.id: product for product in event.products}
                    self.checkpoint = event.checkpoint
                elif isinstance(event, End):
                    self.end = event

    def rows(self) -> set[tuple[str, str, str, str]]:
        """Return the stored rows, in the form of `expected`."""
        return {
            (product.id, variant.id, variant.sku, str(variant.price))
            for product in self.stored.values()
            for variant in product.variants
        }

    def expected(self) -> set[tuple[str, str, str, str]]:
        """Return the rows that the shop sells."""
        return {(i.product_id, i.item_id, i.sku, str(i.price)) for i in self.catalog.sellable_items()}


@asynccontextmanager
async def reading(
    spec: ShopSpec, certificates: Path, *, latency: float = 0, total_timeout: timedelta = LONG_TIMEOUT
) -> AsyncIterator[Reader]:
    """Start the shop and a reader with the connector's own client.

    The client waits `total_timeout` for an answer, and does not pause between attempts.
    """
    async with serving([spec], tls_dir=certificates, throttle=False, latency=latency) as store:
        config = HttpConfig(
            endpoints=Endpoints.of({spec.domain: store.base_url(spec.domain)}),
            tls=tls.client_context(store.ca_file),
            total_timeout=total_timeout,
            retry=RetryPolicy(attempts=3),
        )
        async with open_http(config, HttpDependencies(sleep=_at_once)) as http:
            keys = StaticCredentials(store.credentials(spec.domain))
            platforms = Platforms(create_platforms(http=http, credentials=keys, clock=utc_now))
            yield Reader(store, spec, platforms.by_name(spec.platform.value))


async def _at_once(_: timedelta) -> None: ...
