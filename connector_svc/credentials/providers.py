"""Credentials providers that wrap others: the chain of several, and the renewal of access tokens that expire."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceRateLimited,
    SourceUnauthorized,
    SourceUnreachable,
    TokenServiceUnavailable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpFactory, TokenExchange

_log = logging.getLogger(__name__)

_MAX_CACHED_SHOPS: Final = 10_000
_RENEW_BEFORE_EXPIRY: Final = timedelta(minutes=5)
"""How long before its expiry a token is renewed, at most: a tenth of its lifetime if that is shorter."""


class CredentialsChain:
    """Asks several providers in order; the first that knows a shop decides."""

    def __init__(self, *providers: CredentialsProvider) -> None:
        self._providers = providers

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """Return the first answer. Raises CredentialsNotFound if no provider knows the shop.

        A provider that is unavailable is not skipped: it might know the shop.
        """
        for provider in self._providers:
            try:
                return await provider.credentials(shop, refused=refused)
            except CredentialsNotFound:
                continue
        raise CredentialsNotFound(shop)


@dataclass(frozen=True, kw_only=True, slots=True)
class _CachedToken:
    stored: Credentials
    """What the token was requested with."""
    credentials: Credentials
    renew_at: datetime | None
    """UTC; None: the token does not expire."""
    expires_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Return whether the token should be renewed."""
        return self.renew_at is not None and now >= self.renew_at

    def is_valid(self, now: datetime) -> bool:
        """Return whether the token still works, by the lifetime that the platform reported."""
        return self.expires_at is None or now < self.expires_at


class RenewingCredentials:
    """Returns another provider's credentials, or an access token where these can be exchanged for one.

    A token is renewed ahead of its expiry, by one caller at a time per shop. If it cannot be renewed now, the old
    one is returned as long as it is valid. Credentials whose access token does not expire, and those of platforms
    without a token exchange, are returned unchanged.
    """

    def __init__(
        self,
        stored: CredentialsProvider,
        http: HttpFactory,
        clock: Callable[[], datetime],
        exchanges: Mapping[str, TokenExchange],
        *,
        max_shops: int = _MAX_CACHED_SHOPS,
    ) -> None:
        """Create the provider.

        Args:
            stored: Provides what tokens are requested with.
            http: Opens HTTP to shops.
            clock: Returns the time, in UTC.
            exchanges: By name of the platform.
            max_shops: How many shops' tokens are cached.
        """
        self._stored = stored
        self._http = http
        self._clock = clock
        self._exchanges = exchanges
        self._max_shops = max_shops
        self._tokens: OrderedDict[Shop, _CachedToken] = OrderedDict()
        self._locks: WeakValueDictionary[Shop, asyncio.Lock] = WeakValueDictionary()

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound, TokenServiceUnavailable, SourceFailure."""
        exchange = self._exchanges.get(shop.platform)
        if exchange is None:
            return await self._stored.credentials(shop, refused=refused)
        lock = self._locks.setdefault(shop, asyncio.Lock())
        async with lock:
            cached = self._tokens.get(shop)
            if cached is not None and cached.credentials == refused:
                cached = None
            try:
                return await self._current(shop, exchange, cached, refused)
            except (SourceUnreachable, SourceRateLimited, TokenServiceUnavailable) as failure:
                if cached is None or not cached.is_valid(self._clock()):
                    raise
                _log.warning(
                    "access token cannot be renewed now, the old one is used", extra={"why": failure.reason}
                )
                return cached.credentials

    async def _current(
        self, shop: Shop, exchange: TokenExchange, cached: _CachedToken | None, refused: Credentials | None
    ) -> Credentials:
        stored = await self._stored.credentials(shop, refused=refused)
        if not exchange.applies_to(stored):
            return stored
        if cached is not None and cached.stored == stored and not cached.is_due(self._clock()):
            return cached.credentials
        if stored != refused and self._holds_valid_token(stored):
            return stored
        try:
            return await self._request_token(shop, exchange, stored)
        except SourceUnauthorized:
            # The provider may have answered from a cache what was replaced meanwhile.
            current = await self._stored.credentials(shop, refused=stored)
            if current == stored:
                raise
            return await self._request_token(shop, exchange, current)

    def _holds_valid_token(self, stored: Credentials) -> bool:
        """Return whether the stored credentials hold an access token that does not expire soon."""
        if "access_token" not in stored:
            return False
        text = stored["expires_at"].reveal() if "expires_at" in stored else ""
        try:
            expires_at = datetime.fromisoformat(text)
        except ValueError:
            return False
        return expires_at.tzinfo is not None and expires_at - self._clock() > _RENEW_BEFORE_EXPIRY

    async def _request_token(self, shop: Shop, exchange: TokenExchange, stored: Credentials) -> Credentials:
        requested_at = self._clock()
        token = await exchange.request_token(shop, self._http, stored)
        renew_at = expires_at = None
        if token.lifetime is not None:
            expires_at = requested_at + token.lifetime
            renew_at = expires_at - min(_RENEW_BEFORE_EXPIRY, token.lifetime / 10)
        self._tokens[shop] = _CachedToken(
            stored=stored, credentials=token.credentials, renew_at=renew_at, expires_at=expires_at
        )
        self._tokens.move_to_end(shop)
        while len(self._tokens) > self._max_shops:
            self._tokens.popitem(last=False)
        return token.credentials
