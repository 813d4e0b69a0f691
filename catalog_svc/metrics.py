"""Prometheus metrics of the catalog: syncs, batches, leases, refreshes, audits, watchers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog_svc.domain.audit import AuditResult
from catalog_svc.domain.refresh import IngestOutcome, RefreshResult
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, WaitReason
from catalog_svc.domain.webhook_health import WebhookCheckOutcome

_TRANSACTION_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_EVENT_AGE_BUCKETS_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_NO_ERROR: Final = ""
_COUNT_MISMATCH: Final = "SOURCE_COUNT_MISMATCH"


class CatalogMetrics:
    """`SyncMetrics`, `RefreshMetrics` and `AuditMetrics` of one replica, with its gauges.

    Sums over all replicas describe the system. A run is identified by the sync and epoch of its lease: one that
    has lost its lease may overlap with the next one of its sync.

    Counters of rare events that alerts look for have a value from the start, and so no labels with unknown values:
    Prometheus does not see the increase of a series that begins with its first event.
    """

    def __init__(self, registry: CollectorRegistry, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"catalog_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"catalog_{name}", text, labels, registry=registry)

        self._ended = counter("syncs_ended", "Syncs that ended.", "platform", "mode", "state", "reason")
        self._running = gauge("syncs_running", "Syncs that run on this replica.", "platform")
        self._waiting = gauge("syncs_waiting", "Syncs that run on this replica and wait, by reason.", "reason")
        self._waits = counter("sync_waits", "Waits of syncs.", "platform", "reason")
        self._claims = counter("syncs_claimed", "Syncs claimed for their first attempt.", "platform")
        self._takeovers = counter("syncs_taken_over", "Syncs claimed for a later attempt.")
        self._mismatches = counter(
            "count_mismatches", "Syncs that failed because fewer products arrived than were counted."
        )
        self._lease_age = gauge(
            "lease_age_seconds", "Longest time since a lease that this replica holds was claimed or renewed."
        )
        self._lease_age.set_function(self._longest_lease_age)
        self._lost = counter("leases_lost", "Writes refused because the lease of the sync was lost.")
        self._batches = counter("batches_stored", "Batches committed.", "platform")
        self._products = counter("products_stored", "Products in committed batches.", "platform")
        self._items = counter("items_stored", "Items in committed batches.", "platform")
        self._issues = counter(
            "issues_stored", "Issues in committed batches.", "platform", "reason", "product_rejected"
        )
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
        self._audits = counter("audits_ended", "Audits that have a result.", "platform")
        self._audit_failures = counter("audit_failures", "Audits that failed.", "platform", "reason")
        self._audited = counter("audited_products", "Products that audits have compared.")
        self._drifted = counter("drifted_products", "Products about which audits found the catalog wrong.")
        self._webhook_checks = counter("webhook_checks", "Checks of the webhooks of shops.", "outcome")
        self._database_failures = counter(
            "database_failures", "Operations of syncs given up because the database was unavailable."
        )
        self._watchers = gauge("watchers", "Watchers on this replica, of syncs, items and changes.")
        self._change_followers = gauge("change_followers", "Followers of many shops on this replica.")
        self._changes = counter("changes_read", "Records that this replica has read for them.")
        self._change_delay = gauge(
            "change_delay_seconds",
            "Age of the oldest committed change that they cannot get yet, because an older transaction is open.",
        )
        self._event_age = Histogram(
            "catalog_event_age_seconds",
            "Time from the write of a change, by PostgreSQL's clock, to its delivery to a watcher.",
            ["stream"],
            buckets=_EVENT_AGE_BUCKETS_SECONDS,
            registry=registry,
        )
        self._monotonic = monotonic
        self._wait_reasons: dict[tuple[UUID, int], WaitReason] = {}
        self._renewed_at: dict[tuple[UUID, int], float] = {}
        for reason in WaitReason:
            self._waiting.labels(reason.value)
        for outcome in WebhookCheckOutcome:
            self._webhook_checks.labels(outcome.value)

    def read_watchers_from(self, count: Callable[[], int], *, changes: Callable[[], int]) -> None:
        """Call `count` for the number of watchers at each scrape, and `changes` for those of many shops."""
        self._watchers.set_function(count)
        self._change_followers.set_function(changes)

    def changes_read(self, count: int, *, delay: timedelta) -> None:
        """Count records of the change feed, and set its delay."""
        self._changes.inc(count)
        self._change_delay.set(delay.total_seconds())

    def event_delivered(self, stream: str, age: timedelta) -> None:
        """Count a change that a watcher gets, by its age."""
        self._event_age.labels(stream).observe(max(0.0, age.total_seconds()))

    def run_started(self, claimed: ClaimedSync) -> None:
        platform = claimed.sync.shop.key.platform
        if claimed.sync.attempt_count <= 1:
            self._claims.labels(platform).inc()
        else:
            self._takeovers.inc()
        self._running.labels(platform).inc()
        self._renewed_at[claimed.lease.sync_id, claimed.lease.epoch] = self._monotonic()

    def run_ended(self, claimed: ClaimedSync) -> None:
        self._running.labels(claimed.sync.shop.key.platform).dec()
        self.wait_ended(claimed.lease)
        self._renewed_at.pop((claimed.lease.sync_id, claimed.lease.epoch), None)

    def lease_renewed(self, lease: Lease) -> None:
        if (lease.sync_id, lease.epoch) in self._renewed_at:
            self._renewed_at[lease.sync_id, lease.epoch] = self._monotonic()

    def _longest_lease_age(self) -> float:
        # A copy: the metrics are scraped in a thread of their own.
        times = list(self._renewed_at.values())
        return self._monotonic() - min(times) if times else 0.0

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
        for issue in batch.issues:
            self._issues.labels(platform, issue.reason, str(issue.product_rejected).lower()).inc()
        self._seconds.labels(platform).observe(seconds)

    def sync_ended(self, sync: Sync) -> None:
        reason = sync.error.reason if sync.error else _NO_ERROR
        self._ended.labels(sync.shop.key.platform, sync.mode.value, sync.state.value, reason).inc()
        if reason == _COUNT_MISMATCH:
            self._mismatches.inc()

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

    def audit_ended(self, platform: str, result: AuditResult) -> None:
        self._audits.labels(platform).inc()
        self._audited.inc(result.products_checked)
        self._drifted.inc(result.drifted)

    def audit_failed(self, platform: str, reason: str) -> None:
        self._audit_failures.labels(platform, reason).inc()

    def webhooks_checked(self, outcome: WebhookCheckOutcome) -> None:
        self._webhook_checks.labels(outcome.value).inc()

    def lease_lost(self) -> None:
        self._lost.inc()

    def database_failed(self) -> None:
        self._database_failures.inc()


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

    def lease_renewed(self, lease: Lease) -> None:
        pass

    def lease_lost(self) -> None:
        pass

    def database_failed(self) -> None:
        pass


class NullDeliveryMetrics:
    """`DeliveryMetrics` that count nothing, for tests."""

    def event_delivered(self, stream: str, age: timedelta) -> None:
        pass


class NullRefreshMetrics:
    """`RefreshMetrics` that count nothing, for tests."""

    def webhook_received(self, platform: str, outcome: IngestOutcome) -> None:
        pass

    def refresh_read(self, platform: str, result: RefreshResult) -> None:
        pass

    def refresh_failed(self, platform: str, reason: str) -> None:
        pass


class NullAuditMetrics:
    """`AuditMetrics` that count nothing, for tests."""

    def audit_ended(self, platform: str, result: AuditResult) -> None:
        pass

    def audit_failed(self, platform: str, reason: str) -> None:
        pass
