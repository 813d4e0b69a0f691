"""Prometheus metrics of item analysis."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from catalog_svc.domain.analysis import TaskOutcome


class PrometheusAnalysisMetrics:
    """`AnalysisMetrics` of one replica. Sums over all replicas describe the system."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._leased = Counter(
            "catalog_analysis_tasks_leased", "Tasks leased to workers.", ["analyzer"], registry=registry
        )
        self._submitted = Counter(
            "catalog_analysis_results", "Results submitted by workers.", ["outcome"], registry=registry
        )
        self._marked_dead = Counter(
            "catalog_analysis_tasks_expired",
            "Tasks declared dead because the leases of all attempts expired.",
            ["analyzer"],
            registry=registry,
        )
        for outcome in TaskOutcome:
            self._submitted.labels(outcome.value)

    def tasks_leased(self, analyzer: str, count: int) -> None:
        """Count leased tasks."""
        self._leased.labels(analyzer).inc(count)

    def result_submitted(self, outcome: TaskOutcome) -> None:
        """Count the outcome of a submitted result."""
        self._submitted.labels(outcome.value).inc()

    def tasks_marked_dead(self, analyzer: str, count: int) -> None:
        """Count tasks that are dead because their leases expired."""
        self._marked_dead.labels(analyzer).inc(count)
