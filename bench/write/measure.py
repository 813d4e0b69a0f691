"""One step of one writer, measured: a catalog's batches written one after the other.

What several repetitions of a step come to.

What a way to write is to a benchmark."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeAlias

from bench.write.catalog import Batch, item_count
from bench.write.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What it cost. A row is an item; what its product costs is part of it."""

    rows: int
    batch_seconds: tuple[float, ...]
    client_cpu: float
    """Seconds of this process."""
    postgres_cpu: float
    """Seconds of all of its processes."""
    wal_bytes: int
    inserted: int
    """Into product and item."""
    dead: int
    """Row versions of product and item made obsolete."""

    @property
    def rows_per_second(self) -> float:
        """From the first batch's begin to the last one's commit."""
        return self.rows / sum(self.batch_seconds)

    @property
    def wal_per_row(self) -> float:
        """In bytes."""
        return self.wal_bytes / self.rows

    @property
    def late_over_early(self) -> float:
        """Speed of the last quarter of the batches over that of the first: far below 1 when a plan has flipped.

        By medians. The very last batch is left out, since it is a smaller one.
        """
        whole = self.batch_seconds[:-1] or self.batch_seconds
        quarter = max(1, len(whole) // 4)
        return median(whole[:quarter]) / median(whole[-quarter:])


async def measured_step(database: Database, writer: Writer, batches: Sequence[Batch]) -> Step:
    """Everything is made ready first: clocks run while batches are written, and only then."""
    before = await database.work()
    async with writer(database) as prepare:
        stores = [prepare(batch) for batch in batches]
        await database.checkpoint()
        # As the services do: the input lives longer than the step, and nobody should pay for walking over it.
        gc.collect()
        gc.freeze()
        wal, cpu, own = await database.wal_position(), database.cpu_seconds(), time.process_time()
        moments = [time.perf_counter()]
        for store in stores:
            await store()
            moments.append(time.perf_counter())
        own, cpu = time.process_time() - own, database.cpu_seconds() - cpu
        wal = await database.wal_position() - wal
        gc.unfreeze()
    after = await database.work()
    return Step(
        rows=sum(map(item_count, batches)),
        batch_seconds=tuple(end - begin for begin, end in pairwise(moments)),
        client_cpu=own,
        postgres_cpu=cpu,
        wal_bytes=wal,
        inserted=after.inserted - before.inserted,
        dead=after.dead - before.dead,
    )


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


Store: TypeAlias = Callable[[], Awaitable[None]]
"""Writes one batch, committed when it returns. This is what is timed, each once and in order."""

Prepare: TypeAlias = Callable[[Batch], Store]
"""Brings a batch into the form that the writer takes."""

Writer: TypeAlias = Callable[[Database], AbstractAsyncContextManager[Prepare]]
"""Connects; when it is left, no connection stays."""
