"""Sync execution: one claimed sync from its claim to its end.

Reading and storing overlap, and every write is conditional on the lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from catalogsync_common.tracing import continued_span, fail_span

from catalog_svc.domain.errors import (
    LeaseLost,
    MassDeleteBlocked,
    SourceFailed,
    SourceIncomplete,
    StorageCause,
    StorageUnavailable,
    SyncStalled,
)
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceHeader, SourceRequest
from catalog_svc.domain.sync import (
    BlockedDeletion,
    ClaimedSync,
    RateMeter,
    Sync,
    SyncError,
    SyncMode,
    SyncState,
    Waiting,
    WaitReason,
)
from catalog_svc.usecases.ports import Batches, Leases, ProductSource, Sweeps, SyncMetrics
from catalog_svc.usecases.prefetch import Prefetch
from catalog_svc.usecases.reconciliation import Reconciliation, check_complete
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.sync_limits import (
    MAX_BATCH_PRODUCTS,
    AdaptiveTransactionSize,
    FairShareThrottle,
    RegisteredRun,
    RetryPolicy,
    RunConfig,
)

_log = logging.getLogger(__name__)

_RETRIED_AT_ONCE = frozenset({"STREAM_EXPIRED", "SERVER_DRAINING"})
"""Not failures: the connector moves the stream to another connection or replica."""

_CURRENCY_CHANGED = "SOURCE_CURRENCY_CHANGED"

_WAIT_REASONS = {
    "SOURCE_RATE_LIMITED": WaitReason.THROTTLED,
    "TOKEN_SERVICE_UNAVAILABLE": WaitReason.TOKEN_SERVICE,
    "SOURCE_UNREACHABLE": WaitReason.SOURCE_UNREACHABLE,
}

_SPAN_NAME = "process sync_queue"

_SLOW_WRITE = "the database did not finish the last write in time; a smaller one is tried"
_ALL_WRITES_SLOW = (
    "the database did not finish them in time, however small they were; check its load and its locks"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncDependencies:
    """What the sync executions of a replica share."""

    leases: Leases
    batches: Batches
    source: ProductSource
    sweeps: Sweeps
    hub: SyncHub
    metrics: SyncMetrics
    config: RunConfig
    announce_change: Callable[[UUID], None] = lambda shop_id: None
    """Called with the shop when its items may have changed."""


class SyncExecution:
    """One run of a sync by one replica."""

    def __init__(
        self,
        claimed: ClaimedSync,
        dependencies: SyncDependencies,
        throttle: FairShareThrottle,
        registered: RegisteredRun,
    ) -> None:
        """Prepare the run of `claimed`, which is `registered` with the `throttle`."""
        self.lease = claimed.lease
        self._claimed = claimed
        self._sync = claimed.sync
        self._checkpoint = claimed.checkpoint
        self._updated_after = claimed.updated_after
        self._leases = dependencies.leases
        self._batches = dependencies.batches
        self._source = dependencies.source
        self._sweeps = dependencies.sweeps
        self._hub = dependencies.hub
        self._announce_change = dependencies.announce_change
        self._metrics = dependencies.metrics
        self._config = dependencies.config
        self._throttle = throttle
        self._registered = registered
        self._meter = RateMeter()
        self._retry_policy = RetryPolicy(self._config, claimed.since_progress)
        self._size = AdaptiveTransactionSize(self._config)
        self._reconciliation = self._new_reconciliation()
        self._restart = False
        """Whether the next pass reads everything from the beginning, whatever is stored of this one."""
        self.is_ending = False
        """Whether this run writes the end of its sync, or has written it. The write may be committed, and seen by
        others, before its reply arrives."""

    @property
    def sync(self) -> Sync:
        """The sync as last stored."""
        return self._sync

    async def run(self) -> None:
        """Run passes, each from the last checkpoint, until the sync has ended.

        Raises:
            LeaseLost: the sync was ended by others, or claimed again.
        """
        try:
            self._hub.publish(self._sync)
            if self._claimed.claims_without_progress >= self._config.max_claims_without_progress:
                await self._fail(SyncStalled(self._claimed.claims_without_progress))
            while not self._sync.state.ended:
                try:
                    await self._attempt()
                except StorageUnavailable as failure:
                    self._metrics.database_failed()
                    await self._reacquire(failure)
        except LeaseLost:
            self._metrics.lease_lost()
            raise

    async def _attempt(self) -> None:
        """Run a pass, in a span of its own: a sync may take hours, and only spans that have ended are seen."""
        with continued_span(_SPAN_NAME, self._claimed.traceparent, _span_attributes(self._sync)) as span:
            try:
                await self._run_pass()
            except SourceFailed as failure:
                fail_span(span, failure)
                # For a pass that cannot go on the connector sends no header, which would contain the new currency.
                self._restart |= failure.reason == _CURRENCY_CHANGED
                if self._retry_policy.exhausted(failure, never_answered=not self._sync.shop.currency_code):
                    await self._fail(failure)
                else:
                    await self._back_off(failure)

    async def _reacquire(self, failure: StorageUnavailable) -> None:
        """Wait for the database, then find out whether the last write was committed. Raises LeaseLost."""
        too_slow = failure.cause is StorageCause.TOO_SLOW
        if too_slow:
            self._size.record_slow_write()
        extra = {**log_context(self._claimed), "cause": failure.cause.value}
        _log.warning("the database is unavailable: the sync waits for it", extra=extra)
        while True:
            await asyncio.sleep(self._config.storage_retry_delay.total_seconds())
            try:
                claimed = await self._leases.reacquire(self.lease)
                self.lease, self._checkpoint = claimed.lease, claimed.checkpoint
                self._updated_after = claimed.updated_after
                self._publish(claimed.sync)
                if too_slow:
                    await self._back_off_from_storage()
                return
            except StorageUnavailable:
                self._metrics.database_failed()

    async def _back_off_from_storage(self) -> None:
        """Wait, and show it, since the database was too slow for the last write; fail the sync after too many."""
        if self._size.exhausted:
            await self._fail(SyncStalled(self._size.slow_writes, why=_ALL_WRITES_SLOW))
            return
        delay = self._size.next_delay
        await self._pause(Waiting(reason=WaitReason.STORAGE, until=datetime.now(UTC) + delay, message=_SLOW_WRITE))
        await asyncio.sleep(delay.total_seconds())

    async def _run_pass(self) -> None:
        request = SourceRequest(
            shop=self._sync.shop.key,
            updated_after=None if self._restart else self._updated_after,
            checkpoint=b"" if self._restart else self._checkpoint,
            max_batch_products=self._max_batch_products(),
        )
        async with Prefetch(self._source.fetch(request)) as events:
            while (event := await events.next()) is not None:
                match event:
                    case SourceHeader():
                        if not await self._begin(event):
                            return
                    case SourceBatch():
                        await self._apply(events.merge_queued(event, max_items=self._size.max_items))
                    case Waiting():
                        await self.show_wait(event)
                    case SourceEnd():
                        check_complete(self._sync, event)
                        notes = await self._reconciliation.run(event)
                        await self._succeed((*event.notes, *notes))
                        return
        raise SourceIncomplete

    def _max_batch_products(self) -> int:
        """Return the largest batch to request; 0: the connector's choice.

        Smaller after claims without progress, to isolate the batch that kills its replica, and after writes that
        the database was too slow for.
        """
        claims = self._claimed.claims_without_progress
        if not claims or self._sync is not self._claimed.sync:
            return self._size.max_products
        return max(1, MAX_BATCH_PRODUCTS >> (claims + 1))

    async def _begin(self, header: SourceHeader) -> bool:
        """Store the header; return False if another pass than the requested one must be read."""
        restarted, requested = self._restart, (self._checkpoint, self._updated_after)
        started = await self._leases.begin(self.lease, header, restart=restarted)
        self._metrics.wait_ended(self.lease)
        self._restart = False
        self._publish(started.sync)
        self._meter.start(time.monotonic())
        self._checkpoint, self._updated_after = started.checkpoint, started.updated_after
        if requested == (started.checkpoint, started.updated_after):
            return True
        self._reconciliation = self._new_reconciliation()
        extra = log_context(self._claimed)
        _log.info("the shop's currency changed: the sync starts over and reads everything", extra=extra)
        return restarted

    def _new_reconciliation(self) -> Reconciliation:
        return Reconciliation(self, self._source, self._sweeps, allow_mass_delete=self._claimed.allow_mass_delete)

    async def store(self, batch: SourceBatch) -> None:
        """Store a batch that was read outside the pass's own order, without moving its checkpoint.

        Raises:
            LeaseLost: the sync was ended by others, or claimed again.
        """
        await self._apply(replace(batch, checkpoint=self._checkpoint))

    async def show_wait(self, waiting: Waiting) -> None:
        """Store and publish why the sync waits. Raises LeaseLost."""
        sync = await self._leases.wait(self.lease, self._sync.shop, waiting)
        self._wait_started(sync, waiting)

    async def mark_deleted(self) -> bool:
        """Mark some of the products that the pass did not list as deleted; False: none was left.

        Raises:
            LeaseLost: the sync was ended by others, or claimed again.
        """
        self.lease, swept = await self._sweeps.step(self.lease, self._sync.shop)
        if swept is not None:
            self._publish(swept)
        return swept is not None

    async def _apply(self, batch: SourceBatch) -> None:
        started_at = time.monotonic()
        rate = self._meter.add(started_at, batch.item_count)
        self._size.start_attempt(products=len(batch.products), items=batch.item_count)
        self.lease, sync = await self._batches.apply(
            self.lease,
            self._sync.shop,
            batch,
            full=self._sync.mode is SyncMode.FULL,
            items_per_second=rate,
        )
        self._metrics.batch_stored(sync.shop.key.platform, batch, time.monotonic() - started_at)
        self._metrics.wait_ended(self.lease)
        self._checkpoint = batch.checkpoint
        self._retry_policy.reset()
        self._size.record_commit()
        self._throttle.record(self._registered, items=batch.item_count)
        self._publish(sync)
        spent_seconds = time.monotonic() - started_at
        if delay := self._throttle.delay(self._registered, spent_seconds=spent_seconds):
            await asyncio.sleep(delay)

    async def _back_off(self, failure: SourceFailed) -> None:
        """Wait before the next retry of the source, and show it."""
        if failure.reason in _RETRIED_AT_ONCE:
            await asyncio.sleep(random.uniform(0.1, 0.5))
            return
        delay = self._retry_policy.next_delay(failure)
        _log.warning("the source failed: retrying", extra={"reason": failure.reason})
        await self._pause(
            Waiting(
                reason=_WAIT_REASONS.get(failure.reason, WaitReason.CONNECTOR),
                until=datetime.now(UTC) + delay,
                message=failure.message,
            )
        )
        await asyncio.sleep(delay.total_seconds())

    async def _pause(self, waiting: Waiting) -> None:
        sync = await self._leases.pause(self.lease, self._sync.shop, waiting)
        self._wait_started(sync, waiting)

    def _wait_started(self, sync: Sync, waiting: Waiting) -> None:
        self._metrics.wait_started(self.lease, sync.shop.key.platform, waiting.reason)
        self._publish(sync)

    async def _succeed(self, notes: Sequence[str]) -> None:
        await self._end(SyncState.SUCCEEDED, notes=notes)
        try:
            await self._sweeps.finalize(self.lease)
        except StorageUnavailable as failure:
            # The sync has ended; retention purges what is left.
            self._metrics.database_failed()
            extra = {**log_context(self._claimed), "cause": failure.cause.value}
            _log.warning("finalizing the sync failed: the database is unavailable", extra=extra)
        _log.info("sync succeeded", extra={**log_context(self._claimed), **_counts(self._sync)})

    async def _fail(self, failure: SourceFailed) -> None:
        error = SyncError(reason=failure.reason, message=failure.message, metadata=failure.metadata)
        blocked = failure.blocked if isinstance(failure, MassDeleteBlocked) else None
        await self._end(SyncState.FAILED, error, blocked=blocked)
        _log.warning("sync failed", extra={**log_context(self._claimed), "reason": failure.reason})

    async def _end(
        self,
        state: SyncState,
        error: SyncError | None = None,
        *,
        notes: Sequence[str] = (),
        blocked: BlockedDeletion | None = None,
    ) -> None:
        """Write the end, and retry until the reply arrives: ending twice by one epoch is ending once.

        Raises:
            LeaseLost: the sync was ended by others, or claimed again.
        """
        self.is_ending = True
        while True:
            try:
                sync = await self._leases.end(self.lease, state, error, notes=notes, blocked=blocked)
                break
            except StorageUnavailable:
                self._metrics.database_failed()
                extra = log_context(self._claimed)
                _log.warning("the database is unavailable: the end of the sync waits for it", extra=extra)
                await asyncio.sleep(self._config.storage_retry_delay.total_seconds())
        self._metrics.sync_ended(sync)
        self._publish(sync)

    def _publish(self, sync: Sync) -> None:
        self._sync = sync
        self._throttle.record(self._registered)
        self._hub.publish(sync)
        self._announce_change(self.lease.shop_id)


def _span_attributes(sync: Sync) -> dict[str, str | int]:
    """Return what OpenTelemetry's conventions for messaging say of a message that is processed."""
    return {
        "messaging.system": "catalogsync",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "sync_queue",
        "messaging.message.id": str(sync.sync_id),
        "messaging.message.conversation_id": sync.correlation_id,
        "catalogsync.platform": sync.shop.key.platform,
        "catalogsync.sync.mode": sync.mode.value,
        "catalogsync.sync.trigger": sync.trigger.value,
        "catalogsync.sync.attempt": sync.attempt_count,
    }


def log_context(claimed: ClaimedSync) -> dict[str, object]:
    """Return the fields that log lines about a run have in common."""
    sync = claimed.sync
    return {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key), "epoch": claimed.lease.epoch}


def _counts(sync: Sync) -> dict[str, object]:
    progress = sync.progress
    return {"products": progress.products.seen, "items": progress.items.seen, "issues": progress.issue_count}
