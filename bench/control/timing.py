"""How the steps of the benchmark are timed: repeated calls, and the time for other tasks of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.common.measure import percentile

Call: TypeAlias = Callable[[], Awaitable[object]]

_TICK_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class Durations:
    """Percentiles of the durations of a call, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Durations:
        """Return the percentiles of at least one duration."""
        p50, p95, p99 = (round(percentile(seconds, percent) * 1000, 2) for percent in (50, 95, 99))
        return cls(count=len(seconds), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=round(max(seconds) * 1000, 2))


async def time_calls(call: Call, count: int) -> Durations:
    """Call `count` times, one after the other, after one call that is not counted."""
    await call()
    return Durations.of([await seconds_of(call) for _ in range(count)])


async def seconds_of(call: Call) -> float:
    """Return how long the call takes."""
    begin = time.perf_counter()
    await call()
    return time.perf_counter() - begin


def execution(
    statement: TextClause, values: Mapping[str, object] | None = None
) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Return a unit of work that executes one statement and reads its rows."""

    async def work(connection: AsyncConnection) -> None:
        result = await connection.execute(statement, dict(values or {}))
        if result.returns_rows:
            result.all()

    return work


class LoopStalls:
    """The longest time for which the event loop did not run other tasks."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def _watch(self) -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            stall = time.perf_counter() - begin - _TICK_SECONDS
            self.longest_ms = max(self.longest_ms, round(stall * 1000, 1))


@asynccontextmanager
async def watched_loop() -> AsyncIterator[LoopStalls]:
    """Measure stalls of the event loop while the context lasts."""
    stalls = LoopStalls()
    task = asyncio.create_task(stalls._watch())
    try:
        yield stalls
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
