"""Prometheus metrics of the catalog: syncs, the queue, batches, leases, refreshes, audits, watchers, database."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog_svc.domain.audit import AuditResult
from catalog_svc.domain.refresh import IngestOutcome, PendingRefreshes, RefreshResult
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, PendingSyncs, Sync, WaitReason

_TRANSACTION_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_NO_ERROR: Final = ""


class CatalogMetrics:
    """`SyncMetrics`, `QueueMetrics`, `RefreshMetrics` and `AuditMetrics` of one replica, with its gauges.

    Sums over all replicas describe the system; the gauges of the queue have the same values on all replicas. A run
    is identified by the sync and epoch of its lease: one that has lost its lease may overlap with the next one of
    its sync.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"catalog_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"catalog_{name}", text, labels, registry=registry)

        self._ended = counter("syncs_ended", "Syncs that ended.", "platform", "mode", "state", "reason")
        self._running = gauge("syncs_running", "Syncs that run on this replica.", "platform")
        self._waiting = gauge("syncs_waiting", "Syncs that run on this replica and wait, by reason.", "reason")
        self._waits = counter("sync_waits", "Waits of syncs.", "platform", "reason")
        self._pending = gauge("syncs_pending", "Syncs that no replica has claimed yet.", "platform")
        self._oldest_pending = gauge(
            "syncs_pending_oldest_seconds", "Age of the oldest sync that no replica has claimed yet.", "platform"
        )
        self._claims = counter("syncs_claimed", "Syncs claimed for their first attempt.", "platform")
        self._takeovers = counter("syncs_taken_over", "Syncs claimed for a later attempt.", "platform")
        self._lost = counter("leases_lost", "Writes refused because the lease of the sync was lost.")
        self._batches = counter("batches_stored", "Batches committed.", "platform")
        self._products = counter("products_stored", "Products in committed batches.", "platform")
        self._items = counter("items_stored", "Items in committed batches.", "platform")
        self._issues = counter("issues_stored", "Issues in committed batches.", "platform")
        self._seconds = Histogram(
            "catalog_batch_seconds",
            "Time from the call that stores a batch to its commit, including retries.",
            ["platform"],
            buckets=_TRANSACTION_BUCKETS_SECONDS,
            registry=registry,
        )
        self._webhooks = counter("webhooks_ingested", "Verified webhook deliveries.", "platform", "outcome")
        self._refresh_reads = counter("refresh_reads", "Complete reads of products by their ids.", "platform")
        self._refresh_failures = counter(
            "refresh_failures", "Reads of products by their ids that failed.", "platform", "reason"
        )
        self._refreshed = counter(
            "products_refreshed", "Products that were read by their ids.", "platform", "result"
        )
        self._refreshes_pending = gauge("refreshes_pending", "Products that wait to be read by their ids.")
        self._oldest_refresh = gauge("refreshes_pending_oldest_seconds", "Since the oldest of them was requested.")
        self._audits = counter("audits_ended", "Audits that have a result.", "platform")
        self._audit_failures = counter("audit_failures", "Audits that failed.", "platform", "reason")
        self._audited = counter("audited_products", "Products that audits have compared.")
        self._drifted = counter("drifted_products", "Products about which audits found the catalog wrong.")
        self._webhook_checks = counter("webhook_checks", "Checks of the webhooks of shops.", "platform", "outcome")
        self._database_failures = counter(
            "database_failures", "Operations of syncs given up because the database was unavailable."
        )
        self._database_up = gauge("database_up", "Whether the last ping of the database succeeded.")
        self._watchers = gauge("watchers", "Watchers on this replica, of syncs, items and changes.")
        self._change_followers = gauge("change_followers", "Followers of many shops on this replica.")
        self._changes = counter("changes_read", "Records that this replica has read for them.")
        self._change_delay = gauge(
            "change_delay_seconds",
            "Age of the oldest committed change that they cannot get yet, because an older transaction is open.",
        )
        self._wait_reasons: dict[tuple[UUID, int], WaitReason] = {}
        self._queue_platforms: set[str] = set()
        for reason in WaitReason:
            self._waiting.labels(reason.value)

    def read_watchers_from(self, count: Callable[[], int], *, changes: Callable[[], int]) -> None:
        """Call `count` for the number of watchers at each scrape, and `changes` for those of many shops."""
        self._watchers.set_function(count)
        self._change_followers.set_function(changes)

    def changes_read(self, count: int, *, delay: timedelta) -> None:
        """Count records of the change feed, and set its delay."""
        self._changes.inc(count)
        self._change_delay.set(delay.total_seconds())

    def queue_read(self, pending: Sequence[PendingSyncs]) -> None:
        """Set the gauges of the queue; platforms without pending syncs get zeros."""
        by_platform = {each.platform: each for each in pending}
        self._queue_platforms |= by_platform.keys()
        for platform in self._queue_platforms:
            found = by_platform.get(platform)
            self._pending.labels(platform).set(found.count if found else 0)
            self._oldest_pending.labels(platform).set(found.oldest_age.total_seconds() if found else 0)

    def queue_unknown(self) -> None:
        """Remove the gauges of the queue: old values would hide that the queue cannot be read."""
        self._pending.clear()
        self._oldest_pending.clear()

    def run_started(self, claimed: ClaimedSync) -> None:
        platform = claimed.sync.shop.key.platform
        first = claimed.sync.attempt_count <= 1
        (self._claims if first else self._takeovers).labels(platform).inc()
        self._running.labels(platform).inc()

    def run_ended(self, claimed: ClaimedSync) -> None:
        self._running.labels(claimed.sync.shop.key.platform).dec()
        self.wait_ended(claimed.lease)

    def wait_started(self, lease: Lease, platform: str, reason: WaitReason) -> None:
        self._waits.labels(platform, reason.value).inc()
        self.wait_ended(lease)
        self._wait_reasons[lease.sync_id, lease.epoch] = reason
        self._waiting.labels(reason.value).inc()

    def wait_ended(self, lease: Lease) -> None:
        reason = self._wait_reasons.pop((lease.sync_id, lease.epoch), None)
        if reason is not None:
            self._waiting.labels(reason.value).dec()

    def batch_stored(self, platform: str, batch: SourceBatch, seconds: float) -> None:
        self._batches.labels(platform).inc()
        self._products.labels(platform).inc(len(batch.products))
        self._items.labels(platform).inc(batch.item_count)
        self._issues.labels(platform).inc(len(batch.issues))
        self._seconds.labels(platform).observe(seconds)

    def sync_ended(self, sync: Sync) -> None:
        reason = sync.error.reason if sync.error else _NO_ERROR
        self._ended.labels(sync.shop.key.platform, sync.mode.value, sync.state.value, reason).inc()

    def webhook_received(self, platform: str, outcome: IngestOutcome) -> None:
        self._webhooks.labels(platform, outcome.value).inc()

    def refresh_read(self, platform: str, result: RefreshResult) -> None:
        self._refresh_reads.labels(platform).inc()
        counts = {
            "changed": result.changed,
            "unchanged": result.stored - result.changed,
            "deleted": result.deleted,
            "dropped": result.dropped,
        }
        for name, count in counts.items():
            self._refreshed.labels(platform, name).inc(count)

    def refresh_failed(self, platform: str, reason: str) -> None:
        self._refresh_failures.labels(platform, reason).inc()

    def refreshes_pending(self, pending: PendingRefreshes | None) -> None:
        """Set the gauges of the products that wait; NaN while that is unknown."""
        self._refreshes_pending.set(math.nan if pending is None else pending.count)
        self._oldest_refresh.set(math.nan if pending is None else pending.oldest_age.total_seconds())

    def audit_ended(self, platform: str, result: AuditResult) -> None:
        self._audits.labels(platform).inc()
        self._audited.inc(result.products_checked)
        self._drifted.inc(result.drifted)

    def audit_failed(self, platform: str, reason: str) -> None:
        self._audit_failures.labels(platform, reason).inc()

    def webhooks_checked(self, platform: str, outcome: str) -> None:
        self._webhook_checks.labels(platform, outcome).inc()

    def lease_lost(self) -> None:
        self._lost.inc()

    def database_failed(self) -> None:
        self._database_failures.inc()

    def database_up(self, up: bool) -> None:
        """Store whether the last ping succeeded."""
        self._database_up.set(up)


class NullSyncMetrics:
    """`SyncMetrics` that count nothing, for tests."""

    def run_started(self, claimed: ClaimedSync) -> None:
        pass

    def run_ended(self, claimed: ClaimedSync) -> None:
        pass

    def wait_started(self, lease: Lease, platform: str, reason: WaitReason) -> None:
        pass

    def wait_ended(self, lease: Lease) -> None:
        pass

    def batch_stored(self, platform: str, batch: SourceBatch, seconds: float) -> None:
        pass

    def sync_ended(self, sync: Sync) -> None:
        pass

    def lease_lost(self) -> None:
        pass

    def database_failed(self) -> None:
        pass


class NullRefreshMetrics:
    """`RefreshMetrics` that count nothing, for tests."""

    def webhook_received(self, platform: str, outcome: IngestOutcome) -> None:
        pass

    def refresh_read(self, platform: str, result: RefreshResult) -> None:
        pass

    def refresh_failed(self, platform: str, reason: str) -> None:
        pass

    def refreshes_pending(self, pending: PendingRefreshes | None) -> None:
        pass


class NullAuditMetrics:
    """`AuditMetrics` that count nothing, for tests."""

    def audit_ended(self, platform: str, result: AuditResult) -> None:
        pass

    def audit_failed(self, platform: str, reason: str) -> None:
        pass
