"""Measures how late the event loop runs callbacks: what blocks it delays every call and sync of the process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, Loop

_INTERVAL: Final = timedelta(milliseconds=250)
_BUCKETS_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MAX_SILENCE: Final = timedelta(minutes=1)


class EventLoopMonitor:
    """A background loop that sleeps four times a second, and the histogram `event_loop_lag_seconds`.

    The sum of the lags grows by about as many seconds as the event loop was blocked.

    Args:
        registry: where the histogram is registered.
        drain: ends the loop.
        interval: between two measurements.
    """

    def __init__(self, registry: CollectorRegistry, *, drain: Drain, interval: timedelta = _INTERVAL) -> None:
        self._drain = drain
        self._interval_seconds = interval.total_seconds()
        self._lag = Histogram(
            "event_loop_lag_seconds",
            "How much later than requested the event loop woke a task, measured four times a second.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )

    def loops(self) -> tuple[Loop, ...]:
        """Return the loop for the process's supervisor."""
        return (Loop(name="event_loop", run=self.run, heartbeat_timeout=_MAX_SILENCE),)

    async def run(self, beat: Heartbeat) -> None:
        """Measure until the drain."""
        clock = asyncio.get_running_loop().time
        while True:
            due_at = clock() + self._interval_seconds
            try:
                await self._drain.race(asyncio.sleep(self._interval_seconds))
            except ServerDraining:
                return
            self._lag.observe(max(0.0, clock() - due_at))
            beat()
