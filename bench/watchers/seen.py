"""What watchers saw, and how old it was."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bench.common.measure import percentile


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A snapshot at a watcher. Unix times."""

    revision: int
    made: float
    """Its `update_time`: shortly before its transaction committed."""
    at: float
    last: bool
    """Of a sync that has ended."""

    @property
    def age(self) -> float:
        """Seconds from the transaction to the watcher."""
        return self.at - self.made


@dataclass(kw_only=True, slots=True)
class Crowd:
    """All watchers of a process. The first snapshot of each tells how it was before, and has no age."""

    streams: list[Sequence[Arrival]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, arrivals: Sequence[Arrival]) -> None:
        """A stream that ended well."""
        self.streams.append(arrivals)

    def told(self) -> dict[str, object]:
        """Counts, and percentiles in seconds."""
        news = [arrival for stream in self.streams for arrival in stream[1:]]
        return {
            "ended": sum(bool(stream) and stream[-1].last for stream in self.streams),
            "failures": self.failures[:3],
            "snapshots": len(news),
            "age": _spread([arrival.age for arrival in news]),
            "age_of_the_last": _spread([arrival.age for arrival in news if arrival.last]),
            "behind": _spread(self._behind()),
        }

    def _behind(self) -> list[float]:
        """For each arrival, since when its watcher could have known something newer than it did."""
        made = {arrival.revision: arrival.made for stream in self.streams for arrival in stream}
        revisions = sorted(made)
        return [
            after.at - made[revisions[bisect_right(revisions, before.revision)]]
            for stream in self.streams
            for before, after in pairwise(stream)
        ]


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    return {
        "p50": round(percentile(values, 50), 4),
        "p99": round(percentile(values, 99), 4),
        "max": round(max(values), 4),
    }
