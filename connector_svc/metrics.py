"""Prometheus metrics of the connector: outbound HTTP, and passes over shops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.http.dependencies import Host
from connector_svc.platforms.base import Capabilities, Platform, QueryPointMeter

_DURATION_BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_HTTP_LABELS: Final = ("platform", "host_class")


class OutboundHttpMetrics:
    """The `HttpMetrics` of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"connector_http_{name}", text, [*_HTTP_LABELS, *more], registry=registry)

        self._attempts = counter("requests", "Attempts, by outcome.", "outcome")
        self._retries = counter("retries", "Attempts that were repeated.")
        self._waits = counter("waits", "Pauses before a retry.", "reason")
        self._wait_seconds = counter("wait_seconds", "Planned length of the pauses before retries.", "reason")
        self._budget_exhausted = counter(
            "retries_refused", "Attempts not repeated: the retry budget of the host was exhausted."
        )
        self._circuit_openings = counter("circuit_openings", "Circuit breakers opened: the host did not answer.")
        self._seconds = Histogram(
            "connector_http_request_seconds",
            "Duration of attempts, to the last byte.",
            _HTTP_LABELS,
            buckets=_DURATION_BUCKETS_SECONDS,
            registry=registry,
        )

    def record_attempt(self, host: Host, outcome: str, seconds: float) -> None:
        self._attempts.labels(*_http_labels(host), outcome).inc()
        self._seconds.labels(*_http_labels(host)).observe(seconds)

    def record_retry(self, host: Host) -> None:
        self._retries.labels(*_http_labels(host)).inc()

    def record_wait(self, host: Host, delay: timedelta, *, throttled: bool) -> None:
        reason = "throttled" if throttled else "unreachable"
        self._waits.labels(*_http_labels(host), reason).inc()
        self._wait_seconds.labels(*_http_labels(host), reason).inc(delay.total_seconds())

    def record_retry_budget_exhausted(self, host: Host) -> None:
        self._budget_exhausted.labels(*_http_labels(host)).inc()

    def record_circuit_opened(self, host: Host) -> None:
        self._circuit_openings.labels(*_http_labels(host)).inc()


def _http_labels(host: Host) -> tuple[str, str]:
    return host.platform, host.host_class.value


class PassMetrics:
    """Metrics of the passes over shops, on all platforms."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], datetime]) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"connector_{name}", text, ["platform", *more], registry=registry)

        self.streams = Gauge("connector_streams", "Passes in progress.", ["platform"], registry=registry)
        self.products = counter("products", "Products emitted.")
        self.items = counter("items", "Variants emitted.")
        self.stock_levels = counter("stock_levels", "Stock levels emitted without their products.")
        self.issues = counter("issues", "Issues of records, whether the product was rejected or not.", "reason")
        self.started = counter("passes_begun", "Headers sent, by read strategy.", "strategy", "resumed")
        self.completed = counter("passes_complete", "Passes that were completed.")
        self._waits = counter("waits", "Waits reported to the caller.", "reason")
        self._wait_seconds = counter("wait_seconds", "Planned length of the reported waits.", "reason")
        self._clock = clock

    def record_wait(self, platform: str, wait: Wait) -> None:
        """Record a wait that begins now."""
        self._waits.labels(platform, wait.reason.value).inc()
        seconds = max(0.0, (wait.until - self._clock()).total_seconds())
        self._wait_seconds.labels(platform, wait.reason.value).inc(seconds)

    def record_event(self, platform: str, event: FetchEvent) -> None:
        """Record an event that is emitted to the caller."""
        match event:
            case Header():
                self.started.labels(platform, event.strategy, str(event.resumed).lower()).inc()
            case Batch():
                self._record_batch(platform, event)
            case End():
                self.completed.labels(platform).inc()

    def _record_batch(self, platform: str, batch: Batch) -> None:
        self.products.labels(platform).inc(len(batch.products))
        self.items.labels(platform).inc(sum(len(product.variants) for product in batch.products))
        self.stock_levels.labels(platform).inc(len(batch.stock_levels))
        for issue in batch.issues:
            self.issues.labels(platform, issue.reason.value).inc()


class QueryPoints:
    """Query points of the process, of platforms that limit calls by their cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"connector_query_points_{name}", text, ["platform"], registry=registry)

        self._used = counter("used", "Query points that calls cost.")
        self._restored = counter(
            "restored",
            "Query points that platforms restored to shops while they were read, whether there was room or not.",
        )

    def of_platform(self, platform: str) -> QueryPointMeter:
        """Return what counts the points of one platform."""
        return _PlatformPoints(used=self._used, restored=self._restored, platform=platform)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PlatformPoints:
    """A `QueryPointMeter`."""

    used: Counter
    restored: Counter
    platform: str

    def record_points(self, *, used: float, restored: float) -> None:
        self.used.labels(self.platform).inc(used)
        self.restored.labels(self.platform).inc(restored)


class WebhookCounter:
    """The `WebhookMetrics` of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._webhooks = Counter(
            "connector_webhooks", "Webhook deliveries.", ["platform", "outcome"], registry=registry
        )

    def record_webhook(self, platform: str, outcome: str) -> None:
        self._webhooks.labels(platform, outcome).inc()


class MeteredPlatform:
    """Wraps a platform and records metrics of its passes."""

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
        """See `Platform.fetch`."""

        def report(wait: Wait) -> None:
            self._metrics.record_wait(self.name, wait)
            on_wait(wait)

        with self._metrics.streams.labels(self.name).track_inprogress():
            async with aclosing(self._inner.fetch(request, on_wait=report)) as events:
                async for event in events:
                    self._metrics.record_event(self.name, event)
                    yield event
