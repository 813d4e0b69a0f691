"""What several repetitions of the same sync come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Medians:
    """Medians over repetitions, each figure for itself."""

    repetitions: int
    items: int
    changed_items: int
    rows_per_second: int
    slowest_rows_per_second: int
    fastest_rows_per_second: int
    cpu_per_100k: dict[str, float]
    """Seconds per 100,000 items, by process. The kernel counts in hundredths: coarse for a small shop."""
    wal_bytes: int
    dead_tuples: int | None
    """None: counted in no repetition."""
    peak_mb: dict[str, float]
    """The highest of all repetitions, by service."""


def middle(repetitions: Sequence[Measured]) -> Medians:
    """The medians of at least one repetition."""

    def of(figure: Callable[[Measured], float]) -> float:
        return median(map(figure, repetitions))

    def cpu(name: str) -> float:
        return round(of(lambda one: one.cpu[name] / one.items * 100_000), 2)

    first = repetitions[0]
    dead = [one.dead_tuples for one in repetitions if one.dead_tuples is not None]
    rates = sorted(round(one.rows_per_second) for one in repetitions)
    return Medians(
        repetitions=len(repetitions),
        items=first.items,
        changed_items=first.created + first.updated,
        rows_per_second=round(median(rates)),
        slowest_rows_per_second=rates[0],
        fastest_rows_per_second=rates[-1],
        cpu_per_100k={name: cpu(name) for name in first.cpu},
        wal_bytes=round(of(lambda one: one.wal_bytes)),
        dead_tuples=round(median(dead)) if dead else None,
        peak_mb={name: max(one.peak_mb[name][-1] for one in repetitions) for name in first.peak_mb},
    )
