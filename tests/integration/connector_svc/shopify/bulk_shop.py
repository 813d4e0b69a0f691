"""A shop of the devstore whose catalog is read by bulk operations, and by pages to compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import HttpDependencies
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.read_strategy import BulkPolicy, ReadStrategy
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import Plan, ShopSpec, VariantRange
from tests import tls
from tests.contract.platforms.passes import Pass

DOMAIN = "large.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
FAST_POLICY = BulkPolicy(
    min_products=1,
    first_poll_interval=timedelta(milliseconds=10),
    max_poll_interval=timedelta(milliseconds=20),
    stalled_after=timedelta(milliseconds=300),
    cancel_timeout=timedelta(seconds=2),
)
NEVER_BULK = BulkPolicy(min_products=10**9, min_products_when_fast=10**9)


@dataclass(frozen=True)
class DevstoreCredentials:
    """Provides the devstore's credentials."""

    values: Mapping[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class BulkShop:
    """A devstore and the platform that reads it."""

    store: RunningStore
    platform: ShopifyPlatform
    pages: ShopifyPlatform
    """The same without bulk operations."""

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog(DOMAIN)

    @property
    def jobs(self) -> BulkJobs:
        return self.store.bulk(DOMAIN)

    def call_count(self, operation: str) -> int:
        """Return the number of calls of an operation."""
        return self.store.requests(DOMAIN).by_operation[operation]

    async def fetch(
        self,
        *,
        checkpoint: bytes = b"",
        batch: int = 250,
        batches: int | None = None,
        after: datetime | None = None,
        platform: ShopifyPlatform | None = None,
        ids: tuple[str, ...] = (),
    ) -> Pass:
        """Run a pass to its end, or until `batches` have arrived."""
        found = Pass()
        request = FetchRequest(
            shop=SHOP, checkpoint=checkpoint, max_batch_products=batch, updated_after=after, product_ids=ids
        )
        chosen = platform or self.platform
        async with aclosing(chosen.fetch(request, on_wait=found.waits.append)) as stream:
            async for event in stream:
                found.events.append(event)
                if batches is not None and len(found.batches) == batches:
                    break
        return found

    async def paged(self) -> Pass:
        """Run a pass without bulk operations."""
        return await self.fetch(platform=self.pages)


@asynccontextmanager
async def bulk_shop(
    products: int = 40,
    *,
    edge_cases: bool = True,
    variants: VariantRange | None = None,
    policy: BulkPolicy = FAST_POLICY,
    strategy: ReadStrategy = ReadStrategy.AUTO,
    plan: Plan = Plan.STANDARD,
    throttle: bool = False,
    files_host: str = "",
) -> AsyncIterator[BulkShop]:
    """Serve a shop without delays; requests to `files_host` are sent to the devstore."""
    spec = ShopSpec(
        platform=Platform.SHOPIFY,
        domain=DOMAIN,
        products=products,
        edge_cases=edge_cases,
        variants=variants,
        plan=plan,
    )
    async with serving([spec], tls_dir=None, throttle=throttle) as store:
        store.bulk(DOMAIN).switches.seconds = 0.0
        addresses = {DOMAIN: store.base_url(DOMAIN)} | ({files_host: store.url} if files_host else {})
        async with open_http(
            HttpConfig(tls=tls.client_context(), endpoints=Endpoints.of(addresses)),
            HttpDependencies(sleep=_no_sleep),
        ) as http:
            keys = DevstoreCredentials(store.credentials(DOMAIN))
            delay = timedelta(milliseconds=5)
            yield BulkShop(
                store,
                ShopifyPlatform(http, keys, _clock, retry_delay=delay, bulk_policy=policy, strategy=strategy),
                ShopifyPlatform(http, keys, _clock, retry_delay=delay, bulk_policy=NEVER_BULK),
            )


def _clock() -> datetime:
    return datetime.now(UTC)


async def _no_sleep(_: timedelta) -> None: ...
