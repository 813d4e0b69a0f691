"""The lag of the event loop is measured."""

from __future__ import annotations

import asyncio

import pytest
from catalogsync_common.drain import Drain
from catalogsync_common.event_loop_monitor import EventLoopMonitor
from prometheus_client import CollectorRegistry

from tests.fakes.skipping_loop import SkippingLoop, skipping


@skipping
async def test_the_lag_is_the_time_for_which_the_event_loop_was_blocked_beyond_the_next_measurement() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    registry, drain = CollectorRegistry(), Drain()
    beats: list[float] = []

    def beat() -> None:
        beats.append(loop.time())
        if len(beats) == 4:
            drain.start()

    # Between the first measurement, at 0.25 s, and the second one, which was due at 0.5 s.
    loop.call_at(0.3, loop.block, 2.0)
    await EventLoopMonitor(registry, drain=drain).run(beat)
    assert beats == pytest.approx([0.25, 2.3, 2.55, 2.8])
    assert registry.get_sample_value("event_loop_lag_seconds_count") == 4
    assert registry.get_sample_value("event_loop_lag_seconds_sum") == pytest.approx(1.8)
    assert registry.get_sample_value("event_loop_lag_seconds_bucket", {"le": "1.0"}) == 3
    assert registry.get_sample_value("event_loop_lag_seconds_bucket", {"le": "2.5"}) == 4
