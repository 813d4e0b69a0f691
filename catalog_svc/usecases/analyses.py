"""The unary calls of AnalysisService: results and heartbeats of workers, and what clients read and queue again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from catalog_svc.domain.analysis import (
    AnalysisCursor,
    AnalysisFilter,
    AnalysisState,
    ImageAnalysis,
    RequeueSelection,
    SubmittedResult,
    TaskLease,
    TaskOutcome,
)
from catalog_svc.domain.errors import ItemNotFound
from catalog_svc.domain.shop import ShopRef
from catalog_svc.usecases.analysis_hub import AnalysisHub
from catalog_svc.usecases.analysis_ports import Analyses, AnalysisMetrics, AnalysisTasks, Analyzers
from catalog_svc.usecases.read_catalog import ReadCatalog


class FinishTasks:
    """Ends and extends leases of workers."""

    def __init__(
        self,
        *,
        tasks: AnalysisTasks,
        hub: AnalysisHub,
        metrics: AnalysisMetrics,
        announce_change: Callable[[UUID], None],
    ) -> None:
        """Create the use case.

        Args:
            tasks: The stored tasks.
            hub: The streams of the workers.
            metrics: Where outcomes are counted.
            announce_change: Called with each shop whose items have changed.
        """
        self._tasks = tasks
        self._hub = hub
        self._metrics = metrics
        self._announce_change = announce_change

    async def extend(
        self, worker_id: str, leases: Sequence[TaskLease], duration: timedelta
    ) -> Mapping[TaskLease, datetime]:
        """Extend leases, with a duration of zero end them; return until when, without those that are lost."""
        extended = await self._tasks.extend(worker_id, leases, duration)
        if extended and not duration:
            self._hub.wake_worker(worker_id)
            self._hub.announce()
        return extended

    async def submit(self, worker_id: str, results: Sequence[SubmittedResult]) -> list[TaskOutcome]:
        """Store results, those of each shop in one transaction; return the outcomes in their order.

        If the call fails in between, the results of some shops are stored: a repeated call says so.
        """
        outcomes: dict[TaskLease, TaskOutcome] = {}
        for shop_id in dict.fromkeys(result.lease.shop_id for result in results):
            some = [result for result in results if result.lease.shop_id == shop_id]
            stored = await self._tasks.submit(shop_id, some)
            for result, outcome in zip(some, stored, strict=True):
                outcomes[result.lease] = outcome
                self._metrics.result_submitted(outcome)
            self._announce_change(shop_id)
        self._hub.wake_worker(worker_id)
        return [outcomes[result.lease] for result in results]


class ReadAnalyses:
    """Reads analyses, and queues images for another one."""

    def __init__(
        self, *, read: ReadCatalog, analyses: Analyses, analyzers: Analyzers, announce: Callable[[], None]
    ) -> None:
        """Create the use case.

        Args:
            read: Finds shops.
            analyses: The stored analyses.
            analyzers: Where images are queued again.
            announce: Called when tasks were made.
        """
        self._read = read
        self._analyses = analyses
        self._analyzers = analyzers
        self._announce = announce

    async def of_item(self, ref: ShopRef, item_id: str) -> tuple[AnalysisState | None, list[ImageAnalysis]]:
        """Return the state of an item, and the analyses of its image by analyzer.

        Raises:
            ShopNotFound: The shop is not registered.
            ItemNotFound: There never was such an item.
        """
        shop = await self._read.shop(ref)
        found = await self._analyses.of_item(shop, item_id)
        if found is None:
            raise ItemNotFound(shop.key, item_id)
        return found

    async def page(
        self, ref: ShopRef, which: AnalysisFilter, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` analyses. Raises ShopNotFound."""
        return await self._analyses.page(await self._read.shop(ref), which, after=after, limit=limit)

    async def dead(
        self, ref: ShopRef, analyzer: str, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` dead tasks. Raises ShopNotFound."""
        return await self._analyses.dead(await self._read.shop(ref), analyzer, after=after, limit=limit)

    async def requeue(self, ref: ShopRef, analyzer: str, which: RequeueSelection) -> tuple[int, bool]:
        """Queue images for another analysis; return how many, and whether there may be more.

        Raises:
            ShopNotFound: The shop is not registered.
            AnalyzerNotEnabled: The analyzer is not switched on for the shop.
        """
        requeued = await self._analyzers.requeue(await self._read.shop(ref), analyzer, which)
        self._announce()
        return requeued
