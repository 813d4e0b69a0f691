"""The ports of the engine, counted; otherwise the very ports."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import ClaimedSync, Lease, StartedPass, StartSyncCommand, Sync, SyncError, SyncState
from catalog_svc.metrics.syncs import SyncMetrics
from catalog_svc.usecases.ports import Batches, Leases, Runs, SyncCommands


class MeteredLeases:
    """`Leases`."""

    def __init__(self, inner: Leases, metrics: SyncMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        with noticing(self._metrics):
            return await self._inner.claim(limit=limit, without_platforms=without_platforms)

    async def renew(self, lease: Lease) -> None:
        with noticing(self._metrics):
            await self._inner.renew(lease)

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        with noticing(self._metrics):
            return await self._inner.reacquire(lease)

    async def release(self, lease: Lease) -> None:
        with noticing(self._metrics):
            await self._inner.release(lease)

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        with noticing(self._metrics):
            begun = await self._inner.begin(lease, header, restart=restart)
        self._metrics.goes_on(lease)
        return begun

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        with noticing(self._metrics):
            sync = await self._inner.wait(lease, shop, waiting)
        self._metrics.waits(lease, shop.key.platform, waiting.reason)
        return sync

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        with noticing(self._metrics):
            sync = await self._inner.pause(lease, shop, waiting)
        self._metrics.waits(lease, shop.key.platform, waiting.reason)
        return sync

    async def end(
        self, lease: Lease, state: SyncState, error: SyncError | None = None, *, notes: Sequence[str] = ()
    ) -> Sync:
        with noticing(self._metrics):
            sync = await self._inner.end(lease, state, error, notes=notes)
        self._metrics.ended(sync)
        return sync


class MeteredBatches:
    """`Batches`."""

    def __init__(self, inner: Batches, metrics: SyncMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        begin = time.monotonic()
        with noticing(self._metrics):
            stored = await self._inner.apply(lease, shop, batch, full=full, items_per_second=items_per_second)
        self._metrics.stored(shop.key.platform, batch, time.monotonic() - begin)
        self._metrics.goes_on(lease)
        return stored


class MeteredSyncCommands:
    """`SyncCommands`. A cancel that is asked for twice is counted twice."""

    def __init__(self, inner: SyncCommands, metrics: SyncMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def start(self, order: StartSyncCommand) -> Sync:
        with noticing(self._metrics):
            return await self._inner.start(order)

    async def cancel(self, sync_id: UUID) -> Sync:
        with noticing(self._metrics):
            sync = await self._inner.cancel(sync_id)
        self._metrics.ended(sync)
        return sync

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        with noticing(self._metrics):
            return await self._inner.resume(sync_id, request_id=request_id, correlation_id=correlation_id)


class MeteredSupervisor:
    """`Runs`."""

    def __init__(self, inner: Runs, metrics: SyncMetrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def run(self, claimed: ClaimedSync) -> None:
        self._metrics.claimed(claimed)
        try:
            await self._inner.run(claimed)
        finally:
            self._metrics.run_over(claimed)


@contextmanager
def noticing(metrics: SyncMetrics) -> Iterator[None]:
    """Counts what a store refuses or cannot do."""
    try:
        yield
    except LeaseLost:
        metrics.lease_lost()
        raise
    except StorageUnavailable:
        metrics.database_failed()
        raise
