"""Worker: claims syncs that no replica runs, and supervises their runs.

Recovery after any crash is this same loop on another replica: the lease of a dead one runs out, and is claimed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from catalogsync_common.call_context import correlated
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable, SyncNotFound
from catalog_svc.domain.sync import ClaimedSync, Lease
from catalog_svc.usecases.ports import Leases, SyncMetrics
from catalog_svc.usecases.sync_commands import count_database_failures
from catalog_svc.usecases.sync_execution import SyncDependencies, SyncExecution, log_context
from catalog_svc.usecases.sync_limits import FairShareThrottle

_log = logging.getLogger(__name__)


class Worker:
    """The claim loop of one replica; runs as many syncs at once as the replica may."""

    def __init__(
        self,
        *,
        leases: Leases,
        supervisor: SyncSupervisor,
        drain: Drain,
        max_running: int,
        max_per_platform: int,
        metrics: SyncMetrics,
        poll_interval: timedelta = timedelta(seconds=1),
    ) -> None:
        self._leases = leases
        self._supervisor = supervisor
        self._drain = drain
        self._max_running = max_running
        self._max_per_platform = max_per_platform
        self._metrics = metrics
        self._poll_interval_seconds = poll_interval.total_seconds()
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], ClaimedSync] = {}

    def wake(self) -> None:
        """Claim now instead of at the next poll."""
        self._wake.set()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Claim and run syncs until the drain, then wait for the runs to hand over.

        When this raises, the runs continue; when it is called again, it continues beside them. When it is
        cancelled, so are they.
        """
        try:
            await self._claim_until_drain(heartbeat)
            await asyncio.gather(*self._running, return_exceptions=True)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise

    async def _claim_until_drain(self, heartbeat: Heartbeat) -> None:
        batch_size = 1
        while not self._drain.started:
            self._wake.clear()
            wanted = min(batch_size, self._free_slots())
            claimed = await self._claim_batch(wanted)
            heartbeat()
            # When many syncs are claimable, single claims would leave slots free for a round trip each. The batch
            # grows step by step, so that other replicas get their share, and an idle one sends one claim per poll.
            batch_size = 2 * claimed if claimed == wanted > 0 else 1
            if not claimed:
                with suppress(ServerDraining):
                    await self._drain.race(self._wait_for_poll())

    def _free_slots(self) -> int:
        """Return how many syncs may be claimed at once, whatever their platforms turn out to be."""
        full = self._full_platforms()
        counts = [count for platform, count in self._by_platform().items() if platform not in full]
        return min(self._max_running - len(self._running), self._max_per_platform - max(counts, default=0))

    async def _claim_batch(self, wanted: int) -> int:
        """Claim up to `wanted` syncs, start their runs, and return how many there were."""
        claimed = await self._claim(wanted) if wanted > 0 else []
        for sync in claimed:
            self._start(sync)
        return len(claimed)

    async def _claim(self, wanted: int) -> list[ClaimedSync]:
        try:
            with count_database_failures(self._metrics):
                return await self._leases.claim(limit=wanted, without_platforms=self._full_platforms())
        except StorageUnavailable:
            _log.warning("cannot claim syncs: the database is unavailable")
            return []

    def _full_platforms(self) -> list[str]:
        """Return the platforms at their limit: a slow platform leaves slots free for the others."""
        return [platform for platform, count in self._by_platform().items() if count >= self._max_per_platform]

    def _by_platform(self) -> Counter[str]:
        return Counter(claimed.sync.shop.key.platform for claimed in self._running.values())

    def _start(self, claimed: ClaimedSync) -> None:
        earlier = [task for task, other in self._running.items() if other.sync.sync_id == claimed.sync.sync_id]
        task = asyncio.create_task(self._run(claimed, earlier))
        self._running[task] = claimed
        task.add_done_callback(self._run_ended)

    def _run_ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        # There is a free slot.
        self.wake()

    async def _run(self, claimed: ClaimedSync, earlier: Collection[asyncio.Task[None]]) -> None:
        """Run the sync once its `earlier` runs have ended, which have not noticed yet that they lost the lease."""
        for task in earlier:
            task.cancel()
        try:
            if earlier:
                await asyncio.wait(earlier)
            await self._supervisor.run(claimed)
        except Exception:
            # The lease runs out and a replica tries again; SYNC_STALLED ends a sync that always fails like this.
            _log.exception("the run of a sync failed", extra={"sync_id": str(claimed.sync.sync_id)})

    async def _wait_for_poll(self) -> None:
        try:
            async with asyncio.timeout(self._poll_interval_seconds * random.uniform(0.7, 1.3)):
                await self._wake.wait()
        except TimeoutError:
            return


class SyncSupervisor:
    """Runs claimed syncs, any number at once: renews their leases, and stops them on a cancel or the drain."""

    def __init__(self, dependencies: SyncDependencies, *, drain: Drain) -> None:
        self._dependencies = dependencies
        self._leases = dependencies.leases
        self._hub = dependencies.hub
        self._metrics = dependencies.metrics
        self._renew_interval_seconds = dependencies.config.renew_interval.total_seconds()
        self._drain = drain
        self._throttle = FairShareThrottle()

    async def run(self, claimed: ClaimedSync) -> None:
        """Run the sync until it has ended or was cancelled, its lease is lost, or the drain hands it over."""
        self._metrics.run_started(claimed)
        try:
            with correlated(claimed.sync.correlation_id), self._throttle.register() as registered:
                _log.info("sync claimed", extra=log_context(claimed))
                await self._supervise(
                    claimed, SyncExecution(claimed, self._dependencies, self._throttle, registered)
                )
        finally:
            self._metrics.run_ended(claimed)

    async def _supervise(self, claimed: ClaimedSync, execution: SyncExecution) -> None:
        running = asyncio.create_task(self._drain.race(execution.run()))
        watching = (
            asyncio.create_task(self._keep_lease(claimed.lease, execution)),
            asyncio.create_task(self._ended_by_others(execution)),
        )
        try:
            await asyncio.wait((running, *watching), return_when=asyncio.FIRST_COMPLETED)
            # An execution that is ending learns from the reply to its own last write whether the end is its own.
            for task in watching:
                if task.done() and not execution.is_ending:
                    task.result()
            await running
        except ServerDraining:
            with count_database_failures(self._metrics):
                await self._leases.release(execution.lease)
            _log.info("sync handed over", extra=log_context(claimed))
        except LeaseLost:
            _log.warning("lease lost: the sync was ended or claimed by others", extra=log_context(claimed))
        finally:
            for task in (running, *watching):
                task.cancel()
            await asyncio.gather(running, *watching, return_exceptions=True)

    async def _ended_by_others(self, execution: SyncExecution) -> None:
        """Raise LeaseLost when the sync was ended by others, on any replica, or its shop was deleted."""
        sync_id = execution.lease.sync_id
        with self._hub.subscribe(sync_id, is_watcher=False) as subscription:
            try:
                outcome = (await subscription.ended()).state.value
            except SyncNotFound:
                outcome = "its shop is deleted"
        if not execution.is_ending:
            _log.info("sync was ended: %s", outcome, extra={"sync_id": str(sync_id)})
            raise LeaseLost

    async def _keep_lease(self, lease: Lease, execution: SyncExecution) -> None:
        """Lease renewal: renew until the lease is lost. Raises LeaseLost."""
        while True:
            await asyncio.sleep(self._renew_interval_seconds)
            # Safety rests on the epoch, not on this: if the next renewal comes in time, nothing is lost.
            try:
                with count_database_failures(self._metrics):
                    await self._leases.renew(lease)
                self._metrics.lease_renewed(lease)
            except LeaseLost:
                # The end of the sync ends its lease as well, and that is not a loss.
                if not execution.is_ending:
                    self._metrics.lease_lost()
                raise
            except StorageUnavailable:
                _log.warning("lease not renewed: the database is unavailable")
            except Exception:
                _log.exception("lease not renewed", extra={"sync_id": str(lease.sync_id)})
