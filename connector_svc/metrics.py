"""Metrics of outbound HTTP.

Metrics of passes over shops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.http.circuit_breaker import Host
from connector_svc.platforms.base import Capabilities, Platform

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LABELS: Final = ("platform", "host_class")


class OutboundMetrics:
    """The `HttpMetrics` of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"connector_http_{name}", text, [*_LABELS, *more], registry=registry)

        self._attempts = counter("requests", "Attempts, by what became of them.", "outcome")
        self._retries = counter("retries", "Attempts made again.")
        self._waits = counter("waits", "Pauses before an attempt is made again.", "reason")
        self._wait_seconds = counter("wait_seconds", "Their length together, as planned.", "reason")
        self._budget_spent = counter("retries_refused", "Attempts not made again: the host had too many.")
        self._openings = counter("circuit_openings", "Hosts left alone because nobody answered.")
        self._seconds = Histogram(
            "connector_http_request_seconds",
            "How long attempts took, to the last byte.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )

    def attempted(self, host: Host, outcome: str, seconds: float) -> None:
        self._attempts.labels(*_labels(host), outcome).inc()
        self._seconds.labels(*_labels(host)).observe(seconds)

    def retried(self, host: Host) -> None:
        self._retries.labels(*_labels(host)).inc()

    def waiting(self, host: Host, delay: timedelta, *, throttled: bool) -> None:
        reason = "throttled" if throttled else "unreachable"
        self._waits.labels(*_labels(host), reason).inc()
        self._wait_seconds.labels(*_labels(host), reason).inc(delay.total_seconds())

    def budget_spent(self, host: Host) -> None:
        self._budget_spent.labels(*_labels(host)).inc()

    def circuit_opened(self, host: Host) -> None:
        self._openings.labels(*_labels(host)).inc()


def _labels(host: Host) -> tuple[str, str]:
    return host.platform, host.host_class.value


class PassMetrics:
    """Of all platforms."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], datetime]) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"connector_{name}", text, ["platform", *more], registry=registry)

        self.streams = Gauge("connector_streams", "Passes in flight.", ["platform"], registry=registry)
        self.products = counter("products", "Products emitted.")
        self.items = counter("items", "Variants emitted.")
        self.stock_levels = counter("stock_levels", "Stock levels emitted without their products.")
        self.issues = counter("issues", "Records set aside, whole or in part.", "reason")
        self.begun = counter("passes_begun", "Headers sent, by how the shop is read.", "strategy", "resumed")
        self.complete = counter("passes_complete", "Passes that came to their end.")
        self._waits = counter("waits", "Waits told to the caller.", "reason")
        self._wait_seconds = counter("wait_seconds", "Their length together, as planned.", "reason")
        self._clock = clock

    def waited(self, platform: str, wait: Wait) -> None:
        """A wait begins."""
        self._waits.labels(platform, wait.reason.value).inc()
        seconds = max(0.0, (wait.until - self._clock()).total_seconds())
        self._wait_seconds.labels(platform, wait.reason.value).inc(seconds)

    def emitted(self, platform: str, event: FetchEvent) -> None:
        """Something goes to the caller."""
        match event:
            case Header():
                self.begun.labels(platform, event.strategy, str(event.resumed).lower()).inc()
            case Batch():
                self._batch(platform, event)
            case End():
                self.complete.labels(platform).inc()

    def _batch(self, platform: str, batch: Batch) -> None:
        self.products.labels(platform).inc(len(batch.products))
        self.items.labels(platform).inc(sum(len(product.variants) for product in batch.products))
        self.stock_levels.labels(platform).inc(len(batch.stock_levels))
        for issue in batch.issues:
            self.issues.labels(platform, issue.reason.value).inc()


class MeteredPlatform:
    """A platform whose passes are counted; otherwise the very platform."""

    def __init__(self, inner: Platform, metrics: PassMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def display_name(self) -> str:
        return self._inner.display_name

    @property
    def domain_pattern(self) -> str:
        return self._inner.domain_pattern

    @property
    def domain_example(self) -> str:
        return self._inner.domain_example

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def check(self, shop: Shop) -> ShopInfo:
        return await self._inner.check(shop)

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        return await self._inner.cancel_job(shop, checkpoint)

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """As the platform does."""

        def told(wait: Wait) -> None:
            self._metrics.waited(self.name, wait)
            on_wait(wait)

        with self._metrics.streams.labels(self.name).track_inprogress():
            async with aclosing(self._inner.fetch(request, on_wait=told)) as events:
                async for event in events:
                    self._metrics.emitted(self.name, event)
                    yield event
