"""How often watchers get snapshots and heartbeats, by the number of watchers on the replica."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Final

_WAKEUPS_PER_LOOP_ITERATION: Final = 50
"""Each wake-up writes a message to a stream: 50 take about 4 ms, then I/O and other tasks get their turn."""
_TIMER_RESOLUTION_SECONDS: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchPacing:
    """The interval between two snapshots to one watcher, which grows with the number of watchers on the replica.

    A delivered snapshot costs the replica 60 to 250 µs of CPU, most of it in grpc.aio, and a sync that runs on
    this replica needs the same CPU. So deliveries are fewer while a sync runs here, and fewest to the watchers of
    that sync, which writes up to 15 revisions per second. With few watchers every interval is `min_interval`.
    """

    min_interval: timedelta = timedelta(milliseconds=250)
    """A progress bar gains nothing from more than four updates per second."""
    max_interval: timedelta = timedelta(seconds=20)
    deliveries_per_second: float = 10_000
    """To all watchers of the replica."""
    busy_deliveries_per_second: float = 1_000
    """To all watchers of the replica while a sync runs on it."""
    local_deliveries_per_second: float = 200
    """To all watchers of syncs that run on this replica, in equal shares per sync."""

    def interval_seconds(
        self, *, watchers: int, is_busy: bool = False, local_syncs: int = 0, sync_watchers: int = 0
    ) -> float:
        """Return the interval between two snapshots to one watcher.

        Args:
            watchers: All watchers on the replica.
            is_busy: Whether a sync runs on this replica.
            local_syncs: Watched syncs that run on this replica; 0 for a watcher of a sync that runs elsewhere.
            sync_watchers: Watchers of the same sync, if it runs on this replica.
        """
        rate = self.busy_deliveries_per_second if is_busy else self.deliveries_per_second
        local = sync_watchers * local_syncs / self.local_deliveries_per_second
        return min(
            self.max_interval.total_seconds(), max(self.min_interval.total_seconds(), watchers / rate, local)
        )

    def spread_seconds(self, interval_seconds: float, *, sync_watchers: int, watchers: int) -> float:
        """Return over how many seconds the deliveries of one snapshot are spread.

        Each sync has the share of its watchers in the interval: a sync with few watchers delivers at once, however
        many watchers other syncs have.
        """
        return (interval_seconds - self.min_interval.total_seconds()) * sync_watchers / max(1, watchers)


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchLimits:
    """Heartbeats and the lifetime of one watch."""

    heartbeat_every: timedelta = timedelta(seconds=10)
    """With few watchers. The contract promises a message every 30 s; a third of that tolerates a slow network."""
    heartbeats_per_second: float = 200
    """To all watchers of the replica: more would slow a sync that runs beside them."""
    max_silence: timedelta = timedelta(seconds=25)
    """The longest interval between two heartbeats, however many watchers there are."""
    max_age: timedelta = timedelta(minutes=15)
    """Or up to a fifth earlier. Below the server's grace for old connections, so that a watch ends by itself."""

    def heartbeat_seconds(self, watchers: int) -> float:
        """Return the interval between two heartbeats to one of so many watchers."""
        fair = max(self.heartbeat_every.total_seconds(), watchers / self.heartbeats_per_second)
        return min(self.max_silence.total_seconds(), fair)


class WakeupQueue:
    """Wakes waiting subscribers at their due times, a small group per iteration of the event loop.

    Thousands that are woken in one iteration would keep the event loop busy for a fifth of a second.
    """

    def __init__(self) -> None:
        self._delayed: list[tuple[float, int, asyncio.Future[None]]] = []
        """A heap by due time, in event-loop seconds."""
        self._ready: deque[asyncio.Future[None]] = deque()
        self._sequence = count()
        self._next: asyncio.Handle | None = None
        self._is_next_soon = False

    def add(self, wakeup: asyncio.Future[None], *, due_at: float = float("-inf")) -> None:
        """Complete the future at `due_at`, or as soon as possible; a future that is done by then is skipped."""
        now = asyncio.get_running_loop().time()
        if due_at <= now:
            self._ready.append(wakeup)
            self._release_soon()
            return
        heapq.heappush(self._delayed, (due_at, next(self._sequence), wakeup))
        if not self._is_next_soon and (self._next is None or self._delayed[0][2] is wakeup):
            self._release_at(due_at, now)

    def _release_soon(self) -> None:
        if self._is_next_soon:
            return
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_soon(self._release)
        self._is_next_soon = True

    def _release_at(self, due_at: float, now: float) -> None:
        if self._next is not None:
            self._next.cancel()
        # What is due at nearly the same time is released by one timer.
        delay = max(due_at - now, _TIMER_RESOLUTION_SECONDS)
        self._next = asyncio.get_running_loop().call_later(delay, self._release)

    def _release(self) -> None:
        self._next, self._is_next_soon = None, False
        now = asyncio.get_running_loop().time()
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
        woken = 0
        while self._ready and woken < _WAKEUPS_PER_LOOP_ITERATION:
            wakeup = self._ready.popleft()
            # A subscriber may have been cancelled or have timed out.
            if not wakeup.done():
                wakeup.set_result(None)
                woken += 1
        if self._ready:
            self._release_soon()
        elif self._delayed:
            self._release_at(self._delayed[0][0], now)
