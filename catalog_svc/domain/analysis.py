"""Analysis of item images by workers: tasks, leases, results, and how far an item's analysis is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

MAX_ATTEMPTS: Final = 5
"""After as many attempts that failed, or whose lease expired, a task is dead."""
LEASE_EXPIRED: Final = "LEASE_EXPIRED"
"""Failure reason of a task whose last lease expired."""
_FIRST_RETRY_DELAY: Final = timedelta(seconds=5)


class AnalysisState(Enum):
    """How far the analysis of an image is; the names are those of the contract."""

    PENDING = "PENDING"
    """An analyzer of the shop has an open task for the image."""
    ANALYZED = "ANALYZED"
    """Every analyzer of the shop has a result."""
    FAILED = "FAILED"
    """No task is open, and all attempts of one have failed."""
    NOT_APPLICABLE = "NOT_APPLICABLE"
    """There is no image."""


class TaskOutcome(Enum):
    """What became of a submitted result; the names are those of the contract."""

    STORED = "STORED"
    STALE = "STALE"
    """The lease was lost; nothing was stored."""
    RETRY = "RETRY"
    """The failure was recorded, and the task is leased again later."""
    DEAD = "DEAD"
    """The failure was recorded, and the task is not leased again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageKey:
    """An image of a shop, and an analyzer."""

    analyzer: str
    image_hash: bytes
    """Hash of the image's address and version, 16 bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskLease:
    """The right to submit the result of a task: the fence of its results.

    The position distinguishes the task from an earlier one for the same image, the epoch its leases.
    """

    shop_id: UUID
    image: ImageKey
    feed_position: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A worker that leases tasks."""

    worker_id: str
    analyzer: str
    model_version: str
    max_in_flight: int
    """Leases that it holds at most, over all replicas."""
    lease_duration: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedTask:
    """A task as a worker receives it, with one of the items that have the image."""

    lease: TaskLease
    image_url: str
    attempt: int
    expires_at: datetime
    item_id: str
    item_title: str
    product_id: str
    product_title: str
    product_type: str
    vendor: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedPage:
    """What one attempt to lease tasks of one shop brought."""

    tasks: tuple[LeasedTask, ...] = ()
    is_full: bool = False
    """Whether the worker had no free slot."""
    unused: tuple[TaskLease, ...] = ()
    """Leases of tasks whose image no item had: they must be dropped."""
    has_exhausted: bool = False
    """Whether tasks of the shop must be declared dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisResult:
    """What an analyzer found in an image."""

    model_version: str
    category: str
    subcategory: str
    description: str
    gender: str
    attributes: Mapping[str, Any]
    """A JSON object."""
    quality_score: Decimal
    """From 0 to 1."""
    confidence_score: Decimal
    """From 0 to 1."""
    processing_time: timedelta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFailure:
    """Why an attempt brought no result."""

    reason: str
    message: str
    permanent: bool = False
    """Whether another attempt cannot help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedResult:
    """The end of one attempt."""

    lease: TaskLease
    outcome: AnalysisResult | TaskFailure


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisSummary:
    """The short form of a result, as a part of an item."""

    analyzer: str
    model_version: str
    category: str
    subcategory: str
    quality_score: Decimal
    confidence_score: Decimal
    analyzed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemAnalysis:
    """The analysis of an item's image."""

    state: AnalysisState
    results: tuple[AnalysisSummary, ...] = ()
    """By analyzer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAnalysis:
    """The analysis of one image by one analyzer."""

    image: ImageKey
    image_url: str
    state: AnalysisState
    result: AnalysisResult | None = None
    analyzed_at: datetime | None = None
    failure: TaskFailure | None = None
    """The last failure of the open or dead task."""
    attempt_count: int = 0
    item_id: str = ""
    """An item with the image; empty: none has it any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisCounts:
    """Items that are not deleted, by the state of their analysis; or the change of these numbers."""

    pending: int = 0
    analyzed: int = 0
    failed: int = 0

    @classmethod
    def of(cls, states: Iterable[str | None]) -> AnalysisCounts:
        """Return the counts of items with these states, by their names; None: without one."""
        number = Counter(states)
        return cls(
            pending=number[AnalysisState.PENDING.value],
            analyzed=number[AnalysisState.ANALYZED.value],
            failed=number[AnalysisState.FAILED.value],
        )

    def __add__(self, other: AnalysisCounts) -> AnalysisCounts:
        return AnalysisCounts(
            pending=self.pending + other.pending,
            analyzed=self.analyzed + other.analyzed,
            failed=self.failed + other.failed,
        )

    def __sub__(self, other: AnalysisCounts) -> AnalysisCounts:
        return AnalysisCounts(
            pending=self.pending - other.pending,
            analyzed=self.analyzed - other.analyzed,
            failed=self.failed - other.failed,
        )


NO_ANALYSES: Final = AnalysisCounts()
"""No item is in any of the states."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisFilter:
    """Conditions of a list of analyses; all apply together."""

    analyzer: str
    state: AnalysisState = AnalysisState.ANALYZED
    category: str = ""
    """Empty: any."""
    min_quality: Decimal | None = None
    max_quality: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisCursor:
    """Where a page of analyses ended: the last one of it."""

    analyzer: str
    image_hash: bytes
    quality_score: Decimal = Decimal(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RequeueSelection:
    """Which images of an analyzer are analyzed again: exactly one of these."""

    dead: bool = False
    image_hashes: tuple[bytes, ...] = ()
    other_than_model_version: str | None = None


def retry_delay(attempt: int) -> timedelta:
    """Return how long after a failed attempt, counted from 1, the next one begins."""
    return _FIRST_RETRY_DELAY * (1 << (attempt - 1))
