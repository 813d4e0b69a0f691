"""Prometheus metrics of the state of the catalog, which all replicas read: take their maximum, not their sum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeHistogramMetricFamily
from prometheus_client.registry import Collector

from catalog_svc.domain.monitoring import FRESHNESS_BOUNDS, CatalogState, ShopFreshness
from catalog_svc.domain.refresh import PendingRefreshes


class CatalogStateMetrics:
    """`StateMetrics` of one replica."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"catalog_{name}", text, labels, registry=registry)

        self._active = gauge("syncs_active", "Syncs that have not ended.", "platform", "state")
        self._oldest_pending = gauge(
            "syncs_pending_oldest_seconds", "Age of the oldest sync that no replica has claimed yet.", "platform"
        )
        self._longest_unowned = gauge(
            "syncs_unowned_longest_seconds",
            "Since when the longest of the claimed syncs whose lease has ended has no replica.",
            "platform",
        )
        self._tasks = gauge("analysis_tasks", "Analysis tasks that are open or dead.", "analyzer", "state")
        self._oldest_task = gauge(
            "analysis_tasks_oldest_seconds", "Age of the oldest open analysis task.", "analyzer"
        )
        self._refreshes = gauge("refreshes_pending", "Products that wait to be read by their ids.")
        self._oldest_refresh = gauge("refreshes_pending_oldest_seconds", "Since the oldest of them was requested.")
        self._never_synced = gauge("shops_never_synced", "Shops of which no sync has succeeded.")
        self._freshness = _FreshnessCollector()
        registry.register(self._freshness)
        self._platforms: set[str] = set()
        self._analyzers: set[str] = set()
        self.state_unknown()

    def state_read(self, state: CatalogState, refreshes: PendingRefreshes) -> None:
        """See `StateMetrics.state_read`."""
        self._set_syncs(state)
        self._set_tasks(state)
        self._refreshes.set(refreshes.count)
        self._oldest_refresh.set(refreshes.oldest_age.total_seconds())
        self._never_synced.set(state.freshness.never_synced)
        self._freshness.freshness = state.freshness

    def state_unknown(self) -> None:
        """See `StateMetrics.state_unknown`. Gauges without labels, which cannot be removed, become NaN."""
        for labelled in (
            self._active,
            self._oldest_pending,
            self._longest_unowned,
            self._tasks,
            self._oldest_task,
        ):
            labelled.clear()
        for plain in (self._refreshes, self._oldest_refresh, self._never_synced):
            plain.set(math.nan)
        self._freshness.freshness = None

    def _set_syncs(self, state: CatalogState) -> None:
        found = {each.platform: each for each in state.active_syncs}
        self._platforms |= found.keys()
        for platform in self._platforms:
            one = found.get(platform)
            self._active.labels(platform, "pending").set(one.pending if one else 0)
            self._active.labels(platform, "running").set(one.running if one else 0)
            self._active.labels(platform, "unowned").set(one.unowned if one else 0)
            self._oldest_pending.labels(platform).set(one.oldest_pending_age.total_seconds() if one else 0)
            self._longest_unowned.labels(platform).set(one.longest_unowned.total_seconds() if one else 0)

    def _set_tasks(self, state: CatalogState) -> None:
        found = {each.analyzer: each for each in state.analysis_tasks}
        # An analyzer that is switched off everywhere must not have its label for ever.
        for analyzer in self._analyzers - found.keys():
            for name in ("pending", "leased", "dead"):
                self._tasks.remove(analyzer, name)
            self._oldest_task.remove(analyzer)
        self._analyzers = set(found)
        for analyzer, one in found.items():
            self._tasks.labels(analyzer, "pending").set(one.pending)
            self._tasks.labels(analyzer, "leased").set(one.leased)
            self._tasks.labels(analyzer, "dead").set(one.dead)
            self._oldest_task.labels(analyzer).set(one.oldest_age.total_seconds())


class _FreshnessCollector(Collector):
    """Exports how many shops have which age, as of now: a histogram whose values also fall."""

    def __init__(self) -> None:
        self.freshness: ShopFreshness | None = None

    def collect(self) -> Iterator[GaugeHistogramMetricFamily]:
        if self.freshness is None:
            return
        bounds = (*(f"{bound.total_seconds():.0f}" for bound in FRESHNESS_BOUNDS), "+Inf")
        cumulative = accumulate(self.freshness.counts)
        yield GaugeHistogramMetricFamily(
            "catalog_shop_freshness_seconds",
            "Shops by the time since the state of the platform that is stored completely.",
            buckets=list(zip(bounds, map(float, cumulative), strict=True)),
            gsum_value=self.freshness.sum_seconds,
        )
