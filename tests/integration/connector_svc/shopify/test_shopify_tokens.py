"""Access tokens that expire, against a devstore that grants them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.credentials.providers import RenewingCredentials
from connector_svc.domain.errors import SourceUnauthorized
from connector_svc.domain.fetch import Batch, End, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.access_token import ShopifyTokenExchange
from devstore.catalog.model import Platform
from devstore.server import RunningStore, serving
from devstore.shopify.oauth import PATH
from devstore.spec import ShopSpec
from tests import tls

DOMAIN = "demo.myshopify.com"
SHOP = Shop("shopify", DOMAIN)


@dataclass
class StaticCredentials:
    """The credentials of an operator or of the Token Service."""

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
    """An app without a permanent token."""

    store: RunningStore
    http: OutboundHttp
    static: StaticCredentials
    clock: Clock = field(default_factory=Clock)

    @property
    def granted(self) -> int:
        return self.store.shopify(DOMAIN).oauth.granted

    def tokens(self) -> RenewingCredentials:
        return RenewingCredentials(self.static, self.http, self.clock, {"shopify": ShopifyTokenExchange()})


@asynccontextmanager
async def app(products: int = 10) -> AsyncIterator[App]:
    spec = ShopSpec(platform=Platform.SHOPIFY, domain=DOMAIN, products=products, edge_cases=False)
    async with serving([spec], tls_dir=None, throttle=False) as store:
        store.shopify(DOMAIN).quirks.static_token_works = False
        retry = RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=1))
        config = HttpConfig(
            tls=tls.client_context(), endpoints=Endpoints.of({DOMAIN: store.base_url(DOMAIN)}), retry=retry
        )
        async with open_http(config) as http:
            oauth = store.shopify(DOMAIN).oauth
            static = StaticCredentials({"client_id": oauth.client_id, "client_secret": oauth.client_secret})
            yield App(store, http, static)


async def test_an_app_of_the_same_organisation_is_granted_one_token_per_pass() -> None:
    async with app() as one:
        platform = ShopifyPlatform(one.http, one.tokens(), one.clock)
        assert (await platform.check(SHOP)).product_count == 10
        assert await products_of(platform) == 10
        assert one.granted == 1


async def test_a_token_that_expires_during_a_pass_never_fails_it() -> None:
    async with app(30) as one:
        platform = ShopifyPlatform(one.http, one.tokens(), one.clock)
        oauth = one.store.shopify(DOMAIN).oauth
        assert await products_of(platform, batch=3, between=oauth.expire_all) == 30
        assert one.granted > 3
        assert one.store.requests(DOMAIN).by_status[401] >= 3


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with app() as one:
        tokens = one.tokens()
        first = await tokens.credentials(SHOP)
        one.clock.now += timedelta(hours=23, minutes=54)
        assert await tokens.credentials(SHOP) == first
        one.clock.now += timedelta(minutes=2)
        assert await tokens.credentials(SHOP) != first
        assert one.granted == 2


async def test_concurrent_requests_for_a_token_of_one_shop_share_one_token() -> None:
    async with app() as one:
        tokens = one.tokens()
        found = await asyncio.gather(*(tokens.credentials(SHOP) for _ in range(20)))
        renewed = await asyncio.gather(*(tokens.credentials(SHOP, refused=found[0]) for _ in range(20)))
        assert one.granted == 2
    assert found == [found[0]] * 20
    assert renewed == [renewed[0]] * 20


async def test_a_refresh_token_of_the_token_service_can_be_used_repeatedly() -> None:
    async with app() as one:
        one.static.values["refresh_token"] = one.store.shopify(DOMAIN).oauth.refresh_token
        for _restart in range(3):
            tokens = one.tokens()
            refused = None
            for _renewal in range(3):
                refused = await tokens.credentials(SHOP, refused=refused)
                assert await products_of(ShopifyPlatform(one.http, tokens, one.clock)) == 10
        assert one.granted == 9


async def test_a_token_in_the_credentials_is_used_until_shortly_before_it_expires() -> None:
    async with app() as one:
        end = one.clock.now + timedelta(minutes=60)
        one.static.values |= {"access_token": "shpat_given", "expires_at": end.isoformat()}
        tokens = one.tokens()
        assert (await tokens.credentials(SHOP))["access_token"] == Secret("shpat_given")
        assert one.granted == 0
        one.clock.now += timedelta(minutes=56)
        assert (await tokens.credentials(SHOP))["access_token"] != Secret("shpat_given")
        assert one.granted == 1


async def test_a_token_remains_in_use_while_the_shop_grants_no_new_one() -> None:
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
async def test_a_secret_that_shopify_rejects_fails_as_unauthorized_and_never_appears_in_messages(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with app() as one:
        good = dict(one.static.values)
        one.static.values[name] = "hunter2-secret"
        with pytest.raises(SourceUnauthorized) as caught:
            await one.tokens().credentials(SHOP)
        one.static.values = good
        granted = await one.tokens().credentials(SHOP)
    assert caught.value.reason == "SOURCE_UNAUTHORIZED"
    said = f"{caught.value} {caught.value.metadata} {caplog.text} {granted}"
    for secret in ("hunter2", good["client_secret"], granted["access_token"].reveal()):
        assert secret not in said


async def products_of(
    platform: ShopifyPlatform, *, batch: int = 250, between: Callable[[], None] | None = None
) -> int:
    """Return the number of products of a full pass; `between` is called after each batch."""
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
