"""Prometheus metrics of a process: the registry, the HTTP endpoint, and the metrics of calls and background loops.

Label sets are bounded: names of methods, codes, platforms, reasons; never a shop, a host or an id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from catalogsync_common.server import ListenError
from catalogsync_common.settings import ListenAddress

LOGGER: Final = logging.getLogger(__name__)

_CALL_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Up to 15 minutes, since streams last minutes."""


def new_registry() -> CollectorRegistry:
    """Return a registry for one process, with the metrics of the operating system and of Python."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, address: ListenAddress | None) -> AsyncIterator[int | None]:
    """Serve GET /metrics over plain HTTP within the block.

    Everyone who reaches the address can read the metrics; they contain no secret and no shop's name.

    Args:
        address: where to listen; None: metrics are not served.

    Yields:
        The port, or None when metrics are not served.

    Raises:
        ListenError: the address is in use or not of this machine.
    """
    if address is None:
        yield None
        return
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as error:
        raise ListenError(
            f"Cannot serve metrics on {address}: the address is in use or not of this machine."
        ) from error
    port = server.server_port
    LOGGER.info("serving metrics on port %d", port, extra={"address": address, "port": port})
    try:
        yield port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


class LoopMetrics:
    """Counts the failures of a process's background loops in `{service}_loop_failures_total{loop}`."""

    def __init__(self, registry: CollectorRegistry, *, service: str) -> None:
        self._failures = Counter(
            f"{service}_loop_failures",
            "Unexpected ends of background loops; each is followed by a restart.",
            ["loop"],
            registry=registry,
        )

    def initialize(self, loops: Iterable[str]) -> None:
        """Export 0 for each of these loops: a rate needs an initial value."""
        for loop in loops:
            self._failures.labels(loop)

    def count_failure(self, loop: str) -> None:
        """Count one failure."""
        self._failures.labels(loop).inc()


class CallMetrics:
    """Counts the calls of a gRPC server; implements `CallMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("grpc_calls", "Ended calls.", ["method", "code"], registry=registry)
        self._running = Gauge(
            "grpc_calls_running", "Calls in progress, including streams.", ["method"], registry=registry
        )
        self._refused = Counter(
            "grpc_calls_refused",
            "Calls that exceeded a limit.",
            ["method", "limit"],
            registry=registry,
        )
        self._seconds = Histogram(
            "grpc_call_seconds", "Duration of calls.", ["method"], buckets=_CALL_BUCKETS_SECONDS, registry=registry
        )

    def call_started(self, method: str) -> None:
        self._running.labels(method).inc()

    def call_ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        self._running.labels(method).dec()
        self._calls.labels(method, code.name).inc()
        self._seconds.labels(method).observe(seconds)

    def call_refused(self, method: str, limit: str) -> None:
        self._refused.labels(method, limit).inc()
