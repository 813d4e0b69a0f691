"""When snapshots arrived at watchers, and how old they were."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bench.common.measure import percentile


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One snapshot at one watcher. Times are Unix seconds."""

    revision: int
    written_at: float
    """Its `update_time`: shortly before its transaction committed."""
    arrived_at: float
    is_terminal: bool

    @property
    def age(self) -> float:
        """Seconds from the transaction to the watcher."""
        return self.arrived_at - self.written_at


@dataclass(kw_only=True, slots=True)
class Arrivals:
    """All snapshots of all watchers of one process.

    The first snapshot of each watcher shows the state before it came, so its age is not counted.
    """

    streams: list[tuple[str, Sequence[Arrival]]] = field(default_factory=list)
    """By watcher: the sync and its snapshots in order."""
    failures: list[str] = field(default_factory=list)

    def add(self, sync_id: str, arrivals: Sequence[Arrival]) -> None:
        """Add a stream that ended without an error."""
        self.streams.append((sync_id, arrivals))

    def summary(self) -> dict[str, object]:
        """Return counts, and percentiles in seconds."""
        counted = [arrival for _, stream in self.streams for arrival in stream[1:]]
        return {
            "ended": sum(bool(stream) and stream[-1].is_terminal for _, stream in self.streams),
            "failures": self.failures[:3],
            "snapshots": len(counted),
            "age": _percentiles([arrival.age for arrival in counted]),
            "age_of_terminal": _percentiles([arrival.age for arrival in counted if arrival.is_terminal]),
            "behind": _percentiles(self._behind()),
        }

    def _behind(self) -> list[float]:
        """Return for each arrival how long its watcher had not known of the first change it brought."""
        written: dict[str, dict[int, float]] = {}
        for sync_id, stream in self.streams:
            written.setdefault(sync_id, {}).update((each.revision, each.written_at) for each in stream)
        revisions = {sync_id: sorted(times) for sync_id, times in written.items()}
        found: list[float] = []
        for sync_id, stream in self.streams:
            known, times = revisions[sync_id], written[sync_id]
            for before, after in pairwise(stream):
                first_unknown = known[bisect_right(known, before.revision)]
                found.append(after.arrived_at - times[first_unknown])
        return found


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    return {
        "p50": round(percentile(values, 50), 4),
        "p99": round(percentile(values, 99), 4),
        "max": round(max(values), 4),
    }
