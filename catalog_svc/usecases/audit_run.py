"""One audit of one shop: compares a sample of its products with the platform, and repairs what differs.

The first read of a product takes no lock and announces nothing, since most products are equal. Those that differ
are read again by a claim, as a refresh does it; what still differs then is reported and repaired, in one
transaction. So nothing is reported that was read before the catalog stored something newer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from catalogsync_common.failure import Failure

from catalog_svc.domain.audit import AuditProgress, AuditResult, AuditSample, SettledProducts
from catalog_svc.domain.audit_comparison import ReadProducts
from catalog_svc.domain.errors import AuditAlreadyRunning, MassDeleteBlocked, QueryTooExpensive, StorageUnavailable
from catalog_svc.domain.refresh import RefreshClaim
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.usecases.audit_ports import AuditedCatalog, AuditMetrics, AuditRecords, ExclusiveRight
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.read_by_id import batch_of_deleted, existing_ids, read_by_id

_log = logging.getLogger(__name__)

_PRODUCTS_PER_READ: Final = 100
_MAX_ROUNDS: Final = 5
"""Reads of one product, the first one included."""
_BUSY_DELAY_SECONDS: Final = 1.0
"""Before products are read again that a sync or a refresh was writing."""
_LEASE_TTL: Final = timedelta(minutes=5)
"""Longer than any step takes."""

ReportProgress = Callable[[AuditProgress], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditDependencies:
    """What the audits of a replica share."""

    catalog: AuditedCatalog
    records: AuditRecords
    new_right: Callable[[Shop, UUID], ExclusiveRight]
    """Returns the right to audit a shop, by the id of the audit."""
    source: ProductSource
    metrics: AuditMetrics
    overlap: timedelta
    """How far before the watermark an incremental sync reads: so late the platform may list a change."""
    wake_refresh_worker: Callable[[], None] = lambda: None
    """Called after a sync was requested."""
    read_timeout: timedelta = timedelta(seconds=90)
    """For one read by ids; less than a claim lasts."""
    new_seed: Callable[[], int] = lambda: random.getrandbits(63)


class AuditRun:
    """Audits shops, each once at a time on all replicas together."""

    def __init__(self, dependencies: AuditDependencies) -> None:
        self._use = dependencies

    async def run(
        self, shop: Shop, *, sample_size: int, report: ReportProgress = lambda progress: None
    ) -> AuditResult:
        """Audit the shop and record the result.

        Args:
            shop: The shop.
            sample_size: Products that are chosen at random.
            report: Called after each step.

        Raises:
            AuditAlreadyRunning: another audit of the shop has not ended.
            ShopNotFound: the shop was deleted.
            SourceFailed: products could not be read. What was repaired before stays repaired.
            StorageUnavailable: the database is unavailable.
        """
        audit_id = uuid4()
        right = self._use.new_right(shop, audit_id)
        if not await right.acquire(ttl=_LEASE_TTL):
            raise AuditAlreadyRunning(shop)
        platform = shop.key.platform
        try:
            await self._use.records.begin(shop)
            sample = await self._use.catalog.sample(shop, size=sample_size, seed=self._use.new_seed())
            result = await _Execution(self._use, shop, audit_id, right, sample, report).run()
            await self._complete(shop, sample, result)
        except Failure as failure:
            self._use.metrics.audit_failed(platform, failure.reason)
            raise
        finally:
            with suppress(StorageUnavailable):
                await right.release()
        self._use.metrics.audit_ended(platform, result)
        return result

    async def _complete(self, shop: Shop, sample: AuditSample, result: AuditResult) -> None:
        if result.drifted or sample.count_difference:
            # Rows that others changed were not counted.
            try:
                await self._use.catalog.correct_counters(shop)
            except QueryTooExpensive:
                _log.warning("the counters of a shop could not be verified in time", extra=_context(shop))
        if result.missing_rows:
            await self._use.catalog.request_full_sync(shop)
            self._use.wake_refresh_worker()
        await self._use.records.end(shop, result)
        if result.drifted or result.missing_rows:
            extra = {**_context(shop), "drifted": result.drifted, "missing_rows": result.missing_rows}
            _log.warning("an audit found drift", extra=extra)


class _Execution:
    """One audit that has its right and its sample."""

    def __init__(
        self,
        use: AuditDependencies,
        shop: Shop,
        audit_id: UUID,
        right: ExclusiveRight,
        sample: AuditSample,
        report: ReportProgress,
    ) -> None:
        self._use = use
        self._shop = shop
        self._audit_id = audit_id
        self._right = right
        self._product_ids = sample.product_ids if shop.currency_code else ()
        self._report = report
        self._result = AuditResult(missing_rows=max(0, sample.count_difference))
        self._open: set[str] = set()
        """Products that are not decided."""
        self._suspected: set[str] = set()
        """Those of them that have differed."""

    async def run(self) -> AuditResult:
        for chunk in _chunks(self._product_ids):
            await self._compare(chunk)
            await self._step_ended()
        for number in range(1, _MAX_ROUNDS):
            if not self._open:
                break
            if number > 1:
                await asyncio.sleep(_BUSY_DELAY_SECONDS)
            for chunk in _chunks(sorted(self._open)):
                await self._confirm(chunk)
                await self._step_ended()
        return replace(self._result, undecided=len(self._open))

    async def _step_ended(self) -> None:
        checked = self._result.products_checked
        self._report(AuditProgress(products_checked=checked, product_count=len(self._product_ids)))
        if not await self._right.acquire(ttl=_LEASE_TTL):
            raise AuditAlreadyRunning(self._shop)

    async def _compare(self, product_ids: Sequence[str]) -> None:
        """Read products for the first time, and decide about those that are equal."""
        before = await self._use.catalog.state(self._shop, (), ())
        deleted, existing, decided = set[str](), set[str](), set[str]()
        async with aclosing(self._read(product_ids)) as batches:
            async for batch in batches:
                deleted |= set(batch.deleted_product_ids)
                exists = replace(batch, deleted_product_ids=())
                existing |= existing_ids(batch)
                decided |= await self._compare_batch(exists, before.feed_position)
        decided |= await self._compare_batch(batch_of_deleted(deleted - existing), before.feed_position)
        self._open |= set(product_ids) - decided

    async def _compare_batch(self, batch: SourceBatch, feed_position: int) -> set[str]:
        """Count the products of the batch that are equal and return their ids; suspect those that differ."""
        read = ReadProducts.of(batch)
        if not read.product_ids:
            return set()
        state = await self._use.catalog.state(self._shop, read.product_ids, read.item_ids)
        differences = read.differences(state, read.product_ids, overlap=self._use.overlap)
        changed = {i for i in differences if state.rows[i].changed_since(feed_position)}
        self._suspected |= differences.keys() - changed
        decided = set(read.product_ids - differences.keys())
        self._result += read.count(decided, {})
        return decided

    async def _confirm(self, product_ids: Sequence[str]) -> None:
        """Read undecided products again, as their reader, and repair those that differ for the second time."""
        claim = await self._use.catalog.take(self._shop, self._audit_id, product_ids)
        if not claim.product_ids:
            return
        deleted, existing = set[str](), set[str]()
        try:
            async with aclosing(self._read(claim.product_ids)) as batches:
                async for batch in batches:
                    deleted |= set(batch.deleted_product_ids)
                    exists = replace(batch, deleted_product_ids=())
                    existing |= existing_ids(batch)
                    self._settled(await self._settle(claim, exists))
            # Products are deleted only after a complete read, and together.
            self._settled(await self._settle(claim, batch_of_deleted(deleted - existing)))
        finally:
            with suppress(StorageUnavailable):
                await self._use.catalog.release(claim)

    async def _settle(self, claim: RefreshClaim, batch: SourceBatch) -> SettledProducts:
        if not (batch.products or batch.deleted_product_ids or batch.issues):
            return SettledProducts()
        settle, overlap = self._use.catalog.settle, self._use.overlap
        suspected = frozenset(self._suspected)
        try:
            return await settle(claim, batch, suspected=suspected, overlap=overlap)
        except MassDeleteBlocked:
            _log.warning("the deletion guard stopped the repair of products", extra=_context(self._shop))
            return await settle(claim, batch, suspected=suspected, overlap=overlap, repair=False)

    def _settled(self, settled: SettledProducts) -> None:
        self._result += settled.result
        self._open -= settled.decided
        self._suspected |= settled.differing

    def _read(self, product_ids: Sequence[str]) -> AsyncGenerator[SourceBatch, None]:
        timeout = self._use.read_timeout.total_seconds()
        return read_by_id(self._use.source, self._shop, product_ids, timeout_seconds=timeout)


def _chunks(product_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    starts = range(0, len(product_ids), _PRODUCTS_PER_READ)
    return (product_ids[start : start + _PRODUCTS_PER_READ] for start in starts)


def _context(shop: Shop) -> dict[str, object]:
    return {"shop": str(shop.key)}
