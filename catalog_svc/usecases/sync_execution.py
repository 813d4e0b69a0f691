"""One sync between claim and end: fetch and store overlap, every step is conditional on the lease.

Whether a pass brought everything."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from catalog_svc.domain.errors import (
    SourceFailed,
    SourceIncomplete,
    StorageCause,
    StorageUnavailable,
    SyncStalled,
)
from catalog_svc.domain.progress import RateMeter, Waiting, WaitReason
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceHeader, SourceRequest
from catalog_svc.domain.sync import ClaimedSync, Sync, SyncError, SyncMode, SyncState
from catalog_svc.usecases.fair_share import FairShareThrottle, Turn
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps
from catalog_svc.usecases.prefetch import ReadAhead
from catalog_svc.usecases.reconciliation import Reconciliation
from catalog_svc.usecases.retry_policy import RetryPolicy, RunConfig, TransactionSize
from catalog_svc.usecases.sync_hub import SyncFeed
from catalog_svc.domain.errors import SourceCountMismatch
from catalog_svc.domain.source import SourceEnd
from catalog_svc.domain.sync import Sync

_log = logging.getLogger(__name__)

_RESUMED_AT_ONCE = frozenset({"STREAM_EXPIRED", "SERVER_DRAINING"})
"""Nothing is wrong: the connector moves the stream to another connection or replica."""

_CURRENCY_CHANGED = "SOURCE_CURRENCY_CHANGED"

_WAITS = {
    "SOURCE_RATE_LIMITED": WaitReason.THROTTLED,
    "TOKEN_SERVICE_UNAVAILABLE": WaitReason.TOKEN_SERVICE,
    "SOURCE_UNREACHABLE": WaitReason.SOURCE_UNREACHABLE,
}


_SLOW_WRITE = "the database did not finish the last write in time; a smaller one is tried"
_TOO_SLOW = "the database did not finish them in time, however small they were; look at its load and its locks"


class SyncExecution:
    """One sync between claim and end."""

    def __init__(
        self,
        claimed: ClaimedSync,
        leases: Leases,
        batches: Batches,
        source: ProductSource,
        sweeps: Sweeps,
        feed: SyncFeed,
        turns: FairShareThrottle,
        turn: Turn,
        limits: RunConfig,
    ) -> None:
        self.lease = claimed.lease
        self._claimed = claimed
        self._sync = claimed.sync
        self._checkpoint = claimed.checkpoint
        self._updated_after = claimed.updated_after
        self._leases = leases
        self._batches = batches
        self._source = source
        self._sweeps = sweeps
        self._feed = feed
        self._turns = turns
        self._turn = turn
        self._limits = limits
        self._meter = RateMeter()
        self._patience = RetryPolicy(limits, claimed.since_progress)
        self._reconciliation = self._new_reconciliation()
        self._size = TransactionSize(limits)
        self._restart = False
        """Whether the next pass reads everything from the beginning, whatever is stored of this one."""
        self.is_ending = False
        """Whether this run writes the end of its sync, or has written it. The write may be committed, and seen by
        others, before its answer arrives."""

    @property
    def sync(self) -> Sync:
        """As last stored."""
        return self._sync

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
            # Of a pass that it cannot go on with the connector sends no header that would tell the new currency.
            self._restart |= failure.reason == _CURRENCY_CHANGED
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
                claimed = await self._leases.reacquire(self.lease)
                self.lease, self._checkpoint = claimed.lease, claimed.checkpoint
                self._updated_after = claimed.updated_after
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
            updated_after=None if self._restart else self._updated_after,
            checkpoint=b"" if self._restart else self._checkpoint,
            max_batch_products=self._batch_limit(),
        )
        async with ReadAhead(self._source.fetch(request)) as events:
            while (event := await events.next()) is not None:
                match event:
                    case SourceHeader():
                        if not await self._begin(event):
                            return
                    case SourceBatch():
                        await self._apply(events.with_following(event, self._size.max_items))
                    case Waiting():
                        await self.show_wait(event)
                    case SourceEnd():
                        check_complete(self._sync, event)
                        notes = await self._reconciliation.run(event)
                        await self._succeed((*event.notes, *notes))
                        return
        raise SourceIncomplete

    def _batch_limit(self) -> int:
        """The connector's choice; smaller when claim after claim dies of a batch, to find the one that kills, and
        when the database was too slow for the last one."""
        fruitless = self._claimed.claims_without_progress
        if not fruitless or self._sync is not self._claimed.sync:
            return self._size.max_products
        return max(1, 250 >> (fruitless + 1))

    async def _begin(self, header: SourceHeader) -> bool:
        """Whether the stream may be read on; False: something else is to be read than was asked for."""
        restarted, asked = self._restart, (self._checkpoint, self._updated_after)
        begun = await self._leases.begin(self.lease, header, restart=restarted)
        self._restart = False
        self._show(begun.sync)
        self._meter.start(time.monotonic())
        self._checkpoint, self._updated_after = begun.checkpoint, begun.updated_after
        if asked == (begun.checkpoint, begun.updated_after):
            return True
        self._reconciliation = self._new_reconciliation()
        _log.info("the shop's currency changed: the sync reads everything anew", extra=about(self._claimed))
        return restarted

    def _new_reconciliation(self) -> Reconciliation:
        return Reconciliation(self, self._source, self._sweeps, allow_mass_delete=self._claimed.allow_mass_delete)

    async def store(self, batch: SourceBatch) -> None:
        """Stores a batch that does not belong to the pass's own order: its checkpoint stays. Raises LeaseLost."""
        await self._apply(replace(batch, checkpoint=self._checkpoint))

    async def show_wait(self, waiting: Waiting) -> None:
        """Shows why the sync stands still. Raises LeaseLost."""
        self._show(await self._leases.wait(self.lease, self._sync.shop, waiting))

    async def mark_deleted(self) -> bool:
        """Marks some of the products that the pass did not meet; False: none was left. Raises LeaseLost."""
        self.lease, swept = await self._sweeps.step(self.lease, self._sync.shop)
        if swept is not None:
            self._show(swept)
        return swept is not None

    async def _apply(self, batch: SourceBatch) -> None:
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
        self._turns.moved(self._turn, items=batch.item_count)
        self._show(sync)
        if pause := self._turns.pause(self._turn, spent=time.monotonic() - began):
            await asyncio.sleep(pause)

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

    async def _succeed(self, notes: Sequence[str]) -> None:
        await self._end(SyncState.SUCCEEDED, notes=notes)
        try:
            await self._sweeps.finalize(self.lease)
        except StorageUnavailable as failure:
            # The sync has ended; retention purges what is left.
            _log.warning("tidying up failed", extra={**about(self._claimed), "cause": failure.cause.value})
        _log.info("sync succeeded", extra={**about(self._claimed), **_counts(self._sync)})

    async def _fail(self, failure: SourceFailed) -> None:
        error = SyncError(reason=failure.reason, message=failure.message, metadata=failure.metadata)
        await self._end(SyncState.FAILED, error)
        _log.warning("sync failed", extra={**about(self._claimed), "reason": failure.reason})

    async def _end(self, state: SyncState, error: SyncError | None = None, *, notes: Sequence[str] = ()) -> None:
        """Writes the end, again until its answer is heard: ending twice by one epoch is ending once.

        Raises LeaseLost when somebody else has ended the sync, or holds it.
        """
        self.is_ending = True
        while True:
            try:
                self._show(await self._leases.end(self.lease, state, error, notes=notes))
                return
            except StorageUnavailable:
                _log.warning("the database does not answer: the end waits for it", extra=about(self._claimed))
                await asyncio.sleep(self._limits.storage_retry_delay.total_seconds())

    def _show(self, sync: Sync) -> None:
        self._sync = sync
        self._turns.moved(self._turn)
        self._feed.publish(sync)


def about(claimed: ClaimedSync) -> dict[str, object]:
    """What log lines tell of a run."""
    sync = claimed.sync
    return {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key), "epoch": claimed.lease.epoch}


def _counts(sync: Sync) -> dict[str, object]:
    progress = sync.progress
    return {"products": progress.products.seen, "items": progress.items.seen, "issues": progress.issue_count}


def check_complete(sync: Sync, end: SourceEnd) -> None:
    """Raises SourceCountMismatch when less was stored than the source sent, or sent than its platform counts.

    More is possible: a product removed while it was read, or read again after a break.
    """
    products = sync.progress.products
    # Products that were sent and could not be stored as they came are counted as set aside.
    accounted = products.seen + products.rejected
    if accounted < end.emitted_count:
        raise SourceCountMismatch(what="products were sent", expected=end.emitted_count, received=accounted)
    if accounted < end.source_count:
        raise SourceCountMismatch(
            what="products are counted by the platform", expected=end.source_count, received=accounted
        )
