"""Refresh of one claimed shop: reads the products that wait by their ids, and stores them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.call_context import correlated, correlation_id

from catalog_svc.domain.errors import (
    MassDeleteBlocked,
    ShopBeingDeleted,
    SourceCurrencyChanged,
    SourceFailed,
    StorageUnavailable,
    SyncAlreadyRunning,
)
from catalog_svc.domain.refresh import QueuedRefresh, RefreshClaim, RefreshResult, backoff, products_per_read
from catalog_svc.domain.source import MAX_PRODUCT_IDS, SourceBatch
from catalog_svc.domain.status import NEEDS_ACTION
from catalog_svc.domain.sync import StartSyncCommand, SyncMode, SyncTrigger
from catalog_svc.usecases.ports import ProductSource, SyncCommands
from catalog_svc.usecases.read_by_id import batch_of_deleted, existing_ids, read_by_id
from catalog_svc.usecases.refresh_ports import Refreshes, RefreshMetrics

_log = logging.getLogger(__name__)

_STORAGE_REASON: Final = "STORAGE_UNAVAILABLE"
_GUARD_REASON: Final = "MASS_DELETE_BLOCKED"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshDependencies:
    """What the refreshes of a replica share."""

    refreshes: Refreshes
    source: ProductSource
    commands: SyncCommands
    metrics: RefreshMetrics
    wake_sync_worker: Callable[[], None]
    """Called after a sync was started."""
    overlap: timedelta
    """How far before the watermark an incremental pass begins."""
    read_timeout: timedelta = timedelta(seconds=90)
    """For one read by ids; less than the claim lasts."""
    announce_change: Callable[[UUID], None] = lambda shop_id: None
    """Called with the shop when its items may have changed."""


class RefreshRun:
    """Refreshes claimed shops, any number at once."""

    def __init__(self, dependencies: RefreshDependencies) -> None:
        self._refreshes = dependencies.refreshes
        self._source = dependencies.source
        self._commands = dependencies.commands
        self._metrics = dependencies.metrics
        self._wake_sync_worker = dependencies.wake_sync_worker
        self._overlap = dependencies.overlap
        self._read_timeout_seconds = dependencies.read_timeout.total_seconds()
        self._announce_change = dependencies.announce_change

    async def run(self, queued: QueuedRefresh) -> None:
        """Read and store products of the shop once, and end its claim.

        When it is cancelled, the claim is still to be released.

        Raises:
            StorageUnavailable: the database is unavailable; the shop is due again when the claim has ended.
        """
        with correlated():
            limit = products_per_read(queued.failure_count, maximum=MAX_PRODUCT_IDS)
            claim = await self._refreshes.take(queued, limit=limit)
            if claim is None:
                return
            if queued.wanted_sync is not None and await self._start_sync(queued, queued.wanted_sync, claim):
                claim = replace(claim, has_active_sync=True)
            if not claim.product_ids:
                await self._refreshes.finish(queued)
            elif not claim.shop.currency_code:
                # No pass has begun yet: the first one reads everything.
                await self._refreshes.leave_to_sync(queued, None)
            else:
                await self._refresh(queued, claim, is_full=len(claim.product_ids) == limit)

    async def _refresh(self, queued: QueuedRefresh, claim: RefreshClaim, *, is_full: bool) -> None:
        try:
            result = await self._read(claim)
        except (MassDeleteBlocked, SourceCurrencyChanged) as failure:
            await self._leave_to_sync(queued, claim, failure)
        except SourceFailed as failure:
            await self._fail(queued, claim, failure)
        except StorageUnavailable:
            self._metrics.refresh_failed(queued.platform, _STORAGE_REASON)
            with suppress(StorageUnavailable):
                await self._refreshes.fail(queued, delay=backoff(queued.failure_count + 1))
            raise
        else:
            self._metrics.refresh_read(queued.platform, result)
            await self._refreshes.finish(queued, more=is_full)

    async def _read(self, claim: RefreshClaim) -> RefreshResult:
        """Read the products of the claim and store them. Raises SourceFailed, StorageUnavailable."""
        result, existing, deleted = RefreshResult(), set[str](), set[str]()
        batches = read_by_id(
            self._source, claim.shop, claim.product_ids, timeout_seconds=self._read_timeout_seconds
        )
        async with aclosing(batches):
            async for batch in batches:
                existing |= existing_ids(batch)
                deleted |= set(batch.deleted_product_ids)
                result += await self._write(claim, replace(batch, deleted_product_ids=()))
        # Products are deleted only after a complete read, and together.
        if gone := deleted - existing:
            result += await self._write(claim, batch_of_deleted(gone))
        return result

    async def _write(self, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
        result = await self._refreshes.write(claim, batch)
        self._announce_change(claim.shop.shop_id)
        return result

    async def _fail(self, queued: QueuedRefresh, claim: RefreshClaim, failure: SourceFailed) -> None:
        """Let the products wait.

        What a person must repair is shown by a sync, which fails for the same reason, unless it is shown already.
        """
        self._metrics.refresh_failed(queued.platform, failure.reason)
        permanent = not failure.transient and failure.reason not in NEEDS_ACTION
        if permanent and len(claim.product_ids) == 1:
            await self._refreshes.leave_to_sync(queued, None)
            context = {**_context(claim), "product_id": claim.product_ids[0], "reason": failure.reason}
            _log.error("a product cannot be read by its id: it is left to the next sync", extra=context)
            return
        wanted = SyncMode.INCREMENTAL if failure.reason in NEEDS_ACTION and _is_new(claim, failure) else None
        delay = backoff(queued.failure_count + 1, retry_after=failure.retry_after)
        await self._refreshes.fail(queued, delay=delay, wanted_sync=wanted)
        _log.warning("refresh failed: retrying", extra={**_context(claim), "reason": failure.reason})

    async def _leave_to_sync(
        self, queued: QueuedRefresh, claim: RefreshClaim, failure: MassDeleteBlocked | SourceCurrencyChanged
    ) -> None:
        """Let a sync decide: one that runs or, unless it has just failed for the same reason, another one."""
        self._metrics.refresh_failed(queued.platform, failure.reason)
        wanted = SyncMode.FULL if isinstance(failure, MassDeleteBlocked) else SyncMode.INCREMENTAL
        await self._refreshes.leave_to_sync(queued, wanted if _is_new(claim, failure) else None)
        _log.warning("refresh stopped: a sync decides", extra={**_context(claim), "reason": failure.reason})

    async def _start_sync(self, queued: QueuedRefresh, mode: SyncMode, claim: RefreshClaim) -> bool:
        """Start the sync that the shop needs, and return whether it was started.

        While another sync runs, it is still wanted.

        After a sync that the deletion guard has stopped none is started: two full passes in a row that agree allow
        the deletion, and must not come so soon after each other that one outage of the platform explains both.
        """
        if claim.connection_reason == _GUARD_REASON:
            if mode is SyncMode.FULL:
                await self._refreshes.sync_started(queued)
            return False
        command = StartSyncCommand(
            shop=claim.shop.key,
            mode=mode,
            overlap=self._overlap,
            trigger=SyncTrigger.SCHEDULE,
            correlation_id=correlation_id.get(),
        )
        try:
            sync = await self._commands.start(command)
        except (SyncAlreadyRunning, ShopBeingDeleted):
            return False
        await self._refreshes.sync_started(queued)
        self._wake_sync_worker()
        _log.info("sync started for refreshes", extra={**_context(claim), "sync_id": str(sync.sync_id)})
        return True


def _is_new(claim: RefreshClaim, failure: SourceFailed) -> bool:
    """Return whether no sync has shown this failure, or is about to."""
    return failure.reason != claim.connection_reason and not claim.has_active_sync


def _context(claim: RefreshClaim) -> dict[str, object]:
    return {"shop": str(claim.shop.key), "products": len(claim.product_ids)}
