"""A shop of the devstore whose catalog is read by bulk operations, and by pages to compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.caller import HttpDependencies
from connector_svc.http.client import open_http
from connector_svc.http.config import HttpConfig
from connector_svc.http.endpoints import Endpoints
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.bulk_policy import BulkPolicy
from connector_svc.platforms.shopify.wanted import Wanted
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import Plan, ShopSpec, VariantRange
from tests import tls
from tests.contract.platforms.passes import Pass

DOMAIN = "large.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
QUICK = BulkPolicy(
    from_products=1,
    first_poll=timedelta(milliseconds=10),
    slowest_poll=timedelta(milliseconds=20),
    stalled_after=timedelta(milliseconds=300),
    cancel_within=timedelta(seconds=2),
)
NEVER = BulkPolicy(from_products=10**9, from_products_when_fast=10**9)


@dataclass(frozen=True)
class Keys:
    """The devstore's own credentials."""

    values: Mapping[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class BulkShop:
    """The store, and our platform over it."""

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

    def asked(self, operation: str) -> int:
        """How often the shop was asked this."""
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
        """A pass to its end, or until so many batches came."""
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
        """What pages deliver."""
        return await self.fetch(platform=self.pages)


@asynccontextmanager
async def bulk_shop(
    products: int = 40,
    *,
    edge_cases: bool = True,
    variants: VariantRange | None = None,
    policy: BulkPolicy = QUICK,
    wanted: Wanted = Wanted.AUTO,
    plan: Plan = Plan.STANDARD,
    throttle: bool = False,
    files_host: str = "",
) -> AsyncIterator[BulkShop]:
    """A shop that answers at once; `files_host` is called at the store."""
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
            HttpConfig(tls=tls.context(), endpoints=Endpoints.of(addresses)), HttpDependencies(sleep=_at_once)
        ) as http:
            keys = Keys(store.credentials(DOMAIN))
            pause = timedelta(milliseconds=5)
            yield BulkShop(
                store,
                ShopifyPlatform(http, keys, _clock, pause=pause, bulk=policy, wanted=wanted),
                ShopifyPlatform(http, keys, _clock, pause=pause, bulk=NEVER),
            )


def _clock() -> datetime:
    return datetime.now(UTC)


async def _at_once(_: timedelta) -> None: ...
