"""Sweep and hydrate against pages, over the same devstore."""

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
from connector_svc.http.config import HttpConfig
from connector_svc.http.endpoints import Endpoints
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.hydration import Hydration
from connector_svc.platforms.shopify.pages import Pages, Place
from connector_svc.platforms.shopify.record import Record
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec, VariantRange
from tests import tls
from tests.waiting import settled

DOMAIN = "demo.myshopify.com"
SHOP = Shop("shopify", DOMAIN)
PAUSE = timedelta(milliseconds=5)
ONE_OR_TWO = VariantRange(least=1, most=2)


@dataclass
class Keys:
    values: dict[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class Read:
    store: RunningStore
    client: ShopifyClient
    waits: list[Wait] = field(default_factory=list)

    async def by(self, way: type[Pages] | type[Hydration], place: Place, largest: int = 250) -> list[list[Record]]:
        reader = way(self.client, inventory=True, largest=largest, pause=PAUSE)
        async with aclosing(reader.from_place(place)) as pages:
            return [list(page.records) async for page in pages]

    def count(self, operation: str) -> int:
        return self.store.requests(DOMAIN).by_operation[operation]


@asynccontextmanager
async def reading(
    products: int, *, edge_cases: bool = False, throttle: bool = False, variants: VariantRange | None = ONE_OR_TWO
) -> AsyncIterator[Read]:
    spec = ShopSpec(
        platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=edge_cases, variants=variants
    )
    async with serving([spec], tls_dir=None, throttle=throttle) as store, http_to(store) as http:
        waits: list[Wait] = []
        client = ShopifyClient(
            SHOP,
            http=http.to_shop(SHOP),
            credentials=Keys(store.credentials(DOMAIN)),
            clock=lambda: datetime.now(UTC),
            on_wait=waits.append,
        )
        yield Read(store, client, waits)


def http_to(store: RunningStore) -> AbstractAsyncContextManager[OutboundHttp]:
    return open_http(HttpConfig(tls=tls.context(), endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)})))


def flat(pages: list[list[Record]]) -> list[Record]:
    return [record for page in pages for record in page]


async def test_both_ways_give_the_same_records_in_the_same_order_difficult_products_included() -> None:
    async with reading(60, edge_cases=True, variants=None) as shop:
        paged = await shop.by(Pages, Place(None), largest=7)
        hydrated = await shop.by(Hydration, Place(None), largest=7)
        assert shop.count("ProductsById") == 9
    products = [record.product for record in flat(hydrated)]
    assert products == [record.product for record in flat(paged)]
    assert [record.issues for record in flat(hydrated)] == [record.issues for record in flat(paged)]
    assert max(len(product.variants) for product in products if product) == 600


async def test_a_search_and_a_place_mean_the_same_as_for_pages() -> None:
    async with reading(20) as shop:
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        found = flat(await shop.by(Hydration, Place(f"id:>{ids[11]}"), largest=3))
    assert [int(record.product_id) for record in found] == ids[12:]


async def test_a_product_that_vanished_between_the_two_replies_is_left_out() -> None:
    async with reading(12) as shop:
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        shop.store.shopify(DOMAIN).quirks.vanished |= {ids[0], ids[5]}
        found = flat(await shop.by(Hydration, Place(None), largest=4))
    assert [int(record.product_id) for record in found] == [one for one in ids if one not in (ids[0], ids[5])]


async def test_it_asks_for_a_fraction_of_the_points() -> None:
    async with reading(500, throttle=True) as shop:
        traffic = shop.store.requests(DOMAIN)
        await shop.by(Hydration, Place(None))
        hydrated = traffic.points
        traffic.reset()
        await shop.by(Pages, Place(None))
    assert hydrated * 4 < traffic.points


@pytest.mark.parametrize("largest", [250, 5])
async def test_when_ids_are_charged_one_by_one_pages_are_read_instead(largest: int) -> None:
    """Refused as too dear at 250 ids; dearer than a page, but answered, at 5."""
    async with reading(40) as shop:
        shop.store.shopify(DOMAIN).quirks.nodes_charged_per_id = True
        found = flat(await shop.by(Hydration, Place(None), largest=largest))
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        assert [int(record.product_id) for record in found] == ids
        assert shop.count("ProductsById") == 1
        assert shop.count("ProductPage") >= 1


async def test_when_it_stops_to_pay_in_the_middle_nothing_is_lost_or_read_twice() -> None:
    async with reading(60) as shop:
        quirks = shop.store.shopify(DOMAIN).quirks
        reader = Hydration(shop.client, inventory=True, largest=10, pause=PAUSE)
        found: list[Record] = []
        async with aclosing(reader.from_place(Place(None))) as pages:
            async for page in pages:
                found += page.records
                quirks.nodes_charged_per_id = True
        ids = [product.id for product in shop.store.catalog(DOMAIN).products()]
        assert not reader.pays
    assert [int(record.product_id) for record in found] == ids


async def test_three_pages_are_read_at_once_and_no_more() -> None:
    running = most = 0

    async def slowly(request: web.Request) -> None:
        nonlocal running, most
        if b"ProductsById" in await request.read():
            running += 1
            most = max(most, running)
            await settled(lambda: running)
            running -= 1

    async with reading(80) as shop:
        shop.store.add_fault(DOMAIN, slowly)
        found = flat(await shop.by(Hydration, Place(None), largest=10))
    assert most == 3
    assert [record.product_id for record in found] == sorted(record.product_id for record in found)


async def test_closing_it_ends_what_was_loaded_ahead() -> None:
    async with reading(80) as shop:
        reader = Hydration(shop.client, inventory=True, largest=10, pause=PAUSE)
        async with aclosing(reader.from_place(Place(None))) as pages:
            assert len((await anext(pages)).records) == 10
        assert await settled(lambda: shop.count("ProductsById")) < 8


async def test_a_page_that_cannot_be_served_is_hydrated_in_halves() -> None:
    sizes: list[int] = []

    async def fail_large(request: web.Request) -> web.StreamResponse | None:
        asked = await request.json()
        if "ids" not in asked["variables"]:
            return None
        sizes.append(len(asked["variables"]["ids"]))
        if sizes[-1] <= 3:
            return None
        failure = {"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}
        return web.json_response(failure, headers={"X-Shopify-API-Version": "2026-10"})

    async with reading(10) as shop:
        shop.store.add_fault(DOMAIN, fail_large)
        found = flat(await shop.by(Hydration, Place(None), largest=8))
    assert len(found) == 10
    assert sizes[:3] == [8, 4, 2]
