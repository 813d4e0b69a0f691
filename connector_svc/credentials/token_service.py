"""Credentials from the Token Service, cached for some minutes."""

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
from connector_svc.http.client import join_url
from connector_svc.http.dependencies import utc_now
from connector_svc.http.failures import HttpFailure
from connector_svc.http.retry import RetryPolicy
from connector_svc.http.transport import HttpRequest
from connector_svc.platforms.base import Credentials, HttpReply, Secret, is_sendable
from connector_svc.platforms.webhooks import named_webhook_secrets

_RETRY_POLICY: Final = RetryPolicy(max_total_delay=timedelta(seconds=15), max_delay=timedelta(seconds=5))

_RENEW_BEFORE_EXPIRY: Final = timedelta(minutes=1)
"""How long before its expiry a token is requested again."""
_MIN_CACHE_TIME: Final = timedelta(seconds=5)
_STALE_CACHE_TIME: Final = timedelta(seconds=30)
"""Until the next request, while the service does not answer."""


class ServiceClient(Protocol):
    """Sends a request and retries it."""

    async def send(self, request: HttpRequest, *, policy: RetryPolicy | None = None) -> HttpReply:
        """Return the reply. Raises HttpFailure."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenServiceConfig:
    """Address, secret and limits of the Token Service."""

    base_url: URL
    secret: Secret | None = None
    """Sent as a bearer token."""
    cache_time: timedelta = timedelta(minutes=5)
    max_cached_shops: int = 10_000
    retry: RetryPolicy = _RETRY_POLICY


class _TokenReply(msgspec.Struct):
    data: dict[str, object]

    def __repr__(self) -> str:
        return "_TokenReply(***)"


class TokenServiceCredentials:
    """Requests credentials from the Token Service, with one request at a time per shop.

    The service answers {"data": {...}} with the platform's credentials as strings, `webhook_secrets` as a list
    and, for a token that expires, `expires_at` or `expires_in`; the credentials then hold `expires_at`.
    """

    def __init__(
        self,
        config: TokenServiceConfig,
        client: ServiceClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._now = now
        self._cache: OrderedDict[Shop, tuple[Credentials, float]] = OrderedDict()
        self._locks: WeakValueDictionary[Shop, asyncio.Lock] = WeakValueDictionary()

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`.

        While the service does not answer, its last answer is returned, unless the shop has rejected that.
        """
        lock = self._locks.setdefault(shop, asyncio.Lock())
        async with lock:
            cached, cached_until = self._cache.get(shop, (None, 0.0))
            usable = cached if cached != refused else None
            if usable is not None and self._clock() < cached_until:
                return usable
            try:
                fresh = await self._request(shop)
            except TokenServiceUnavailable:
                if usable is None:
                    raise
                self._store(shop, usable, _STALE_CACHE_TIME)
                return usable
            except CredentialsNotFound:
                self._cache.pop(shop, None)
                raise
            self._cache.pop(shop, None)
            if fresh != refused:
                self._store(shop, fresh, self._cache_time(fresh))
            return fresh

    def _cache_time(self, fresh: Credentials) -> timedelta:
        """Return how long to cache an answer: less than configured if its token expires before that."""
        if "expires_at" not in fresh:
            return self._config.cache_time
        lifetime = datetime.fromisoformat(fresh["expires_at"].reveal()) - self._now()
        return min(self._config.cache_time, max(lifetime - _RENEW_BEFORE_EXPIRY, _MIN_CACHE_TIME))

    def _store(self, shop: Shop, credentials: Credentials, cache_time: timedelta) -> None:
        self._cache[shop] = (credentials, self._clock() + cache_time.total_seconds())
        self._cache.move_to_end(shop)
        if len(self._cache) > self._config.max_cached_shops:
            self._cache.popitem(last=False)

    async def _request(self, shop: Shop) -> Credentials:
        try:
            reply = await self._client.send(token_request(self._config, shop), policy=self._config.retry)
        except HttpFailure as failure:
            raise TokenServiceUnavailable(shop, failure.detail, retry_after=failure.retry_after) from failure
        return _parse_reply(shop, reply, self._now())


def token_request(config: TokenServiceConfig, shop: Shop) -> HttpRequest:
    """Return the request for the credentials of a shop."""
    return HttpRequest(
        method="GET",
        url=join_url(config.base_url, f"/api/v1/tokens/{shop.platform}/{shop.domain}"),
        headers={"Authorization": f"Bearer {config.secret.reveal()}"} if config.secret else {},
    )


def _parse_reply(shop: Shop, reply: HttpReply, now: datetime) -> Credentials:
    if reply.status == 404:
        raise CredentialsNotFound(shop)
    if reply.status != 200:
        raise TokenServiceUnavailable(shop, f"HTTP {reply.status}")
    try:
        data = msgspec.json.decode(reply.body, type=_TokenReply).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise TokenServiceUnavailable(shop, "its answer cannot be parsed") from None
    found = {name: Secret(text.strip()) for name, text in data.items() if isinstance(text, str) and text.strip()}
    found |= _webhook_secrets(shop, data)
    if not found:
        raise TokenServiceUnavailable(shop, "its answer holds no credentials")
    if not all(is_sendable(secret.reveal()) for secret in found.values()):
        raise TokenServiceUnavailable(shop, "its answer holds a credential with a line break or control character")
    found.pop("expires_at", None)
    expires_at = _expires_at(data, now)
    return found if expires_at is None else {**found, "expires_at": Secret(expires_at.isoformat())}


def _webhook_secrets(shop: Shop, data: dict[str, object]) -> Credentials:
    match data:
        case {"webhook_secrets": [*values]} if values and all(isinstance(one, str) for one in values):
            try:
                return named_webhook_secrets([str(one) for one in values])
            except ValueError as error:
                raise TokenServiceUnavailable(shop, f"its webhook_secrets {error}") from None
        case {"webhook_secrets": None | []}:
            return {}
        case {"webhook_secrets": _}:
            raise TokenServiceUnavailable(shop, "its webhook_secrets must be a list of strings")
    return {}


def _expires_at(data: dict[str, object], now: datetime) -> datetime | None:
    """Return when the access token expires, by `expires_at` (RFC 3339) or `expires_in` (seconds)."""
    match data:
        case {"expires_at": str(text)}:
            try:
                expires_at = datetime.fromisoformat(text)
            except ValueError:
                return None
            return expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)
        case {"expires_in": int(seconds)} if 0 <= seconds < 2**31:
            return now + timedelta(seconds=seconds)
    return None
