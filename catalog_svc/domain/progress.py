"""Progress of a sync: counts, rate, estimated time left, and waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordCounts:
    """What a sync did with the records it saw; seen = created + updated + unchanged."""

    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0

    def __add__(self, other: RecordCounts) -> RecordCounts:
        return RecordCounts(
            seen=self.seen + other.seen,
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            deleted=self.deleted + other.deleted,
            rejected=self.rejected + other.rejected,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Counts so far, and estimates."""

    products: RecordCounts = RecordCounts()
    items: RecordCounts = RecordCounts()
    estimated_product_count: int | None = None
    estimated_item_count: int | None = None
    items_per_second: float | None = None
    """None when the sync is not storing anything."""
    issue_count: int = 0
    checked_products: int = 0
    """Products of which an incremental pass checked only the id, the stock or the price."""

    def remaining(self) -> timedelta | None:
        """Return the time left at the present rate; None when it is unknown."""
        share = self._share_done()
        if not self.items_per_second or not share or not self.items.seen:
            return None
        items_left = self.items.seen / share - self.items.seen
        return timedelta(seconds=items_left / self.items_per_second)

    def of_succeeded(self) -> Progress:
        """Return the progress of a sync that has succeeded: counts replace the estimates that there were."""
        return replace(
            self,
            estimated_product_count=None if self.estimated_product_count is None else self.products.seen,
            estimated_item_count=None if self.estimated_item_count is None else self.items.seen,
        )

    def _share_done(self) -> float | None:
        if self.estimated_item_count:
            return min(1.0, self.items.seen / self.estimated_item_count)
        if self.estimated_product_count:
            return min(1.0, self.products.seen / self.estimated_product_count)
        return None


class WaitReason(Enum):
    """Why a running sync waits; the names are those of the contract."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and unknown to this one."""
    THROTTLED = "THROTTLED"
    """The platform's rate limit."""
    PLATFORM_JOB = "PLATFORM_JOB"
    """A job of the platform, such as a bulk export."""
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE"
    """The platform does not answer."""
    TOKEN_SERVICE = "TOKEN_SERVICE"
    """The Token Service does not answer."""
    CONNECTOR = "CONNECTOR"
    """connector_svc does not answer."""
    STORAGE = "STORAGE"
    """The database does not store the next batch in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A wait of a sync: its reason and its expected end."""

    reason: WaitReason
    until: datetime
    """UTC."""
    message: str = ""
    done_count: int | None = None
    total_count: int | None = None


class RateMeter:
    """Measures items per second over a window of the last seconds.

    So a wait lowers the rate, and a resumed sync does not report an inflated one.
    """

    def __init__(self, window: timedelta = timedelta(seconds=10)) -> None:
        self._window = window.total_seconds()
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)

    def start(self, at: float) -> None:
        """Start measuring at `at`, in seconds of a monotonic clock."""
        self._marks.clear()
        self._marks.append((at, 0))

    def add(self, at: float, items: int) -> float | None:
        """Count items that are done at `at` and return the rate; None while it is unknown."""
        self._marks.append((at, items))
        while len(self._marks) > 2 and self._marks[1][0] < at - self._window:
            self._marks.popleft()
        elapsed = at - self._marks[0][0]
        # The window begins at the first mark: the items of that mark were done before.
        done = sum(count for _, count in self._marks) - self._marks[0][1]
        return done / elapsed if elapsed > 0 else None
