"""Running claimed syncs: the work beside its lease, a cancel and the drain."""

from __future__ import annotations

import asyncio
import logging

from catalogsync_common.call_context import correlated
from catalogsync_common.drain import Drain, ServerDraining

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.sync import ClaimedSync, Lease
from catalog_svc.usecases.fair_share import FairShareThrottle
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps
from catalog_svc.usecases.retry_policy import RunConfig
from catalog_svc.usecases.sync_execution import SyncExecution, about
from catalog_svc.usecases.sync_hub import SyncFeed

_log = logging.getLogger(__name__)


class SyncSupervisor:
    """Runs claimed syncs, any number at once."""

    def __init__(
        self,
        *,
        leases: Leases,
        batches: Batches,
        source: ProductSource,
        sweeps: Sweeps,
        feed: SyncFeed,
        drain: Drain,
        limits: RunConfig,
    ) -> None:
        self._leases = leases
        self._batches = batches
        self._source = source
        self._sweeps = sweeps
        self._feed = feed
        self._drain = drain
        self._limits = limits
        self._turns = FairShareThrottle()

    async def run(self, claimed: ClaimedSync) -> None:
        """Works until the sync has ended, also by a cancel, the lease is lost, or the drain begins (then it is
        handed over)."""
        with correlated(claimed.sync.correlation_id), self._turns.register() as turn:
            _log.info("sync taken up", extra=about(claimed))
            run = SyncExecution(
                claimed,
                self._leases,
                self._batches,
                self._source,
                self._sweeps,
                self._feed,
                self._turns,
                turn,
                self._limits,
            )
            working = asyncio.create_task(self._drain.race(run.to_the_end()))
            watching = (
                asyncio.create_task(self._keep_lease(claimed.lease)),
                asyncio.create_task(self._ended_by_others(run)),
            )
            try:
                await asyncio.wait((working, *watching), return_when=asyncio.FIRST_COMPLETED)
                # A run that is ending hears from its own last write whether the end is its own.
                for task in watching:
                    if task.done() and not run.is_ending:
                        task.result()
                await working
            except ServerDraining:
                await self._leases.release(run.lease)
                _log.info("sync handed over", extra=about(claimed))
            except LeaseLost:
                _log.warning("sync lost to another replica, or ended by it", extra=about(claimed))
            finally:
                for task in (working, *watching):
                    task.cancel()
                await asyncio.gather(working, *watching, return_exceptions=True)

    async def _ended_by_others(self, run: SyncExecution) -> None:
        """Raises LeaseLost when somebody else has ended the sync, on whatever replica."""
        with self._feed.follow(run.lease.sync_id, counted=False) as subscription:
            ended = await subscription.ended()
        if not run.is_ending:
            _log.info("sync was ended: %s", ended.state.value, extra={"sync_id": str(ended.sync_id)})
            raise LeaseLost

    async def _keep_lease(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._limits.renew_every.total_seconds())
            # Safety rests on the epoch, not on this: if the next renewal comes in time, nothing is lost.
            try:
                await self._leases.renew(lease)
            except LeaseLost:
                raise
            except StorageUnavailable:
                _log.warning("lease not renewed: the database does not answer")
            except Exception:
                _log.exception("lease not renewed", extra={"sync_id": str(lease.sync_id)})
