"""Metrics of outbound HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from connector_svc.http.hosts import Host

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
