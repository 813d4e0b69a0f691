"""A replica that runs one sync: the real supervisor and watch hub over a catalog in memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.domain.sync import ClaimedSync
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.usecases.sync_execution import SyncDependencies
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.sync_limits import RunConfig
from catalog_svc.usecases.worker import SyncSupervisor
from tests.fakes.changing_shop import ChangingShop, SteppedReader
from tests.fakes.memory_batches import MemoryBatches, MemorySweeps
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_sync_commands import MemorySyncs

_AT_ONCE = timedelta(0)
_CONFIG = RunConfig(
    renew_interval=timedelta(hours=1),
    max_retry_delay=_AT_ONCE,
    max_connector_retry_delay=_AT_ONCE,
    storage_retry_delay=_AT_ONCE,
)


class Process:
    """A process: everything that is lost when it is killed."""

    def __init__(self, catalog: MemoryCatalog, shop: ChangingShop) -> None:
        self.link = MemoryLink(catalog)
        self.leases = MemoryLeases(self.link)
        self.reader = SteppedReader(shop)
        self.hub = SyncHub(MemorySyncs(self.link))
        self.drain = Drain()
        self.task: asyncio.Task[None] | None = None
        self.claimed: ClaimedSync | None = None

    async def claim(self) -> ClaimedSync | None:
        """Claim a sync and start to run it."""
        self.claimed = next(iter(await self.leases.claim()), None)
        if self.claimed is not None:
            dependencies = SyncDependencies(
                leases=self.leases,
                batches=MemoryBatches(self.link),
                source=self.reader,
                sweeps=MemorySweeps(self.link),
                hub=self.hub,
                metrics=NullSyncMetrics(),
                config=_CONFIG,
            )
            supervisor = SyncSupervisor(dependencies, drain=self.drain)
            self.task = asyncio.create_task(supervisor.run(self.claimed))
        return self.claimed

    @property
    def done(self) -> bool:
        """Whether the run has ended. Raises its error, unless that is StorageUnavailable."""
        if self.task is None or not self.task.done():
            return False
        error = self.task.exception()
        if error is not None and not isinstance(error, StorageUnavailable):
            raise error
        return True

    async def kill(self) -> None:
        """Lose all state, at whatever point the run is."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
