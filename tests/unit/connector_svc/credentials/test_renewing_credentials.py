"""Access tokens of any platform with a token exchange are cached, and renewed before they expire."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from connector_svc.credentials.providers import RenewingCredentials
from connector_svc.domain.errors import SourceUnreachable
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.platforms.base import AccessToken, Credentials, HttpFactory, Secret

SHOP = Shop("oauth", "a.example")


@dataclass
class Stored:
    """Always the same credentials."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"app": Secret("key")}


@dataclass
class NumberedTokens:
    """A `TokenExchange` whose tokens are numbered and live for an hour."""

    requested: int = 0
    is_down: bool = False

    def applies_to(self, stored: Credentials) -> bool:
        return "app" in stored

    async def request_token(self, shop: Shop, http: HttpFactory, stored: Credentials) -> AccessToken:
        if self.is_down:
            raise SourceUnreachable(shop)
        self.requested += 1
        return AccessToken(credentials={"token": Secret(str(self.requested))}, lifetime=timedelta(hours=1))


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now


async def test_a_token_is_cached_and_renewed_five_minutes_before_it_expires() -> None:
    clock, exchange = Clock(), NumberedTokens()
    async with open_http() as http:
        provider = RenewingCredentials(Stored(), http, clock, {"oauth": exchange})
        first = await provider.credentials(SHOP)
        clock.now += timedelta(minutes=54)
        assert await provider.credentials(SHOP) == first == {"token": Secret("1")}
        clock.now += timedelta(minutes=1)
        assert await provider.credentials(SHOP) == {"token": Secret("2")}


async def test_a_token_is_used_until_it_expires_while_it_cannot_be_renewed() -> None:
    clock, exchange = Clock(), NumberedTokens()
    async with open_http() as http:
        provider = RenewingCredentials(Stored(), http, clock, {"oauth": exchange})
        first = await provider.credentials(SHOP)
        exchange.is_down = True
        clock.now += timedelta(minutes=59)
        assert await provider.credentials(SHOP) == first
        clock.now += timedelta(minutes=1)
        with pytest.raises(SourceUnreachable):
            await provider.credentials(SHOP)


async def test_credentials_of_a_platform_without_token_exchange_are_returned_unchanged() -> None:
    exchange = NumberedTokens()
    async with open_http() as http:
        provider = RenewingCredentials(Stored(), http, Clock(), {"oauth": exchange})
        assert await provider.credentials(Shop("keys", "a.example")) == {"app": Secret("key")}
    assert exchange.requested == 0
