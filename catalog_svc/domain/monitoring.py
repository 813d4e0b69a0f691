"""The state of the whole catalog, for metrics: active syncs, freshness of shops, analysis tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

FRESHNESS_BOUNDS: Final = (
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=7),
    timedelta(days=30),
)
"""Upper bounds of the groups into which shops are counted by the age of their watermark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveSyncs:
    """Syncs of one platform that have not ended. Ages are zero if there is no such sync."""

    platform: str
    pending: int
    """No worker has claimed them yet."""
    oldest_pending_age: timedelta
    """Since the oldest of them was created."""
    running: int
    """A replica holds the lease."""
    unowned: int
    """Claimed before, and without a replica now: the lease has expired, or was released."""
    longest_unowned: timedelta
    """Since the first of these leases ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopFreshness:
    """How old the stored catalogs are: the time since the watermark of each shop."""

    counts: tuple[int, ...]
    """Shops by age: within each of `FRESHNESS_BOUNDS` and above the one before, and last those above all."""
    sum_seconds: float
    never_synced: int
    """Shops without a watermark: no sync of them has succeeded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisTasks:
    """Open and dead tasks of one analyzer."""

    analyzer: str
    pending: int
    leased: int
    dead: int
    oldest_age: timedelta
    """Since the oldest task that is pending or leased was created."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogState:
    """One observation of the database."""

    active_syncs: Sequence[ActiveSyncs]
    """None of a platform: it has no active sync."""
    freshness: ShopFreshness
    analysis_tasks: Sequence[AnalysisTasks]
