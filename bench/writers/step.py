"""One step of one writer, measured: a catalog's batches written one after the other."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from bench.writers.catalog import Batch, item_count
from bench.writers.database import Database
from bench.writers.writer import Writer


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
