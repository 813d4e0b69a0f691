"""The metrics of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog_svc.domain.progress import WaitReason
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync

_TRANSACTION_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_NO_REASON: Final = ""


class SyncMetrics:
    """Counts what this replica does; sums over replicas are what the system does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"catalog_{name}", text, labels, registry=registry)

        self._ended = counter("syncs_ended", "Syncs brought to an end.", "platform", "mode", "state", "reason")
        self._running = Gauge("catalog_syncs_running", "Syncs run here.", ["platform"], registry=registry)
        self._waiting = Gauge(
            "catalog_syncs_waiting", "Syncs run here that wait, by what for.", ["reason"], registry=registry
        )
        self._waits = counter("sync_waits", "Waits of syncs.", "platform", "reason")
        self._claims = counter("syncs_claimed", "Syncs taken up for the first time.", "platform")
        self._takeovers = counter("syncs_taken_over", "Syncs taken up again, after another attempt.", "platform")
        self._lost = counter("leases_lost", "Writes refused because the sync was no longer ours.")
        self._batches = counter("batches_stored", "Batches committed.", "platform")
        self._products = counter("products_stored", "Products in committed batches.", "platform")
        self._items = counter("items_stored", "Items in committed batches.", "platform")
        self._issues = counter("issues_stored", "Issues in committed batches.", "platform")
        self._seconds = Histogram(
            "catalog_batch_seconds",
            "From the order to store a batch to its commit, retries too.",
            ["platform"],
            buckets=_TRANSACTION_SECONDS,
            registry=registry,
        )
        self._away = counter("database_failures", "Operations given up because the database did not answer.")
        self._database = Gauge("catalog_database_up", "Whether the last ping was answered.", registry=registry)
        self._watchers = Gauge("catalog_watchers", "Watchers of syncs on this replica.", registry=registry)
        self._reasons: dict[tuple[UUID, int], WaitReason] = {}
        """By sync and epoch: a run that has lost its lease may overlap with the next one of the same sync."""
        for reason in WaitReason:
            self._waiting.labels(reason.value)

    def watch(self, watchers: Callable[[], int]) -> None:
        """Where the number of watchers is asked for, at each scrape."""
        self._watchers.set_function(watchers)

    def claimed(self, claimed: ClaimedSync) -> None:
        """A run begins."""
        platform = claimed.sync.shop.key.platform
        first = claimed.sync.attempt_count <= 1
        (self._claims if first else self._takeovers).labels(platform).inc()
        self._running.labels(platform).inc()

    def run_over(self, claimed: ClaimedSync) -> None:
        """The same run is over, however."""
        self._running.labels(claimed.sync.shop.key.platform).dec()
        self.goes_on(claimed.lease)

    def waits(self, lease: Lease, platform: str, reason: WaitReason) -> None:
        """A run begins to wait, or waits for something else."""
        self._waits.labels(platform, reason.value).inc()
        self.goes_on(lease)
        self._reasons[lease.sync_id, lease.epoch] = reason
        self._waiting.labels(reason.value).inc()

    def goes_on(self, lease: Lease) -> None:
        """A run that may have waited does not any more."""
        reason = self._reasons.pop((lease.sync_id, lease.epoch), None)
        if reason is not None:
            self._waiting.labels(reason.value).dec()

    def stored(self, platform: str, batch: SourceBatch, seconds: float) -> None:
        """A batch is committed."""
        self._batches.labels(platform).inc()
        self._products.labels(platform).inc(len(batch.products))
        self._items.labels(platform).inc(batch.item_count)
        self._issues.labels(platform).inc(len(batch.issues))
        self._seconds.labels(platform).observe(seconds)

    def ended(self, sync: Sync) -> None:
        """A sync has come to its end by us."""
        reason = sync.error.reason if sync.error else _NO_REASON
        self._ended.labels(sync.shop.key.platform, sync.mode.value, sync.state.value, reason).inc()

    def lease_lost(self) -> None:
        """Another replica, or a cancel, was first."""
        self._lost.inc()

    def database_failed(self) -> None:
        """An operation was given up."""
        self._away.inc()

    def database_up(self, up: bool) -> None:
        """What the last ping found."""
        self._database.set(up)
