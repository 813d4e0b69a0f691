"""Running one claimed sync: fetch and store overlap, every step is conditional on the lease."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from catalog_svc.domain.errors import (
    LeaseLost,
    SourceFailed,
    SourceIncomplete,
    StorageUnavailable,
    SyncStalled,
)
from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.rate import RateMeter
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceHeader, SourceRequest
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, SyncError, SyncMode, SyncState
from catalog_svc.usecases.completeness import check_complete
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps
from catalog_svc.usecases.read_ahead import ReadAhead
from catalog_svc.usecases.sync_feed import SyncFeed
from servicekit.correlation import correlated
from servicekit.drain import Drain, ServerDraining

_log = logging.getLogger(__name__)

_WAITS = {
    "SOURCE_RATE_LIMITED": WaitReason.THROTTLED,
    "TOKEN_SERVICE_UNAVAILABLE": WaitReason.TOKEN_SERVICE,
    "SOURCE_UNREACHABLE": WaitReason.SOURCE_UNREACHABLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits:
    """How a run behaves."""

    renew_every: timedelta = timedelta(seconds=5)
    """A third of the lease's TTL: one missed renewal must not lose it."""
    items_per_transaction: int = 2_000
    """Below 500 rows a transaction's fixed cost dominates; above some thousand nothing is gained."""
    give_up_after: timedelta = timedelta(minutes=1)
    """How long a source may fail without a batch between before the sync fails."""
    max_retry_delay: timedelta = timedelta(seconds=30)
    max_claims_without_progress: int = 5


class SyncRunner:
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
        limits: RunLimits,
    ) -> None:
        self._leases = leases
        self._batches = batches
        self._source = source
        self._sweeps = sweeps
        self._feed = feed
        self._drain = drain
        self._limits = limits

    async def run(self, claimed: ClaimedSync) -> None:
        """Works until the sync has ended, also by a cancel, the lease is lost, or the drain begins (then it is
        handed over)."""
        with correlated(claimed.sync.correlation_id):
            _log.info("sync taken up", extra=_about(claimed))
            run = _Run(claimed, self._leases, self._batches, self._source, self._sweeps, self._feed, self._limits)
            working = asyncio.create_task(self._drain.race(run.to_the_end()))
            watching = (
                asyncio.create_task(self._keep_lease(claimed.lease)),
                asyncio.create_task(self._ended_by_others(run)),
            )
            try:
                await asyncio.wait((working, *watching), return_when=asyncio.FIRST_COMPLETED)
                for task in watching:
                    if task.done():
                        task.result()
                await working
            except ServerDraining:
                await self._leases.release(run.lease)
                _log.info("sync handed over", extra=_about(claimed))
            except LeaseLost:
                _log.warning("sync lost to another replica, or ended by it", extra=_about(claimed))
            finally:
                for task in (working, *watching):
                    task.cancel()
                await asyncio.gather(working, *watching, return_exceptions=True)

    async def _ended_by_others(self, run: _Run) -> None:
        """Raises LeaseLost when somebody else has ended the sync, on whatever replica."""
        with self._feed.follow(run.lease.sync_id, counted=False) as subscription:
            ended = await subscription.ended()
        if not run.has_ended:
            _log.info("sync was ended: %s", ended.state.value, extra={"sync_id": str(ended.sync_id)})
            raise LeaseLost

    async def _keep_lease(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._limits.renew_every.total_seconds())
            try:
                await self._leases.renew(lease)
            except StorageUnavailable:
                # Safety rests on the epoch, not on this: if the database returns in time, nothing is lost.
                _log.warning("lease not renewed: the database does not answer")


class _Run:
    """One sync between claim and end."""

    def __init__(
        self,
        claimed: ClaimedSync,
        leases: Leases,
        batches: Batches,
        source: ProductSource,
        sweeps: Sweeps,
        feed: SyncFeed,
        limits: RunLimits,
    ) -> None:
        self.lease = claimed.lease
        self._claimed = claimed
        self._sync = claimed.sync
        self._checkpoint = claimed.checkpoint
        self._leases = leases
        self._batches = batches
        self._source = source
        self._sweeps = sweeps
        self._feed = feed
        self._limits = limits
        self._meter = RateMeter()
        self._moved_at = time.monotonic()
        self._failures = 0

    @property
    def has_ended(self) -> bool:
        """Whether this run itself has brought the sync to its end."""
        return self._sync.state.ended

    async def to_the_end(self) -> None:
        """Passes, each from the last checkpoint, until one is complete or trying again is wrong."""
        self._feed.publish(self._sync)
        if self._claimed.claims_without_progress > self._limits.max_claims_without_progress:
            await self._fail(SyncStalled(self._claimed.claims_without_progress - 1))
            return
        while not self._sync.state.ended:
            try:
                await self._one_pass()
            except SourceFailed as failure:
                stuck_for = time.monotonic() - self._moved_at
                if not failure.passing or stuck_for >= self._limits.give_up_after.total_seconds():
                    await self._fail(failure)
                else:
                    await self._pause(failure)

    async def _one_pass(self) -> None:
        request = SourceRequest(
            shop=self._sync.shop.key,
            updated_after=self._claimed.updated_after,
            checkpoint=self._checkpoint,
            max_batch_products=self._batch_limit(),
        )
        async with ReadAhead(self._source.fetch(request)) as events:
            while (event := await events.next()) is not None:
                match event:
                    case SourceHeader():
                        self._show(await self._leases.begin(self.lease, event))
                        self._meter.start(time.monotonic())
                    case SourceBatch():
                        await self._store(events.with_following(event, self._limits.items_per_transaction))
                    case Waiting():
                        self._show(await self._leases.wait(self.lease, self._sync.shop, event))
                    case SourceEnd():
                        check_complete(self._sync, event)
                        await self._sweep(event)
                        await self._succeed()
                        return
        raise SourceIncomplete

    def _batch_limit(self) -> int:
        """The connector's choice; smaller when claim after claim dies of a batch, to find the one that kills."""
        fruitless = self._claimed.claims_without_progress
        return 0 if fruitless <= 1 or self._sync is not self._claimed.sync else max(1, 250 >> fruitless)

    async def _store(self, batch: SourceBatch) -> None:
        rate = self._meter.add(time.monotonic(), batch.item_count)
        self.lease, sync = await self._batches.apply(
            self.lease,
            self._sync.shop,
            batch,
            full=self._sync.mode is SyncMode.FULL,
            items_per_second=rate,
        )
        self._checkpoint = batch.checkpoint
        self._moved_at = time.monotonic()
        self._failures = 0
        self._show(sync)

    async def _sweep(self, end: SourceEnd) -> None:
        """Marks what the platform no longer has: only a full pass that nothing casts a doubt on can tell."""
        if self._sync.mode is not SyncMode.FULL:
            return
        if end.warnings:
            _log.warning("nothing is taken for gone", extra={"warnings": list(end.warnings)})
            return
        swept: Sync | None = self._sync
        while swept is not None:
            self.lease, swept = await self._sweeps.step(self.lease, self._sync.shop)
            if swept is not None:
                self._show(swept)

    async def _pause(self, failure: SourceFailed) -> None:
        self._failures += 1
        longest = min(self._limits.max_retry_delay.total_seconds(), 2.0 ** (self._failures - 1))
        delay = timedelta(seconds=random.uniform(0.5, 1) * longest)
        if failure.retry_after is not None:
            delay = max(delay, min(failure.retry_after, self._limits.max_retry_delay))
        waiting = Waiting(
            reason=_WAITS.get(failure.reason, WaitReason.CONNECTOR),
            until=datetime.now(UTC) + delay,
            message=failure.message,
        )
        _log.warning("source failed, trying again", extra={"reason": failure.reason, "attempt": self._failures})
        self._show(await self._leases.wait(self.lease, self._sync.shop, waiting))
        await asyncio.sleep(delay.total_seconds())

    async def _succeed(self) -> None:
        self._show(await self._leases.end(self.lease, SyncState.SUCCEEDED))
        await self._sweeps.forget_seen(self.lease)
        _log.info("sync succeeded", extra={**_about(self._claimed), **_counts(self._sync)})

    async def _fail(self, failure: SourceFailed) -> None:
        error = SyncError(reason=failure.reason, message=failure.message, metadata=failure.metadata)
        self._show(await self._leases.end(self.lease, SyncState.FAILED, error))
        _log.warning("sync failed", extra={**_about(self._claimed), "reason": failure.reason})

    def _show(self, sync: Sync) -> None:
        self._sync = sync
        self._feed.publish(sync)


def _about(claimed: ClaimedSync) -> dict[str, object]:
    sync = claimed.sync
    return {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key), "epoch": claimed.lease.epoch}


def _counts(sync: Sync) -> dict[str, object]:
    progress = sync.progress
    return {"products": progress.products.seen, "items": progress.items.seen, "issues": progress.issue_count}
