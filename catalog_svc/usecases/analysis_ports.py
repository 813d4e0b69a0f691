"""What the use cases of item analysis need from the storage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.analysis import (
    AnalysisCursor,
    AnalysisFilter,
    AnalysisState,
    ImageAnalysis,
    LeasedPage,
    RequeueSelection,
    SubmittedResult,
    TaskLease,
    TaskOutcome,
    Worker,
)
from catalog_svc.domain.shop import Shop


class AnalysisTasks(Protocol):
    """Tasks of all shops, each leased to one worker at a time."""

    async def due_analyzers(self, analyzers: Collection[str]) -> list[str]:
        """Return those of these analyzers for which a shop may have tasks."""
        ...

    async def due_shops(self, analyzer: str, *, limit: int) -> list[UUID]:
        """Return up to `limit` shops that may have tasks for the analyzer, the one that was served least first."""
        ...

    async def lease(self, worker: Worker, shop_id: UUID, *, limit: int, from_position: int = 0) -> LeasedPage:
        """Lease up to `limit` tasks of a shop after a position, no more than the worker has free slots."""
        ...

    async def held_leases(self, worker_id: str) -> int:
        """Return how many unexpired leases the worker has, over all shops."""
        ...

    async def extend(
        self, worker_id: str, leases: Sequence[TaskLease], duration: timedelta
    ) -> Mapping[TaskLease, datetime]:
        """Extend leases, with a duration of zero end them; return until when, without those that are lost."""
        ...

    async def submit(self, shop_id: UUID, results: Sequence[SubmittedResult]) -> list[TaskOutcome]:
        """Store results of leases of one shop; return the outcomes in the order of the results."""
        ...

    async def drop_unused(self, worker_id: str, leases: Sequence[TaskLease]) -> None:
        """Delete leased tasks of one shop and analyzer whose image no item has; end the leases of the others."""
        ...

    async def mark_dead(self, shop_id: UUID, analyzer: str) -> int:
        """Declare those tasks dead whose last lease has expired, and return how many."""
        ...


class Analyses(Protocol):
    """Analyses as clients read them."""

    async def of_item(self, shop: Shop, item_id: str) -> tuple[AnalysisState | None, list[ImageAnalysis]] | None:
        """Return the state of an item and the analyses of its image; None if there is no such item."""
        ...

    async def page(
        self, shop: Shop, which: AnalysisFilter, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` analyses: results by score and image, tasks by image."""
        ...

    async def dead(
        self, shop: Shop, analyzer: str, *, after: AnalysisCursor | None, limit: int
    ) -> list[ImageAnalysis]:
        """Return up to `limit` dead tasks by analyzer and image; an empty analyzer: of all."""
        ...


class Analyzers(Protocol):
    """The analyzers of shops."""

    async def backfills(self, *, limit: int) -> list[UUID]:
        """Return up to `limit` shops whose stored items are to be visited."""
        ...

    async def backfill_step(self, shop_id: UUID) -> bool:
        """Visit the next items of a shop; return whether there are more."""
        ...

    async def requeue(self, shop: Shop, analyzer: str, which: RequeueSelection) -> tuple[int, bool]:
        """Queue images for another analysis; return how many, and whether there may be more.

        Raises:
            AnalyzerNotEnabled: The analyzer is not switched on for the shop.
        """
        ...


class AnalysisMetrics(Protocol):
    """Counts what becomes of tasks."""

    def tasks_leased(self, analyzer: str, count: int) -> None:
        """Count leased tasks."""
        ...

    def result_submitted(self, outcome: TaskOutcome) -> None:
        """Count the outcome of a submitted result."""
        ...

    def tasks_marked_dead(self, analyzer: str, count: int) -> None:
        """Count tasks that are dead because their leases expired."""
        ...
