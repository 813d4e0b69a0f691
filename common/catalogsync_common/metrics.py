"""Metrics of a process: the registry they are in, how they are served, and those of every gRPC server.

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

_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Streams last minutes."""


def new_registry() -> CollectorRegistry:
    """One for a process, with what the operating system and Python tell of it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, address: ListenAddress | None) -> AsyncIterator[int | None]:
    """Answers GET /metrics over plain HTTP until the block ends; yields the port. None: not at all.

    Raises ListenError. Whoever reaches the address may read them; they hold no secret and no shop's name.
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
    LOGGER.info("metrics on port %d", port, extra={"address": address, "port": port})
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
            "Unexpected ends of background loops, each answered by a restart.",
            ["loop"],
            registry=registry,
        )

    def watch(self, loops: Iterable[str]) -> None:
        """Shows 0 for each of these loops: a rate needs a first value."""
        for loop in loops:
            self._failures.labels(loop)

    def failed(self, loop: str) -> None:
        """Counts one failure."""
        self._failures.labels(loop).inc()


class CallMetrics:
    """Counts the calls of a gRPC server; its `CallMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("grpc_calls", "Ended calls.", ["method", "code"], registry=registry)
        self._running = Gauge("grpc_calls_running", "Calls in flight, streams too.", ["method"], registry=registry)
        self._seconds = Histogram(
            "grpc_call_seconds", "How long calls took.", ["method"], buckets=_CALL_SECONDS, registry=registry
        )

    def began(self, method: str) -> None:
        self._running.labels(method).inc()

    def ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        self._running.labels(method).dec()
        self._calls.labels(method, code.name).inc()
        self._seconds.labels(method).observe(seconds)
