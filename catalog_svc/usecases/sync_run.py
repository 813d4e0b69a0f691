"""One sync between claim and end: fetch and store overlap, every step is conditional on the lease."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import UTC, datetime

from catalog_svc.domain.errors import (
    SourceFailed,
    SourceIncomplete,
    StorageCause,
    StorageUnavailable,
    SyncStalled,
)
from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.rate import RateMeter
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceHeader, SourceRequest
from catalog_svc.domain.sync import ClaimedSync, Sync, SyncError, SyncMode, SyncState
from catalog_svc.usecases.completeness import check_complete
from catalog_svc.usecases.patience import Patience, RunLimits, TransactionSize
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps
from catalog_svc.usecases.read_ahead import ReadAhead
from catalog_svc.usecases.sync_feed import SyncFeed
from catalog_svc.usecases.turns import Turns

_log = logging.getLogger(__name__)

_RESUMED_AT_ONCE = frozenset({"STREAM_EXPIRED", "SERVER_DRAINING"})
"""Nothing is wrong: the connector moves the stream to another connection or replica."""

_WAITS = {
    "SOURCE_RATE_LIMITED": WaitReason.THROTTLED,
    "TOKEN_SERVICE_UNAVAILABLE": WaitReason.TOKEN_SERVICE,
    "SOURCE_UNREACHABLE": WaitReason.SOURCE_UNREACHABLE,
}


_SLOW_WRITE = "the database did not finish the last write in time; a smaller one is tried"
_TOO_SLOW = "the database did not finish them in time, however small they were; look at its load and its locks"


class SyncRun:
    """One sync between claim and end."""

    def __init__(
        self,
        claimed: ClaimedSync,
        leases: Leases,
        batches: Batches,
        source: ProductSource,
        sweeps: Sweeps,
        feed: SyncFeed,
        turns: Turns,
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
        self._turns = turns
        self._limits = limits
        self._meter = RateMeter()
        self._patience = Patience(limits, claimed.stuck_for)
        self._size = TransactionSize(limits)

    @property
    def has_ended(self) -> bool:
        """Whether this run itself has brought the sync to its end."""
        return self._sync.state.ended

    async def to_the_end(self) -> None:
        """Passes, each from the last checkpoint, until one is complete or trying again is wrong."""
        self._feed.publish(self._sync)
        if self._claimed.claims_without_progress >= self._limits.max_claims_without_progress:
            await self._fail(SyncStalled(self._claimed.claims_without_progress))
            return
        while not self._sync.state.ended:
            try:
                await self._attempt()
            except StorageUnavailable as failure:
                await self._regain(failure)

    async def _attempt(self) -> None:
        try:
            await self._one_pass()
        except SourceFailed as failure:
            if self._patience.is_over(failure, never_answered=not self._sync.shop.currency_code):
                await self._fail(failure)
            else:
                await self._pause(failure)

    async def _regain(self, failure: StorageUnavailable) -> None:
        """Waits for the database, then finds out what became of the last write. Raises LeaseLost."""
        too_slow = failure.cause is StorageCause.TOO_SLOW
        if too_slow:
            self._size.too_slow()
        extra = {**about(self._claimed), "cause": failure.cause.value}
        _log.warning("the database does not store: the sync waits for it", extra=extra)
        while True:
            await asyncio.sleep(self._limits.storage_retry_delay.total_seconds())
            with suppress(StorageUnavailable):
                claimed = await self._leases.regain(self.lease)
                self.lease, self._checkpoint = claimed.lease, claimed.checkpoint
                self._show(claimed.sync)
                if too_slow:
                    await self._wait_for_storage()
                return

    async def _wait_for_storage(self) -> None:
        """Shows that the database was too slow for the last write and waits, or fails the sync after too many."""
        if self._size.is_exhausted:
            await self._fail(SyncStalled(self._size.slow_writes, why=_TOO_SLOW))
            return
        delay = self._size.next_delay
        waiting = Waiting(reason=WaitReason.STORAGE, until=datetime.now(UTC) + delay, message=_SLOW_WRITE)
        self._show(await self._leases.pause(self.lease, self._sync.shop, waiting))
        await asyncio.sleep(delay.total_seconds())

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
                        await self._store(events.with_following(event, self._size.max_items))
                    case Waiting():
                        self._show(await self._leases.wait(self.lease, self._sync.shop, event))
                    case SourceEnd():
                        check_complete(self._sync, event)
                        await self._sweep(event)
                        await self._succeed()
                        return
        raise SourceIncomplete

    def _batch_limit(self) -> int:
        """The connector's choice; smaller when claim after claim dies of a batch, to find the one that kills, and
        when the database was too slow for the last one."""
        fruitless = self._claimed.claims_without_progress
        if not fruitless or self._sync is not self._claimed.sync:
            return self._size.max_products
        return max(1, 250 >> (fruitless + 1))

    async def _store(self, batch: SourceBatch) -> None:
        began = time.monotonic()
        rate = self._meter.add(began, batch.item_count)
        self._size.attempt(products=len(batch.products), items=batch.item_count)
        self.lease, sync = await self._batches.apply(
            self.lease,
            self._sync.shop,
            batch,
            full=self._sync.mode is SyncMode.FULL,
            items_per_second=rate,
        )
        self._checkpoint = batch.checkpoint
        self._patience.renew()
        self._size.stored()
        self._turns.moved(sync.sync_id, items=batch.item_count)
        self._show(sync)
        if pause := self._turns.pause(sync.sync_id, spent=time.monotonic() - began):
            await asyncio.sleep(pause)

    async def _sweep(self, end: SourceEnd) -> None:
        """Marks what the platform no longer has. Only a pass that met or listed every product can tell, and only
        when nothing casts a doubt on it."""
        if self._sync.mode is not SyncMode.FULL and not end.all_listed:
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
        if failure.reason in _RESUMED_AT_ONCE:
            await asyncio.sleep(random.uniform(0.1, 0.5))
            return
        delay = self._patience.next_delay(failure)
        waiting = Waiting(
            reason=_WAITS.get(failure.reason, WaitReason.CONNECTOR),
            until=datetime.now(UTC) + delay,
            message=failure.message,
        )
        _log.warning("source failed, trying again", extra={"reason": failure.reason})
        self._show(await self._leases.pause(self.lease, self._sync.shop, waiting))
        await asyncio.sleep(delay.total_seconds())

    async def _succeed(self) -> None:
        self._show(await self._leases.end(self.lease, SyncState.SUCCEEDED))
        try:
            await self._sweeps.tidy_up(self.lease)
        except StorageUnavailable as failure:
            # The sync has ended; retention purges what is left.
            _log.warning("tidying up failed", extra={**about(self._claimed), "cause": failure.cause.value})
        _log.info("sync succeeded", extra={**about(self._claimed), **_counts(self._sync)})

    async def _fail(self, failure: SourceFailed) -> None:
        error = SyncError(reason=failure.reason, message=failure.message, metadata=failure.metadata)
        self._show(await self._leases.end(self.lease, SyncState.FAILED, error))
        _log.warning("sync failed", extra={**about(self._claimed), "reason": failure.reason})

    def _show(self, sync: Sync) -> None:
        self._sync = sync
        self._turns.moved(sync.sync_id)
        self._feed.publish(sync)


def about(claimed: ClaimedSync) -> dict[str, object]:
    """What log lines tell of a run."""
    sync = claimed.sync
    return {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key), "epoch": claimed.lease.epoch}


def _counts(sync: Sync) -> dict[str, object]:
    progress = sync.progress
    return {"products": progress.products.seen, "items": progress.items.seen, "issues": progress.issue_count}
