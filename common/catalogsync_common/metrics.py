"""Prometheus metrics of a process: the registry, the HTTP endpoint, and the metrics of calls and background loops.

Label sets are bounded: names of methods, codes, platforms, reasons; never a shop, a host or an id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
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

_CALL_BUCKETS_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Bounds of gRFC A66, fewer of them: each costs a time series per method and status."""


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
    """Measures the calls of a gRPC server by the names of gRFC A66; implements `CallMeter`.

    Streams are counted and have a gauge, but no duration: one that is open for a quarter of an hour is as it
    should be, and would hide slow calls in the same histogram.

    Args:
        registry: where the metrics are registered.
        services: whose methods are exported with 0 before their first call: a rate needs an initial value.
    """

    def __init__(self, registry: CollectorRegistry, services: Sequence[ServiceDescriptor] = ()) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"grpc_server_{name}", text, ["grpc_method", *more], registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"grpc_server_{name}", text, ["grpc_method"], registry=registry)

        self._started = counter("call_started", "Calls that began, streams included.")
        self._seconds = Histogram(
            "grpc_server_call_duration_seconds",
            "Duration of ended calls that are no streams.",
            ["grpc_method", "grpc_status"],
            buckets=_CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        self._running = gauge("calls_running", "Calls in progress that are no streams.")
        self._streams = gauge("streams_open", "Open streams.")
        self._streams_ended = counter("streams_ended", "Ended streams.", "grpc_status")
        self._refused = counter("calls_refused", "Calls that exceeded a limit.", "limit")
        self._unexpected = counter("unexpected_errors", "Calls that an unexpected exception ended.")
        self._are_streams: dict[str, bool] = {}
        for service in services:
            for method in service.methods:
                name = f"{service.full_name}/{method.name}"
                self._started.labels(name)
                self._unexpected.labels(name)

    def call_started(self, method: str) -> None:
        name = method.removeprefix("/")
        self._started.labels(name).inc()
        (self._streams if self._is_stream(name) else self._running).labels(name).inc()

    def call_ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        name = method.removeprefix("/")
        if self._is_stream(name):
            self._streams.labels(name).dec()
            self._streams_ended.labels(name, code.name).inc()
        else:
            self._running.labels(name).dec()
            self._seconds.labels(name, code.name).observe(seconds)
        if code is grpc.StatusCode.INTERNAL:
            self._unexpected.labels(name).inc()

    def call_refused(self, method: str, limit: str) -> None:
        self._refused.labels(method.removeprefix("/"), limit).inc()

    def _is_stream(self, name: str) -> bool:
        if name not in self._are_streams:
            self._are_streams[name] = _is_stream(name)
        return self._are_streams[name]


def _is_stream(name: str) -> bool:
    """Return whether the method has streams, as its contract says, which must be loaded; False: unknown."""
    service, _, method = name.rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(method)
    except KeyError:
        return False
    return bool(found.server_streaming or found.client_streaming)
