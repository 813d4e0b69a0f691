"""Measures one step of one writer: the batches of a catalog, written one after the other."""

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

WriteBatch: TypeAlias = Callable[[], Awaitable[None]]
"""Writes one batch; returns once it is committed. Only these calls are timed."""

Prepare: TypeAlias = Callable[[Batch], WriteBatch]
"""Converts a batch into the input of the writer."""

Writer: TypeAlias = Callable[[Database], AbstractAsyncContextManager[Prepare]]
"""Opens connections to a database, and closes all of them on exit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMeasurement:
    """What a step cost. A row is an item; the cost of its product is included."""

    rows: int
    batch_seconds: tuple[float, ...]
    client_cpu: float
    """Seconds of this process."""
    postgres_cpu: float
    """Seconds of all processes of PostgreSQL."""
    wal_bytes: int
    inserted: int
    """Rows inserted into product and item."""
    dead: int
    """Row versions of product and item made obsolete."""

    @property
    def rows_per_second(self) -> float:
        """Items per second, from the begin of the first batch to the commit of the last."""
        return self.rows / sum(self.batch_seconds)

    @property
    def wal_bytes_per_row(self) -> float:
        """WAL bytes per item."""
        return self.wal_bytes / self.rows

    @property
    def late_over_early(self) -> float:
        """Speed of the last quarter of the batches over the first: far below 1 if a query plan has changed.

        Computed from medians, without the last batch, which is smaller.
        """
        whole = self.batch_seconds[:-1] or self.batch_seconds
        quarter = max(1, len(whole) // 4)
        return median(whole[:quarter]) / median(whole[-quarter:])


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMedians:
    """Medians over repetitions of the same step, each figure by itself."""

    repetitions: int
    rows: int
    rows_per_second: int
    slowest_rows_per_second: int
    fastest_rows_per_second: int
    late_over_early: float
    """See `StepMeasurement.late_over_early`."""
    client_cpu_us_per_row: float
    postgres_cpu_us_per_row: float
    wal_bytes_per_row: float
    inserted: int
    dead_tuples: int

    @classmethod
    def of(cls, repetitions: Sequence[StepMeasurement]) -> StepMedians:
        """Return the medians of at least one repetition."""

        def median_of(figure: Callable[[StepMeasurement], float]) -> float:
            return median(map(figure, repetitions))

        rates = sorted(round(step.rows_per_second) for step in repetitions)
        return cls(
            repetitions=len(repetitions),
            rows=repetitions[0].rows,
            rows_per_second=round(median(rates)),
            slowest_rows_per_second=rates[0],
            fastest_rows_per_second=rates[-1],
            late_over_early=round(median_of(lambda step: step.late_over_early), 2),
            client_cpu_us_per_row=round(median_of(lambda step: step.client_cpu / step.rows * 1e6), 1),
            postgres_cpu_us_per_row=round(median_of(lambda step: step.postgres_cpu / step.rows * 1e6), 1),
            wal_bytes_per_row=round(median_of(lambda step: step.wal_bytes_per_row), 1),
            inserted=round(median_of(lambda step: step.inserted)),
            dead_tuples=round(median_of(lambda step: step.dead)),
        )


def speed_ratio(ours: Sequence[StepMeasurement], theirs: Sequence[StepMeasurement]) -> float:
    """Return the median ratio of rows per second within each round, whose two sides ran under equal conditions."""
    return median(one.rows_per_second / other.rows_per_second for one, other in zip(ours, theirs, strict=True))


async def measure_step(database: Database, writer: Writer, batches: Sequence[Batch]) -> StepMeasurement:
    """Prepare all batches, then write and time them."""
    before = await database.row_counts()
    async with writer(database) as prepare:
        write_calls = [prepare(batch) for batch in batches]
        await database.checkpoint()
        # As the services do: the input outlives the step, and garbage collection should not traverse it.
        gc.collect()
        gc.freeze()
        wal, cpu, own_cpu = await database.wal_position(), database.cpu_seconds(), time.process_time()
        times = [time.perf_counter()]
        for write_batch in write_calls:
            await write_batch()
            times.append(time.perf_counter())
        own_cpu, cpu = time.process_time() - own_cpu, database.cpu_seconds() - cpu
        wal = await database.wal_position() - wal
        gc.unfreeze()
    after = await database.row_counts()
    return StepMeasurement(
        rows=sum(map(item_count, batches)),
        batch_seconds=tuple(end - begin for begin, end in pairwise(times)),
        client_cpu=own_cpu,
        postgres_cpu=cpu,
        wal_bytes=wal,
        inserted=after.inserted - before.inserted,
        dead=after.dead - before.dead,
    )
