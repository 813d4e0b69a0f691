"""The worker: takes up syncs that nobody runs, as many at once as this replica may.

Running claimed syncs: the work beside its lease, a cancel and the drain."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat
from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.domain.sync import ClaimedSync
from catalog_svc.usecases.ports import Leases, Runs
from catalogsync_common.correlation import correlated
from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.sync import ClaimedSync, Lease
from catalog_svc.usecases.fair_share import FairShareThrottle
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps
from catalog_svc.usecases.retry_policy import RunConfig
from catalog_svc.usecases.sync_execution import SyncExecution, about
from catalog_svc.usecases.sync_hub import SyncFeed

_log = logging.getLogger(__name__)

class Worker:
    """The ordinary claim loop; recovery after any crash is nothing else than this loop on some replica."""

    def __init__(
        self,
        *,
        leases: Leases,
        runner: Runs,
        drain: Drain,
        max_running: int,
        max_per_platform: int,
        poll_every: timedelta = timedelta(seconds=1),
    ) -> None:
        self._leases = leases
        self._runner = runner
        self._drain = drain
        self._max_running = max_running
        self._max_per_platform = max_per_platform
        self._poll_every = poll_every.total_seconds()
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], ClaimedSync] = {}

    def wake(self) -> None:
        """Looks for work now instead of at the next poll."""
        self._wake.set()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Claims and runs until the drain, then waits for the runs to hand over.

        When it raises, the runs go on; called again, it goes on beside them. When it is cancelled, so are they.
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
        at_once = 1
        while not self._drain.started:
            self._wake.clear()
            wanted = min(at_once, self._room())
            taken = await self._take_up(wanted)
            heartbeat()
            # Where work is plenty, a claim's round trips would leave room unused if one waited for the other.
            # Step by step, so that other replicas get their share, and an idle one asks once at each poll.
            at_once = 2 * taken if taken == wanted > 0 else 1
            if not taken:
                with suppress(ServerDraining):
                    await self._drain.race(self._rest())

    def _room(self) -> int:
        """How many syncs may be taken up at once, whatever their platforms turn out to be."""
        full = self._full_platforms()
        counts = [count for platform, count in self._by_platform().items() if platform not in full]
        return min(self._max_running - len(self._running), self._max_per_platform - max(counts, default=0))

    async def _take_up(self, wanted: int) -> int:
        """How many of those wanted there were; they run now."""
        claimed = await self._claim(wanted) if wanted > 0 else []
        for one in claimed:
            self._start(one)
        return len(claimed)

    async def _claim(self, wanted: int) -> list[ClaimedSync]:
        try:
            return await self._leases.claim(limit=wanted, without_platforms=self._full_platforms())
        except StorageUnavailable:
            _log.warning("cannot look for work: the database does not answer")
            return []

    def _full_platforms(self) -> list[str]:
        """Those that may take no more of this replica: a slow platform leaves room for the others."""
        return [platform for platform, count in self._by_platform().items() if count >= self._max_per_platform]

    def _by_platform(self) -> Counter[str]:
        return Counter(claimed.sync.shop.key.platform for claimed in self._running.values())

    def _start(self, claimed: ClaimedSync) -> None:
        earlier = [task for task, other in self._running.items() if other.sync.sync_id == claimed.sync.sync_id]
        task = asyncio.create_task(self._run(claimed, earlier))
        self._running[task] = claimed
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        # There is room for another one.
        self.wake()

    async def _run(self, claimed: ClaimedSync, earlier: Collection[asyncio.Task[None]]) -> None:
        """Runs the sync once `earlier` runs of it have ended, which do not know yet that they lost the lease."""
        for task in earlier:
            task.cancel()
        try:
            if earlier:
                await asyncio.wait(earlier)
            await self._runner.run(claimed)
        except Exception:
            # The lease runs out and some replica tries again; SYNC_STALLED ends a sync that always breaks.
            _log.exception("run broke", extra={"sync_id": str(claimed.sync.sync_id)})

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._poll_every * random.uniform(0.7, 1.3)):
                await self._wake.wait()
        except TimeoutError:
            return




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
