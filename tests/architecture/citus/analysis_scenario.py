"""The part of the scenario in which the stores of the analysis execute each of their statements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from catalog_svc.domain.analysis import (
    MAX_ATTEMPTS,
    AnalysisCursor,
    AnalysisFilter,
    AnalysisState,
    LeasedTask,
    RequeueSelection,
    SubmittedResult,
    TaskFailure,
    TaskOutcome,
    Worker,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.analyzers import AnalyzerStore
from tests.integration.catalog_svc.analyzing import ANALYZER, pictured, result

__all__ = ["AnalysisScenario", "pictured"]

_WORKER: Final = Worker(
    worker_id="worker",
    analyzer=ANALYZER,
    model_version="1",
    max_in_flight=100,
    lease_duration=timedelta(minutes=1),
)
_BROKEN: Final = TaskFailure(reason="IMAGE_UNREADABLE", message="no image")
_GONE: Final = TaskFailure(reason="IMAGE_NOT_FOUND", message="404", permanent=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisScenario:
    """The stores of the analysis; what they execute is recorded."""

    tasks: AnalysisTaskStore
    analyzers: AnalyzerStore
    analyses: AnalysisStore
    execute: Callable[..., Awaitable[None]]
    """Executes a statement that is not recorded."""

    async def backfill(self, shop: Shop) -> None:
        """Visit the stored items of the shop, whose analyzers have changed."""
        assert shop.shop_id in await self.analyzers.backfills(limit=9)
        while await self.analyzers.backfill_step(shop.shop_id):
            pass

    async def work(self, shop: Shop) -> None:
        """Leases with each of their ends, and images that are queued again."""
        assert await self.tasks.due_analyzers([ANALYZER, "unknown"]) == [ANALYZER]
        assert shop.shop_id in await self.tasks.due_shops(ANALYZER, limit=9)
        analyzed, failed, dead, released = await self._lease(shop, limit=4)
        assert await self.tasks.held_leases(_WORKER.worker_id) == 4
        assert await self.tasks.extend(_WORKER.worker_id, [analyzed.lease], timedelta(minutes=2))
        assert await self.tasks.extend(_WORKER.worker_id, [released.lease], timedelta())
        results = [
            SubmittedResult(lease=analyzed.lease, outcome=result()),
            SubmittedResult(lease=failed.lease, outcome=_BROKEN),
            SubmittedResult(lease=dead.lease, outcome=_GONE),
        ]
        submitted = await self.tasks.submit(shop.shop_id, results)
        assert submitted == [TaskOutcome.STORED, TaskOutcome.RETRY, TaskOutcome.DEAD]
        assert (await self.tasks.submit(shop.shop_id, results[:1])) == [TaskOutcome.STORED]
        page = await self.tasks.lease(_WORKER, shop.shop_id, limit=99)
        assert page.unused
        await self.tasks.drop_unused(_WORKER.worker_id, page.unused)
        await self._let_leases_expire(attempts=MAX_ATTEMPTS)
        assert (await self.tasks.lease(_WORKER, shop.shop_id, limit=99)).has_exhausted
        assert await self.tasks.mark_dead(shop.shop_id, ANALYZER)
        await self._requeue(shop, analyzed, dead)

    async def _requeue(self, shop: Shop, analyzed: LeasedTask, dead: LeasedTask) -> None:
        images = (analyzed.lease.image.image_hash, dead.lease.image.image_hash)
        assert (await self.analyzers.requeue(shop, ANALYZER, RequeueSelection(image_hashes=images)))[0] == 2
        for task in await self._lease(shop, limit=2):
            await self.tasks.submit(shop.shop_id, [SubmittedResult(lease=task.lease, outcome=result())])
        others = RequeueSelection(other_than_model_version="2")
        assert (await self.analyzers.requeue(shop, ANALYZER, others))[0] == 2
        assert (await self.analyzers.requeue(shop, ANALYZER, RequeueSelection(dead=True)))[0]
        (task,) = await self._lease(shop, limit=1)
        await self.tasks.submit(shop.shop_id, [SubmittedResult(lease=task.lease, outcome=_GONE)])

    async def reads(self, shop: Shop) -> None:
        """Analyses of an item, and all lists of them."""
        assert await self.analyses.of_item(shop, "21-1")
        after = AnalysisCursor(analyzer=ANALYZER, image_hash=b"")
        score = result().quality_score
        filters = (
            AnalysisFilter(analyzer=ANALYZER),
            AnalysisFilter(analyzer=ANALYZER, category="Shirts", min_quality=score, max_quality=score),
            AnalysisFilter(analyzer=ANALYZER, state=AnalysisState.PENDING),
            AnalysisFilter(analyzer=ANALYZER, state=AnalysisState.FAILED),
        )
        for which in filters:
            for cursor in (None, after):
                assert await self.analyses.page(shop, which, after=cursor, limit=9)
        for analyzer in ("", ANALYZER):
            for cursor in (None, after):
                assert await self.analyses.dead(shop, analyzer, after=cursor, limit=9)

    async def _lease(self, shop: Shop, *, limit: int) -> tuple[LeasedTask, ...]:
        return (await self.tasks.lease(_WORKER, shop.shop_id, limit=limit)).tasks

    async def _let_leases_expire(self, *, attempts: int) -> None:
        await self.execute(
            "UPDATE analysis_task SET available_at = now() - interval '1 s', attempt_count = :attempts",
            attempts=attempts,
        )
