"""Tokens that end, against a devstore that hands them out and lets them expire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.credentials.shopify_tokens import ShopifyTokens
from connector_svc.domain.errors import SourceUnauthorized
from connector_svc.domain.fetch import Batch, End, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import HttpConfig
from connector_svc.http.endpoints import Endpoints
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.shopify.oauth import PATH
from devstore.spec import ShopSpec
from tests import tls

DOMAIN = "demo.myshopify.com"
SHOP = Shop("shopify", DOMAIN)


@dataclass
class Kept:
    """What an operator wrote down, or the Token Service knows."""

    values: dict[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


@dataclass
class App:
    """An app that was not given any token that lasts."""

    store: RunningStore
    http: OutboundHttp
    kept: Kept
    clock: Clock = field(default_factory=Clock)

    @property
    def granted(self) -> int:
        return self.store.shopify(DOMAIN).oauth.granted

    def tokens(self) -> ShopifyTokens:
        return ShopifyTokens(self.kept, self.http, self.clock)


@asynccontextmanager
async def app(products: int = 10) -> AsyncIterator[App]:
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=False)
    async with serving([spec], tls_dir=None, throttle=False) as store:
        store.shopify(DOMAIN).quirks.static_token_works = False
        retry = RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=1))
        config = HttpConfig(
            tls=tls.context(), endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}), retry=retry
        )
        async with open_http(config) as http:
            oauth = store.shopify(DOMAIN).oauth
            kept = Kept({"client_id": oauth.client_id, "client_secret": oauth.client_secret})
            yield App(store, http, kept)


async def test_an_app_of_the_same_organisation_is_granted_one_token_for_a_whole_pass() -> None:
    async with app() as one:
        platform = ShopifyPlatform(one.http, one.tokens(), one.clock)
        assert (await platform.check(SHOP)).product_count == 10
        assert await products_of(platform) == 10
        assert one.granted == 1


async def test_a_token_that_ends_in_the_middle_of_a_pass_never_fails_it() -> None:
    async with app(30) as one:
        platform = ShopifyPlatform(one.http, one.tokens(), one.clock)
        oauth = one.store.shopify(DOMAIN).oauth
        assert await products_of(platform, batch=3, between=oauth.expire_all) == 30
        assert one.granted > 3
        assert one.store.requests(DOMAIN).by_status[401] >= 3


async def test_a_token_is_renewed_before_it_ends_so_that_no_call_meets_a_dead_one() -> None:
    async with app() as one:
        tokens = one.tokens()
        first = await tokens.credentials(SHOP)
        one.clock.now += timedelta(hours=23, minutes=54)
        assert await tokens.credentials(SHOP) == first
        one.clock.now += timedelta(minutes=2)
        assert await tokens.credentials(SHOP) != first
        assert one.granted == 2


async def test_many_who_need_a_token_of_a_shop_get_one_and_the_same() -> None:
    async with app() as one:
        tokens = one.tokens()
        found = await asyncio.gather(*(tokens.credentials(SHOP) for _ in range(20)))
        renewed = await asyncio.gather(*(tokens.credentials(SHOP, refused=found[0]) for _ in range(20)))
        assert one.granted == 2
    assert found == [found[0]] * 20
    assert renewed == [renewed[0]] * 20


async def test_a_refresh_token_of_the_token_service_is_never_used_up() -> None:
    async with app() as one:
        one.kept.values["refresh_token"] = one.store.shopify(DOMAIN).oauth.refresh_token
        for _restart in range(3):
            tokens = one.tokens()
            refused = None
            for _renewal in range(3):
                refused = await tokens.credentials(SHOP, refused=refused)
                assert await products_of(ShopifyPlatform(one.http, tokens, one.clock)) == 10
        assert one.granted == 9


async def test_a_token_that_came_along_is_used_until_its_end_is_near() -> None:
    async with app() as one:
        end = one.clock.now + timedelta(minutes=60)
        one.kept.values |= {"access_token": "shpat_given", "expires_at": end.isoformat()}
        tokens = one.tokens()
        assert (await tokens.credentials(SHOP))["access_token"] == Secret("shpat_given")
        assert one.granted == 0
        one.clock.now += timedelta(minutes=56)
        assert (await tokens.credentials(SHOP))["access_token"] != Secret("shpat_given")
        assert one.granted == 1


async def test_a_token_is_used_on_while_the_shop_hands_out_no_new_one() -> None:
    async def down(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if request.path.endswith(PATH) else None

    async with app() as one:
        tokens = one.tokens()
        first = await tokens.credentials(SHOP)
        one.store.add_fault(DOMAIN, down)
        one.clock.now += timedelta(hours=23, minutes=56)
        assert await tokens.credentials(SHOP) == first
        one.store.clear_faults(DOMAIN)
        assert await tokens.credentials(SHOP) != first


@pytest.mark.parametrize("name", ["client_secret", "refresh_token"])
async def test_a_secret_that_shopify_does_not_accept_is_the_merchants_to_renew_and_shows_itself_nowhere(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with app() as one:
        good = dict(one.kept.values)
        one.kept.values[name] = "hunter2-secret"
        with pytest.raises(SourceUnauthorized) as caught:
            await one.tokens().credentials(SHOP)
        one.kept.values = good
        granted = await one.tokens().credentials(SHOP)
    assert caught.value.reason == "SOURCE_UNAUTHORIZED"
    said = f"{caught.value} {caught.value.metadata} {caplog.text} {granted}"
    for secret in ("hunter2", good["client_secret"], granted["access_token"].reveal()):
        assert secret not in said


async def products_of(
    platform: ShopifyPlatform, *, batch: int = 250, between: Callable[[], None] | None = None
) -> int:
    """How many products a whole pass delivers; `between` its batches something happens."""
    request = FetchRequest(shop=SHOP, max_batch_products=batch)
    count = 0
    async with aclosing(platform.fetch(request, on_wait=lambda _: None)) as events:
        async for event in events:
            if isinstance(event, Batch):
                count += len(event.products)
                if between:
                    between()
            last = event
    assert isinstance(last, End)
    return count
