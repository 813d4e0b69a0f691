"""Credentials from the Token Service."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec
from yarl import URL

from connector_svc.domain.errors import CredentialsNotFound, TokenServiceUnavailable
from connector_svc.domain.shop import Shop
from connector_svc.http.client import join
from connector_svc.http.failures import HttpFailure
from connector_svc.http.retry import RetryPolicy
from connector_svc.http.retrying_client import utc_now
from connector_svc.http.transport import HttpRequest
from connector_svc.platforms.base import Credentials, HttpReply, Secret

_PATIENCE: Final = RetryPolicy(patience=timedelta(seconds=15), max_delay=timedelta(seconds=5))

_EARLY: Final = timedelta(minutes=1)
"""How long before its end a token is asked for anew."""
_SHORTEST: Final = timedelta(seconds=5)
_STALE_FOR: Final = timedelta(seconds=30)
"""Until the next try, while the service does not answer."""


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
    """Asks the Token Service, remembers what it said for some minutes, and asks once at a time for a shop.

    The service answers {"data": {...}} with the platform's credentials as texts and, for a token that ends,
    `expires_at` or `expires_in`; the credentials then hold `expires_at`.
    """

    def __init__(
        self,
        config: TokenServiceConfig,
        caller: ServiceCaller,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._caller = caller
        self._clock = clock
        self._now = now
        self._cache: OrderedDict[Shop, tuple[Credentials, float]] = OrderedDict()
        self._locks: WeakValueDictionary[Shop, asyncio.Lock] = WeakValueDictionary()

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound, TokenServiceUnavailable.

        While the service does not answer, what it last said goes on being answered, unless that was refused.
        """
        lock = self._locks.setdefault(shop, asyncio.Lock())
        async with lock:
            cached, good_until = self._cache.get(shop, (None, 0.0))
            usable = cached if cached != refused else None
            if usable is not None and self._clock() < good_until:
                return usable
            try:
                fresh = await self._ask(shop)
            except TokenServiceUnavailable:
                if usable is None:
                    raise
                self._remember(shop, usable, _STALE_FOR)
                return usable
            except CredentialsNotFound:
                self._cache.pop(shop, None)
                raise
            self._cache.pop(shop, None)
            if fresh != refused:
                self._remember(shop, fresh, self._lasting(fresh))
            return fresh

    def _lasting(self, fresh: Credentials) -> timedelta:
        """How long an answer counts: less than usual when its token ends before that."""
        if "expires_at" not in fresh:
            return self._config.cache_for
        left = datetime.fromisoformat(fresh["expires_at"].reveal()) - self._now()
        return min(self._config.cache_for, max(left - _EARLY, _SHORTEST))

    def _remember(self, shop: Shop, credentials: Credentials, lasting: timedelta) -> None:
        self._cache[shop] = (credentials, self._clock() + lasting.total_seconds())
        self._cache.move_to_end(shop)
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
        return _understand(shop, reply, self._now())


def _understand(shop: Shop, reply: HttpReply, now: datetime) -> Credentials:
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
    found.pop("expires_at", None)
    end = _end(data, now)
    return found if end is None else {**found, "expires_at": Secret(end.isoformat())}


def _end(data: dict[str, object], now: datetime) -> datetime | None:
    """When the access token ends, by `expires_at` (RFC 3339) or `expires_in` (seconds)."""
    match data:
        case {"expires_at": str(text)}:
            try:
                end = datetime.fromisoformat(text)
            except ValueError:
                return None
            return end if end.tzinfo else end.replace(tzinfo=UTC)
        case {"expires_in": int(seconds)} if 0 <= seconds < 2**31:
            return now + timedelta(seconds=seconds)
    return None
