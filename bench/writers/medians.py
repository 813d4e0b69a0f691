"""What several repetitions of a step come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.writers.step import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMedians:
    """Medians over repetitions, each figure for itself."""

    repetitions: int
    rows: int
    rows_per_second: int
    slowest_rows_per_second: int
    fastest_rows_per_second: int
    late_over_early: float
    """See `Step`."""
    client_cpu_us_per_row: float
    postgres_cpu_us_per_row: float
    wal_bytes_per_row: float
    inserted: int
    dead_tuples: int


def middle(repetitions: Sequence[Step]) -> StepMedians:
    """The medians of at least one repetition."""

    def of(figure: Callable[[Step], float]) -> float:
        return median(map(figure, repetitions))

    rates = sorted(round(step.rows_per_second) for step in repetitions)
    return StepMedians(
        repetitions=len(repetitions),
        rows=repetitions[0].rows,
        rows_per_second=round(median(rates)),
        slowest_rows_per_second=rates[0],
        fastest_rows_per_second=rates[-1],
        late_over_early=round(of(lambda step: step.late_over_early), 2),
        client_cpu_us_per_row=round(of(lambda step: step.client_cpu / step.rows * 1e6), 1),
        postgres_cpu_us_per_row=round(of(lambda step: step.postgres_cpu / step.rows * 1e6), 1),
        wal_bytes_per_row=round(of(lambda step: step.wal_per_row), 1),
        inserted=round(of(lambda step: step.inserted)),
        dead_tuples=round(of(lambda step: step.dead)),
    )


def ratio(ours: Sequence[Step], theirs: Sequence[Step], figure: Callable[[Step], float]) -> float:
    """The median of the ratios within each round: both sides of one met the same machine."""
    return median(figure(one) / figure(other) for one, other in zip(ours, theirs, strict=True))
