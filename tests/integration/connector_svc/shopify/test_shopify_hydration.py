"""Hydration by ids compared with pages of products, over the same devstore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.domain.fetch import Wait
from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydration import HydratedPages
from connector_svc.platforms.shopify.pages import PageCursor, ProductPages
from connector_svc.platforms.shopify.parse import Record
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec, VariantRange
from tests import tls
from tests.waiting import until_stable

DOMAIN = "demo.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
RETRY_DELAY = timedelta(milliseconds=5)
ONE_OR_TWO = VariantRange(least=1, most=2)


@dataclass
class DevstoreCredentials:
    values: dict[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class DevstoreReader:
    store: RunningStore
    client: ShopifyClient
    waits: list[Wait] = field(default_factory=list)

    async def read(
        self, pages_type: type[ProductPages] | type[HydratedPages], cursor: PageCursor, page_size: int = 250
    ) -> list[list[Record]]:
        reader = pages_type(self.client, inventory=True, max_page_size=page_size, retry_delay=RETRY_DELAY)
        async with aclosing(reader.read_from(cursor)) as pages:
            return [list(page.records) async for page in pages]

    def count(self, operation: str) -> int:
        return self.store.requests(DOMAIN).by_operation[operation]


@asynccontextmanager
async def reading(
    products: int, *, edge_cases: bool = False, throttle: bool = False, variants: VariantRange | None = ONE_OR_TWO
) -> AsyncIterator[DevstoreReader]:
    spec = ShopSpec(
        platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=edge_cases, variants=variants
    )
    async with serving([spec], tls_dir=None, throttle=throttle) as store, http_to(store) as http:
        waits: list[Wait] = []
        client = ShopifyClient(
            SHOP,
            http=http.to_shop(SHOP),
            credentials=DevstoreCredentials(store.credentials(DOMAIN)),
            clock=lambda: datetime.now(UTC),
            on_wait=waits.append,
        )
        yield DevstoreReader(store, client, waits)


def http_to(store: RunningStore) -> AbstractAsyncContextManager[OutboundHttp]:
    return open_http(
        HttpConfig(tls=tls.client_context(), endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}))
    )


def flatten(pages: list[list[Record]]) -> list[Record]:
    return [record for page in pages for record in page]


async def test_pages_and_hydration_deliver_the_same_records_in_the_same_order() -> None:
    async with reading(60, edge_cases=True, variants=None) as shop:
        paged = await shop.read(ProductPages, PageCursor(None), page_size=7)
        hydrated = await shop.read(HydratedPages, PageCursor(None), page_size=7)
        assert shop.count("ProductsById") == 9
    products = [record.product for record in flatten(hydrated)]
    assert products == [record.product for record in flatten(paged)]
    assert [record.issues for record in flatten(hydrated)] == [record.issues for record in flatten(paged)]
    assert max(len(product.variants) for product in products if product) == 600


async def test_hydration_obeys_search_filters_as_pages_do() -> None:
    async with reading(20) as shop:
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        found = flatten(await shop.read(HydratedPages, PageCursor(f"id:>{ids[11]}"), page_size=3))
    assert [int(record.product_id) for record in found] == ids[12:]


async def test_a_product_deleted_between_listing_and_hydration_is_left_out() -> None:
    async with reading(12) as shop:
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        shop.store.shopify(DOMAIN).quirks.vanished |= {ids[0], ids[5]}
        found = flatten(await shop.read(HydratedPages, PageCursor(None), page_size=4))
    assert [int(record.product_id) for record in found] == [one for one in ids if one not in (ids[0], ids[5])]


async def test_hydration_costs_a_fraction_of_the_points_of_pages() -> None:
    async with reading(500, throttle=True) as shop:
        traffic = shop.store.requests(DOMAIN)
        await shop.read(HydratedPages, PageCursor(None))
        hydrated = traffic.points
        traffic.reset()
        await shop.read(ProductPages, PageCursor(None))
    assert hydrated * 4 < traffic.points


@pytest.mark.parametrize("page_size", [250, 5])
async def test_when_ids_are_charged_one_by_one_pages_are_read_instead(page_size: int) -> None:
    """250 ids exceed the maximum cost; 5 ids are answered, but cost more than a page."""
    async with reading(40) as shop:
        shop.store.shopify(DOMAIN).quirks.nodes_charged_per_id = True
        found = flatten(await shop.read(HydratedPages, PageCursor(None), page_size=page_size))
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        assert [int(record.product_id) for record in found] == ids
        assert shop.count("ProductsById") == 1
        assert shop.count("ProductPage") >= 1


async def test_when_hydration_becomes_too_expensive_during_a_pass_nothing_is_lost_or_read_twice() -> None:
    async with reading(60) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        reader = HydratedPages(shop.client, inventory=True, max_page_size=10, retry_delay=RETRY_DELAY)
        found: list[Record] = []
        async with aclosing(reader.read_from(PageCursor(None))) as pages:
            async for page in pages:
                found += page.records
                quirks.nodes_charged_per_id = True
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        assert not reader.is_cheaper
    assert [int(record.product_id) for record in found] == ids


async def test_at_most_three_pages_are_hydrated_concurrently() -> None:
    running = highest = 0

    async def respond_slowly(request: web.Request) -> None:
        nonlocal running, highest
        if b"ProductsById" in await request.read():
            running += 1
            highest = max(highest, running)
            await until_stable(lambda: running)
            running -= 1

    async with reading(80) as shop:
        shop.store.add_fault(DOMAIN, respond_slowly)
        found = flatten(await shop.read(HydratedPages, PageCursor(None), page_size=10))
    assert highest == 3
    assert [record.product_id for record in found] == sorted(record.product_id for record in found)


async def test_closing_the_generator_cancels_the_prefetches() -> None:
    async with reading(80) as shop:
        reader = HydratedPages(shop.client, inventory=True, max_page_size=10, retry_delay=RETRY_DELAY)
        async with aclosing(reader.read_from(PageCursor(None))) as pages:
            assert len((await anext(pages)).records) == 10
        assert await until_stable(lambda: shop.count("ProductsById")) < 8


async def test_a_page_that_cannot_be_served_is_hydrated_in_halves() -> None:
    sizes: list[int] = []

    async def fail_large(request: web.Request) -> web.StreamResponse | None:
        body = await request.json()
        if "ids" not in body["variables"]:
            return None
        sizes.append(len(body["variables"]["ids"]))
        if sizes[-1] <= 3:
            return None
        failure = {"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}
        return web.json_response(failure, headers={"X-Shopify-API-Version": "2026-10"})

    async with reading(10) as shop:
        shop.store.add_fault(DOMAIN, fail_large)
        found = flatten(await shop.read(HydratedPages, PageCursor(None), page_size=8))
    assert len(found) == 10
    assert sizes[:3] == [8, 4, 2]
