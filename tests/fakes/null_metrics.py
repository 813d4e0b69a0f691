"""Metrics for tests that count nothing."""

from __future__ import annotations

from catalog_svc.domain.progress import WaitReason
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync


class NullSyncMetrics:
    """`SyncMetrics` that count nothing."""

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
