"""What the HTTP client is given: clocks, sleep, jitter, DNS, and the port for its metrics."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol

from aiohttp.abc import AbstractResolver
from catalogsync_common.ssrf_guard import open_dns_resolver

from connector_svc.platforms.base import RateLimitHeaders


class HostClass(Enum):
    """The role of a host. Metrics are labelled with it instead of the host's name."""

    SHOP = "shop"
    SERVICE = "service"
    """Configured by the operator, such as the Token Service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The host that a request is sent to, as circuit breakers, connection limits and metrics know it."""

    name: str
    """Key of the host's state: a shop's domain, wherever the shop is called; the host name of all others."""
    host_class: HostClass
    platform: str = ""
    """A registered platform's name; empty for services."""
    rate_limit_headers: RateLimitHeaders | None = None
    """The platform's own headers for what Retry-After says elsewhere; None: it has none."""


class HttpMetrics(Protocol):
    """Counts what the client does. Implementations must not label by host name: there are as many as merchants."""

    def record_attempt(self, host: Host, outcome: str, seconds: float) -> None:
        """Record one attempt. `outcome` is "2xx", "4xx", "429", "5xx", or the kind of failure."""
        ...

    def record_retry(self, host: Host) -> None:
        """Record that an attempt is repeated."""
        ...

    def record_wait(self, host: Host, delay: timedelta, *, throttled: bool) -> None:
        """Record a pause before the next attempt. `throttled`: the host asked for it."""
        ...

    def record_retry_budget_exhausted(self, host: Host) -> None:
        """Record that an attempt is not repeated because the host's retry budget is exhausted."""
        ...

    def record_circuit_opened(self, host: Host) -> None:
        """Record that the host's circuit breaker opened."""
        ...


class NullHttpMetrics:
    """Metrics that count nothing."""

    def record_attempt(self, host: Host, outcome: str, seconds: float) -> None: ...

    def record_retry(self, host: Host) -> None: ...

    def record_wait(self, host: Host, delay: timedelta, *, throttled: bool) -> None: ...

    def record_retry_budget_exhausted(self, host: Host) -> None: ...

    def record_circuit_opened(self, host: Host) -> None: ...


def utc_now() -> datetime:
    """Return the time of the system clock, in UTC."""
    return datetime.now(UTC)


async def _sleep(delay: timedelta) -> None:
    await asyncio.sleep(delay.total_seconds())


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpDependencies:
    """Clocks, randomness, DNS and metrics of the client; tests replace them."""

    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    """Seconds."""
    sleep: Callable[[timedelta], Awaitable[None]] = _sleep
    jitter: Callable[[], float] = random.random
    """From 0 to 1."""
    correlation_id: Callable[[], str] = str
    """Of the gRPC call that the request is made for; empty: none."""
    send_traceparent: bool = False
    """Whether shops get the header `traceparent`. Services of the operator always do."""
    metrics: HttpMetrics = field(default_factory=NullHttpMetrics)
    open_resolver: Callable[[], AbstractResolver] = open_dns_resolver
    """Opens the resolver of all sessions; its answers are guarded."""
