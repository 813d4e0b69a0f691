"""Adaptive concurrency limiter: how many requests one store can serve at once, shared by all readers of the store.

Additive increase, multiplicative decrease (AIMD) against a latency baseline:

1. The first request runs alone and sets the baseline. Then the limit is 3 (`INITIAL_LIMIT`): every host serves 3.
2. While responses are as fast as that of a request that runs alone, the latency is network distance rather than
   load, and the limit is raised to its maximum at once. Otherwise each round of requests that uses the whole limit
   raises the limit by 1.
3. A slow or missing response halves the limit; from then on each round raises it by 0.5.

A response is slow compared with the baseline of its kind of request, which is the fastest response so far;
requests that run alone have more weight. A store that divides its capacity evenly among all requests never shows
how fast it could be, so now and then a request waits until it can run alone (`exclusive`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from connector_svc.domain.errors import SourceRedirected

MAX_CONCURRENT_CALLS: Final = 8
"""The default number of connections that the HTTP client keeps to one host."""
INITIAL_LIMIT: Final = 3
_FIRST_INCREASE: Final = 1.0
"""Added to the limit per round before the first decrease."""
_LATER_INCREASE: Final = 0.5
"""Added to the limit per round after the first decrease."""
_CALLS_BEFORE_FIRST_SOLO: Final = 24
"""Calls of a kind that has never run alone before one of them does: three rounds at the maximum limit."""
_CALLS_BETWEEN_SOLOS: Final = 200
"""Calls of any other kind before one runs alone: a store may become slower, or faster, for good."""
_MAX_KINDS: Final = 50

_SLOW_FACTOR: Final = 2.0
_SLOW_MARGIN_SECONDS: Final = 0.05
"""A response is slow above baseline * factor + margin; the margin is noise."""
_UNLOADED_FACTOR: Final = 1.25
_UNLOADED_MARGIN_SECONDS: Final = 0.01
"""A response is as fast as without load up to baseline * factor + margin."""
_MAX_SIZE_FACTOR: Final = 4.0
"""How much longer than the baseline a larger response of the same kind may take at most."""
_MIN_SIZE_BYTES: Final = 4_096
"""Differences in size below this do not count."""
_LATEST_SOLO_WEIGHT: Final = 0.3
"""Weight of the latest solo call in the moving average of the baseline."""

_Task: TypeAlias = asyncio.Task[object] | None


@dataclass(slots=True)
class LatencyBaseline:
    """The expected latency of one kind of call; starts with the first response, whether solo or concurrent."""

    seconds: float
    size_bytes: int
    has_solo: bool = False
    """Whether a solo call has been recorded."""
    calls_since_solo: int = 0
    """Calls started since the last solo call."""

    def is_slow(self, seconds: float, size_bytes: int) -> bool:
        """Return whether a response took longer than the store needs for one of that size."""
        return seconds > self._expected_seconds(size_bytes) * _SLOW_FACTOR + _SLOW_MARGIN_SECONDS

    def is_unloaded(self, seconds: float, size_bytes: int) -> bool:
        """Return whether concurrent calls did not slow the response down, as far as is known."""
        limit = self._expected_seconds(size_bytes) * _UNLOADED_FACTOR + _UNLOADED_MARGIN_SECONDS
        return not self.has_solo or seconds <= limit

    def record_solo(self, seconds: float, size_bytes: int) -> None:
        """Record a call during which no other call was in flight."""
        weight = _LATEST_SOLO_WEIGHT if self.has_solo else 1.0
        self.seconds += (seconds - self.seconds) * weight
        self.size_bytes += round((size_bytes - self.size_bytes) * weight)
        self.has_solo = True
        self.calls_since_solo = 0

    def record_concurrent(self, seconds: float, size_bytes: int) -> None:
        """Record one of several concurrent calls: only a new minimum for a comparable size lowers the baseline."""
        if seconds < self.seconds and size_bytes * 2 >= self.size_bytes:
            self.seconds, self.size_bytes = seconds, size_bytes

    def _expected_seconds(self, size_bytes: int) -> float:
        """Return the upper bound for a response of that size; the fixed cost of a call does not grow with size."""
        size_factor = max(size_bytes, _MIN_SIZE_BYTES) / max(self.size_bytes, _MIN_SIZE_BYTES)
        return self.seconds * min(max(1.0, size_factor), _MAX_SIZE_FACTOR)


@dataclass(slots=True)
class Call:
    """A call that waits for its slot or is in flight."""

    kind: str
    started_at: float = 0.0
    """In seconds of the monotonic clock."""
    has_baseline: bool = False
    """Whether its kind had a baseline when it started."""
    fills_limit: bool = False
    """Whether it took the last slot. Where a store queues calls, that one waits longest."""
    exclusive: bool = False
    """Whether no other call starts while it is in flight."""
    solo: bool = False
    """Whether no other call has been in flight at the same time."""
    size_bytes: int = 0
    """Of the response, set by the caller: a large one may take longer."""
    is_error: bool = False
    """Whether the response has an error status, set by the caller: it may be fast when nothing else is."""
    is_retrying: bool = False
    failed: bool = False


class ConcurrencyLimiter:
    """Limits the concurrent calls to one store and adapts the limit to the latency of the responses."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, *, max_limit: int = MAX_CONCURRENT_CALLS
    ) -> None:
        self._monotonic = monotonic
        self._max_limit = max_limit
        self._limit = 1.0
        self._awaits_first_response = True
        self._is_unloaded = True
        """Whether every response so far was as fast as a solo one, whatever was in flight with it."""
        self._has_decreased = False
        self._in_flight: dict[_Task, Call] = {}
        self._queue: deque[tuple[asyncio.Future[None], _Task, Call]] = deque()
        self._baselines: dict[str, LatencyBaseline] = {}
        self._decreased_at = -1.0

    @property
    def max_limit(self) -> int:
        """The upper bound of the limit."""
        return self._max_limit

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def call(self, kind: str) -> AsyncIterator[Call]:
        """Wait for a slot, and hold it for one call of the current task.

        The caller sets `size_bytes` and `is_error` of the yielded call. An exception counts as a missing response.

        Args:
            kind: Calls of one kind take about the same time and share a latency baseline.
        """
        task, call = asyncio.current_task(), Call(kind=kind)
        await self._acquire(task, call)
        try:
            yield call
        except SourceRedirected:
            # A response like any other.
            self._record_response(call)
            raise
        except Exception:
            self.record_retry()
            raise
        else:
            self._record_response(call)
        finally:
            self._release(task)

    def record_retry(self) -> None:
        """Record that the store does not answer the current task's call, or asks to wait.

        No other call starts until that call has ended.
        """
        call = self._in_flight.get(asyncio.current_task())
        if call is None:
            return
        call.is_retrying = call.failed = True
        self._decrease(call)

    def _record_response(self, call: Call) -> None:
        if call.failed or call.is_error:
            return
        seconds = self._monotonic() - call.started_at
        baseline = self._baselines.get(call.kind)
        if baseline is None:
            if len(self._baselines) == _MAX_KINDS:
                return
            baseline = self._baselines[call.kind] = LatencyBaseline(seconds, call.size_bytes)
        if call.has_baseline and not call.solo:
            self._is_unloaded = self._is_unloaded and baseline.is_unloaded(seconds, call.size_bytes)
        if baseline.is_slow(seconds, call.size_bytes):
            self._decrease(call)
        elif self._awaits_first_response:
            self._limit = float(min(INITIAL_LIMIT, self._max_limit))
        elif call.fills_limit and call.has_baseline:
            self._increase()
        self._awaits_first_response = False
        if call.solo:
            baseline.record_solo(seconds, call.size_bytes)
        else:
            baseline.record_concurrent(seconds, call.size_bytes)

    def _increase(self) -> None:
        if self._is_unloaded:
            step = float(self._max_limit)
        else:
            step = (_LATER_INCREASE if self._has_decreased else _FIRST_INCREASE) / self._limit
        self._limit = min(self._limit + step, self._max_limit)

    def _decrease(self, call: Call) -> None:
        """Halve the limit, once for all calls that were in flight together: they suffered from the same load."""
        if call.started_at < self._decreased_at:
            return
        self._decreased_at = self._monotonic()
        self._has_decreased, self._is_unloaded = True, False
        self._limit = max(self._limit / 2, 1.0)

    def _may_start(self, kind: str) -> bool:
        if any(call.is_retrying or call.exclusive for call in self._in_flight.values()):
            return False
        return not self._in_flight if self._needs_solo_call(kind) else len(self._in_flight) < self.limit

    def _needs_solo_call(self, kind: str) -> bool:
        """Return whether the next call of this kind must run alone."""
        baseline = self._baselines.get(kind)
        if baseline is None:
            return False
        max_calls = _CALLS_BETWEEN_SOLOS if baseline.has_solo else _CALLS_BEFORE_FIRST_SOLO
        return baseline.calls_since_solo >= max_calls

    async def _acquire(self, task: _Task, call: Call) -> None:
        if not self._queue and self._may_start(call.kind):
            self._start(task, call)
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((slot, task, call))
        try:
            await slot
        except asyncio.CancelledError:
            self._release(task)
            raise

    def _start(self, task: _Task, call: Call) -> None:
        call.exclusive = self._needs_solo_call(call.kind)
        self._in_flight[task] = call
        call.started_at = self._monotonic()
        if baseline := self._baselines.get(call.kind):
            call.has_baseline = True
            baseline.calls_since_solo += 1
        call.fills_limit = len(self._in_flight) >= self.limit
        call.solo = len(self._in_flight) == 1
        if not call.solo:
            for other in self._in_flight.values():
                other.solo = False

    def _release(self, task: _Task) -> None:
        """End the task's call, or its wait for a slot, and start the calls that are next in the queue."""
        self._in_flight.pop(task, None)
        while self._queue:
            slot, waiting_task, call = self._queue[0]
            if not slot.cancelled() and not self._may_start(call.kind):
                return
            self._queue.popleft()
            if not slot.cancelled():
                self._start(waiting_task, call)
                slot.set_result(None)
