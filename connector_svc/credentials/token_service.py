"""Credentials from the Token Service."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec
from yarl import URL

from connector_svc.domain.errors import CredentialsNotFound, TokenServiceUnavailable
from connector_svc.domain.shop import Shop
from connector_svc.http.client import join
from connector_svc.http.exchange import HttpRequest
from connector_svc.http.failures import HttpFailure
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Credentials, HttpReply, Secret

_PATIENCE: Final = RetryPolicy(patience=timedelta(seconds=15), max_delay=timedelta(seconds=5))


class ServiceCaller(Protocol):
    """Sends a request until it is answered. Raises HttpFailure."""

    async def call(self, request: HttpRequest, *, policy: RetryPolicy | None = None) -> HttpReply: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenServiceConfig:
    """Where the Token Service is."""

    base_url: URL
    secret: Secret | None = None
    """Sent as a bearer token."""
    cache_for: timedelta = timedelta(minutes=5)
    cached_shops: int = 10_000
    retry: RetryPolicy = _PATIENCE


class _Answer(msgspec.Struct):
    data: dict[str, object]


class TokenServiceCredentials:
    """Asks the Token Service, remembers what it said for some minutes, and asks once at a time for a shop."""

    def __init__(
        self, config: TokenServiceConfig, caller: ServiceCaller, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._caller = caller
        self._clock = clock
        self._cache: OrderedDict[Shop, tuple[Credentials, float]] = OrderedDict()
        self._locks: WeakValueDictionary[Shop, asyncio.Lock] = WeakValueDictionary()

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound, TokenServiceUnavailable."""
        lock = self._locks.setdefault(shop, asyncio.Lock())
        async with lock:
            cached = self._cached(shop)
            if cached is not None and cached != refused:
                return cached
            self._cache.pop(shop, None)
            fresh = await self._ask(shop)
            if fresh != refused:
                self._remember(shop, fresh)
            return fresh

    def _cached(self, shop: Shop) -> Credentials | None:
        found = self._cache.get(shop)
        return found[0] if found and self._clock() < found[1] else None

    def _remember(self, shop: Shop, fresh: Credentials) -> None:
        self._cache[shop] = (fresh, self._clock() + self._config.cache_for.total_seconds())
        if len(self._cache) > self._config.cached_shops:
            self._cache.popitem(last=False)

    async def _ask(self, shop: Shop) -> Credentials:
        secret = self._config.secret
        request = HttpRequest(
            method="GET",
            url=join(self._config.base_url, f"/api/v1/tokens/{shop.platform}/{shop.domain}"),
            headers={"Authorization": f"Bearer {secret.reveal()}"} if secret else {},
        )
        try:
            reply = await self._caller.call(request, policy=self._config.retry)
        except HttpFailure as failure:
            raise TokenServiceUnavailable(shop, failure.detail, retry_after=failure.retry_after) from failure
        return _understand(shop, reply)


def _understand(shop: Shop, reply: HttpReply) -> Credentials:
    if reply.status == 404:
        raise CredentialsNotFound(shop)
    if reply.status != 200:
        raise TokenServiceUnavailable(shop, f"HTTP {reply.status}")
    try:
        data = msgspec.json.decode(reply.body, type=_Answer).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise TokenServiceUnavailable(shop, "its answer is not understood") from None
    found = {name: Secret(text.strip()) for name, text in data.items() if isinstance(text, str) and text.strip()}
    if not found:
        raise TokenServiceUnavailable(shop, "its answer holds no credentials")
    return found
