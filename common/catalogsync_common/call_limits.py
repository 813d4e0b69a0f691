"""Limits of the calls of one server: rates, concurrent calls, time limits, and wrong tokens.

The interceptor applies them in this order: the rate and the concurrent calls of the principal as soon as it is
known, the time limit of the request's arrival, the rate of the shop once the request is parsed and the principal
may act on that shop. The time limit of the whole call runs from its beginning.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv6Address
from types import TracebackType
from typing import Any, Final, Self

from catalogsync_common.failure import LimitExceeded
from catalogsync_common.principal import PrincipalKind, current_principal
from catalogsync_common.rate_limiter import NO_LIMIT, RateLimit, RateLimiter

_HEALTH_PREFIX: Final = "/grpc.health."
_REFUSED_RPCS: Final = 500
"""Calls that are being refused, with the reason."""
_SERVER_POOL: Final = ""
_HEALTH_POOL: Final = "health"
_DEFAULT_GROUP: Final = "calls"
_IPV6_NETWORK_GROUPS: Final = 4
"""An IPv6 client usually has a whole /64 network: four of eight groups."""
_PEER: Final = re.compile(r"(?P<family>ipv[46]):(?P<host>.*):\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopLimit:
    """Rates per shop of the methods that have one."""

    methods: Mapping[str, RateLimit]
    """By full name of the method: "/catalogsync.catalog.v1.CatalogService/StartSync"."""
    shop_of: Callable[[Any], str | None]
    """Returns the key of the shop that a request names, at most a few hundred characters; None: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """The limits of a server. The defaults limit nothing but times and concurrent calls."""

    clients: RateLimit = NO_LIMIT
    """Of each client and method group."""
    services: RateLimit = NO_LIMIT
    """Of each service or operator and method group."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The group of a method, by its full name; methods that are not listed are one group."""
    shops: ShopLimit | None = None
    peer_failures: RateLimit = NO_LIMIT
    """Failed authentications from each address."""
    concurrent_calls: int = 10_000
    """Of the server, without health checks."""
    concurrent_client_calls: int = 200
    """Of each client."""
    health_calls: int = 400
    """Concurrent health checks, which everybody may make: they take no slot of other calls."""
    max_rpcs: int = 0
    """Calls that gRPC itself lets in, before it has read their headers; 0: somewhat more than the limits above."""
    request_time: timedelta = timedelta(seconds=10)
    """How long a single request may take to arrive after its headers."""
    call_time: timedelta = timedelta(seconds=30)
    """How long a unary call may take, whatever deadline its client sets."""
    longer_call_times: Mapping[str, timedelta] = field(default_factory=dict)
    """The same of methods that may take longer, by full name."""

    @property
    def hard_limit(self) -> int:
        """The calls that gRPC itself lets in. Above that it answers RESOURCE_EXHAUSTED, without details."""
        return self.max_rpcs or self.concurrent_calls + self.health_calls + _REFUSED_RPCS


class RateLimited(LimitExceeded):
    """A caller has made too many calls."""

    @classmethod
    def rate(cls, kind: str, whose: str, limit: RateLimit, wait_seconds: float) -> RateLimited:
        """Return the failure for an empty token bucket."""
        milliseconds = max(1, math.ceil(wait_seconds * 1000))
        rate = f"{limit.per_second:g}/s, {limit.burst} at once"
        return cls(
            f"{whose} has made too many calls of this kind ({rate}). Call again in {milliseconds / 1000:g} s.",
            kind=kind,
            limit=rate,
            retry_after=timedelta(milliseconds=milliseconds),
        )

    @classmethod
    def concurrent(cls, kind: str, whose: str, limit: int) -> RateLimited:
        """Return the failure for too many calls at a time."""
        return cls(f"{whose} has {limit} calls in progress, the maximum.", kind=kind, limit=str(limit))


class CallLimiter:
    """Applies `CallLimits`. One per server; not thread-safe."""

    def __init__(
        self, limits: CallLimits | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits or CallLimits()
        self._clients = RateLimiter[tuple[str, str]](self.limits.clients, monotonic=monotonic)
        self._services = RateLimiter[tuple[str, str]](self.limits.services, monotonic=monotonic)
        shops = self.limits.shops
        self._shops = {
            method: RateLimiter[str](limit, monotonic=monotonic)
            for method, limit in (shops.methods if shops else {}).items()
        }
        self._peers = RateLimiter[str](self.limits.peer_failures, monotonic=monotonic)
        self._running: Counter[str] = Counter()
        """Calls in progress by pool: the server's, that of the health checks, and that of each client."""
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Calls in progress, without health checks."""
        return self._running[_SERVER_POOL]

    async def wait_until_idle(self) -> None:
        """Wait until no call is in progress, health checks excepted."""
        await self._idle.wait()

    def call_seconds(self, method: str) -> float:
        """Return the seconds that a unary call of `method` may take."""
        return self.limits.longer_call_times.get(method, self.limits.call_time).total_seconds()

    def check_principal(self, method: str) -> None:
        """Take a token of the current principal. Health checks and calls without a principal are not limited.

        Raises:
            RateLimited: It has none for the method's group.
        """
        principal = current_principal()
        if not principal.id or _is_health(method):
            return
        is_client = principal.kind is PrincipalKind.CLIENT
        limiter = self._clients if is_client else self._services
        wait = limiter.take((principal.id, self.limits.groups.get(method, _DEFAULT_GROUP)))
        if wait:
            raise RateLimited.rate(principal.kind.value, "The caller", limiter.limit, wait)

    def check_shop(self, method: str, request: Any) -> None:
        """Take a token of the shop that `request` names, if the method has a limit per shop.

        Call this after the principal was authorized: a stranger must not use up the tokens of a shop.

        Raises:
            RateLimited: The shop has none for the method.
        """
        limiter = self._shops.get(method)
        if limiter is None or self.limits.shops is None:
            return
        shop = self.limits.shops.shop_of(request)
        wait = limiter.take(shop) if shop is not None else 0.0
        if wait:
            raise RateLimited.rate("shop", "The shop", limiter.limit, wait)

    def check_peer(self, peer: str) -> None:
        """Refuse an address with too many failed authentications. Call this before a token is verified.

        Args:
            peer: The peer as gRPC names it: "ipv4:10.0.0.1:5000".

        Raises:
            RateLimited: Until the address has a token again.
        """
        wait = self._peers.wait_seconds(peer_address(peer))
        if wait:
            raise RateLimited.rate("peer", "The address", self._peers.limit, wait)

    def count_peer_failure(self, peer: str) -> None:
        """Take a token from the address of a failed authentication."""
        self._peers.take(peer_address(peer))

    def slot(self, method: str) -> CallSlot:
        """Return the slot of one call, which is not acquired yet."""
        return CallSlot(self, method)

    def acquire(self, pool: str, kind: str, whose: str, limit: int) -> None:
        """Take one of the `limit` slots of a pool. Raises RateLimited."""
        if self._running[pool] >= limit:
            raise RateLimited.concurrent(kind, whose, limit)
        self._running[pool] += 1
        if pool == _SERVER_POOL:
            self._idle.clear()

    def release(self, pool: str) -> None:
        """Return a slot that was acquired."""
        self._running[pool] -= 1
        if not self._running[pool]:
            del self._running[pool]
            if pool == _SERVER_POOL:
                self._idle.set()


class CallSlot:
    """The slots of one call among the concurrent calls: a context manager that releases what was acquired."""

    __slots__ = ("_limiter", "_method", "_pools")

    def __init__(self, limiter: CallLimiter, method: str) -> None:
        self._limiter = limiter
        self._method = method
        self._pools: list[str] = []

    def acquire(self) -> None:
        """Acquire the slots for a call of the current principal. Raises RateLimited."""
        limits, principal = self._limiter.limits, current_principal()
        if _is_health(self._method):
            self._acquire(_HEALTH_POOL, "health", "This server", limits.health_calls)
            return
        if principal.kind is PrincipalKind.CLIENT:
            self._acquire(principal.id, "client_concurrent", "The caller", limits.concurrent_client_calls)
        self._acquire(_SERVER_POOL, "server", "This server", limits.concurrent_calls)

    def _acquire(self, pool: str, kind: str, whose: str, limit: int) -> None:
        self._limiter.acquire(pool, kind, whose, limit)
        self._pools.append(pool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._pools:
            self._limiter.release(self._pools.pop())


def peer_address(peer: str) -> str:
    """Return the address of a peer without its port; of an IPv6 address the network (/64)."""
    match = _PEER.fullmatch(peer)
    if match is None:
        return peer
    host = match["host"].replace("%5B", "").replace("%5D", "").strip("[]")
    if match["family"] == "ipv4":
        return host
    return _ipv6_network(host)


def _ipv6_network(host: str) -> str:
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return ":".join(address.exploded.split(":")[:_IPV6_NETWORK_GROUPS])


def _is_health(method: str) -> bool:
    return method.startswith(_HEALTH_PREFIX)
