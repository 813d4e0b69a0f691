from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from yarl import URL

from connector_svc.credentials.providers import CredentialsChain
from connector_svc.credentials.token_service import TokenServiceConfig, TokenServiceCredentials
from connector_svc.domain.errors import CredentialsNotFound, TokenServiceUnavailable
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Credentials, CredentialsProvider, Secret
from connector_svc.platforms.webhooks import webhook_secrets
from tests.fakes.shop_server import FakeEnvironment, ShopServer, serving, status
from tests.waiting import until_stable

SHOP = Shop("shopify", "demo.myshopify.com")


@dataclass(slots=True)
class TokenService:
    """A fake Token Service; counts concurrent requests."""

    server: ShopServer
    tokens: dict[str, dict[str, object]] = field(default_factory=dict)
    concurrent: int = 0
    max_concurrent: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        await until_stable(lambda: self.concurrent)
        self.concurrent -= 1
        found = self.tokens.get(request.path)
        if found is None:
            return web.json_response({"error": "unknown"}, status=404)
        return web.json_response({"data": found})


@dataclass(slots=True)
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def service() -> AsyncIterator[TokenService]:
    async with serving() as server:
        service = TokenService(server)
        service.tokens["/pre/api/v1/tokens/shopify/demo.myshopify.com"] = {"access_token": "shpat_1 "}
        server.answers(service.answer)
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider(service: TokenService, clock: Clock) -> AsyncIterator[TokenServiceCredentials]:
    config = TokenServiceConfig(
        base_url=URL(f"{service.server.url}/pre"),
        secret=Secret("s3cret"),
        max_cached_shops=2,
        retry=RetryPolicy(attempts=3),
    )
    async with open_http(None, FakeEnvironment().dependencies()) as http:
        yield TokenServiceCredentials(config, http.services, clock=clock)


async def test_the_token_of_a_shop_is_requested_with_our_secret(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    assert await provider.credentials(SHOP) == {"access_token": Secret("shpat_1")}
    assert service.server.requests[0].headers["Authorization"] == "Bearer s3cret"


async def test_every_key_of_the_answer_is_returned(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    service.tokens["/pre/api/v1/tokens/woocommerce/a.example"] = {"consumer_key": "ck", "consumer_secret": "cs"}
    found = await provider.credentials(Shop("woocommerce", "a.example"))
    assert found == {"consumer_key": Secret("ck"), "consumer_secret": Secret("cs")}


async def test_an_answer_is_cached_for_five_minutes(
    provider: TokenServiceCredentials, service: TokenService, clock: Clock
) -> None:
    await provider.credentials(SHOP)
    clock.now = 299
    await provider.credentials(SHOP)
    assert len(service.server.requests) == 1
    clock.now = 301
    await provider.credentials(SHOP)
    assert len(service.server.requests) == 2


async def test_a_refused_token_is_requested_again_and_never_returned_from_the_cache(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    refused = await provider.credentials(SHOP)
    assert await provider.credentials(SHOP, refused=refused) == refused
    service.tokens["/pre/api/v1/tokens/shopify/demo.myshopify.com"] = {"access_token": "shpat_2"}
    assert await provider.credentials(SHOP) == {"access_token": Secret("shpat_2")}
    assert await provider.credentials(SHOP, refused=refused) == {"access_token": Secret("shpat_2")}
    assert len(service.server.requests) == 3


async def test_a_token_that_expires_is_requested_again_a_minute_before(
    service: TokenService, clock: Clock
) -> None:
    today = datetime(2026, 11, 20, 12, tzinfo=UTC)
    service.tokens["/pre/api/v1/tokens/shopify/demo.myshopify.com"] = {
        "access_token": "shpat_1",
        "refresh_token": "shprt_1",
        "expires_at": "2026-11-20T12:03:00Z",
    }
    config = TokenServiceConfig(base_url=URL(f"{service.server.url}/pre"))
    async with open_http(None, FakeEnvironment().dependencies()) as http:
        provider = TokenServiceCredentials(config, http.services, clock=clock, now=lambda: today)
        found = await provider.credentials(SHOP)
        assert found["expires_at"] == Secret("2026-11-20T12:03:00+00:00")
        clock.now = 119
        await provider.credentials(SHOP)
        assert len(service.server.requests) == 1
        clock.now = 121
        await provider.credentials(SHOP)
        assert len(service.server.requests) == 2


async def test_while_the_service_is_down_its_last_answer_is_returned_unless_the_shop_refused_it(
    provider: TokenServiceCredentials, service: TokenService, clock: Clock
) -> None:
    first = await provider.credentials(SHOP)
    service.server.answers(status(503))
    clock.now = 301
    assert await provider.credentials(SHOP) == first
    asked = len(service.server.requests)
    assert await provider.credentials(SHOP) == first
    assert len(service.server.requests) == asked, "the service is not asked by every call of a pass"
    with pytest.raises(TokenServiceUnavailable):
        await provider.credentials(SHOP, refused=first)
    service.server.answers(service.answer)
    clock.now = 335
    await provider.credentials(SHOP)
    assert len(service.server.requests) > asked


async def test_concurrent_callers_for_one_shop_send_one_request(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    await asyncio.gather(*(provider.credentials(SHOP) for _ in range(20)))
    assert len(service.server.requests) == 1


async def test_shops_do_not_wait_for_each_other(provider: TokenServiceCredentials, service: TokenService) -> None:
    shops = [Shop("shopify", f"{number}.myshopify.com") for number in range(4)]
    await asyncio.gather(*(provider.credentials(shop) for shop in shops), return_exceptions=True)
    assert service.max_concurrent > 1


async def test_the_cache_is_bounded(provider: TokenServiceCredentials, service: TokenService) -> None:
    for name in "abca":
        service.tokens[f"/pre/api/v1/tokens/shopify/{name}"] = {"access_token": name}
        await provider.credentials(Shop("shopify", name))
    assert len(service.server.requests) == 4


async def test_a_shop_that_the_service_does_not_know_has_no_credentials(provider: TokenServiceCredentials) -> None:
    with pytest.raises(CredentialsNotFound):
        await provider.credentials(Shop("shopify", "unknown.myshopify.com"))


@pytest.mark.parametrize(
    ("code", "body", "attempts"),
    [
        (500, "", 3),
        (503, "", 3),
        (401, "", 1),
        (302, "", 1),
        (200, "<html>", 1),
        (200, "[]", 1),
        (200, json.dumps({"data": {}}), 1),
        (200, json.dumps({"data": {"access_token": None}}), 1),
        (200, json.dumps({"data": "shpat_9"}), 1),
    ],
)
async def test_a_service_with_unusable_answers_is_unavailable(
    provider: TokenServiceCredentials, service: TokenService, code: int, body: str, attempts: int
) -> None:
    service.server.answers(status(code, body))
    with pytest.raises(TokenServiceUnavailable) as caught:
        await provider.credentials(SHOP)
    assert len(service.server.requests) == attempts
    assert "shpat_9" not in str(caught.value)
    assert "localhost" not in str(caught.value)


async def test_retry_after_of_the_service_is_passed_on(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    service.server.answers(status(503, Retry_After="120"))
    with pytest.raises(TokenServiceUnavailable) as caught:
        await provider.credentials(SHOP)
    assert caught.value.retry_after == timedelta(minutes=2)


async def test_webhook_secrets_are_a_list(provider: TokenServiceCredentials, service: TokenService) -> None:
    service.tokens["/pre/api/v1/tokens/shopify/demo.myshopify.com"] = {
        "access_token": "shpat_1",
        "webhook_secrets": ["new", "old"],
    }
    assert webhook_secrets(await provider.credentials(SHOP)) == (Secret("new"), Secret("old"))


@pytest.mark.parametrize("value", [None, []])
async def test_a_shop_may_have_no_webhook_secrets(
    provider: TokenServiceCredentials, service: TokenService, value: object
) -> None:
    body = json.dumps({"data": {"access_token": "shpat_1", "webhook_secrets": value}})
    service.server.answers(status(200, body))
    assert await provider.credentials(SHOP) == {"access_token": Secret("shpat_1")}


@pytest.mark.parametrize(
    "value", ["shpss_9", ["shpss_9", 5], ["shpss_9", ""], ["shpss_9", "2", "3"], ["shpss_9\r1"]]
)
async def test_unusable_webhook_secrets_are_an_unusable_answer_and_not_quoted(
    provider: TokenServiceCredentials, service: TokenService, value: object
) -> None:
    body = json.dumps({"data": {"access_token": "shpat_1", "webhook_secrets": value}})
    service.server.answers(status(200, body))
    with pytest.raises(TokenServiceUnavailable) as caught:
        await provider.credentials(SHOP)
    assert "shpss_9" not in str(caught.value)


class Known(CredentialsProvider):
    """Knows the given shops."""

    def __init__(self, **tokens: str) -> None:
        self.tokens = tokens

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        if shop.domain not in self.tokens:
            raise CredentialsNotFound(shop)
        return {"access_token": Secret(self.tokens[shop.domain])}


async def test_the_first_provider_that_knows_a_shop_decides() -> None:
    provider = CredentialsChain(Known(a="1"), Known(a="2", b="3"))
    assert await provider.credentials(Shop("x", "a")) == {"access_token": Secret("1")}
    assert await provider.credentials(Shop("x", "b")) == {"access_token": Secret("3")}
    with pytest.raises(CredentialsNotFound):
        await provider.credentials(Shop("x", "c"))


async def test_a_provider_that_is_down_is_not_skipped(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    service.server.answers(status(500))
    with pytest.raises(TokenServiceUnavailable):
        await CredentialsChain(Known(), provider, Known(**{SHOP.domain: "1"})).credentials(SHOP)


async def test_a_credential_that_cannot_be_sent_in_a_header_is_an_unusable_answer(
    provider: TokenServiceCredentials, service: TokenService
) -> None:
    service.tokens["/pre/api/v1/tokens/shopify/demo.myshopify.com"] = {"access_token": "a\r\nX-Other: b"}
    with pytest.raises(TokenServiceUnavailable, match="control character"):
        await provider.credentials(SHOP)
