"""The fair-share throttle delays a large run for smaller ones that are active beside it, and for no others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from catalog_svc.usecases.sync_limits import FairShareThrottle, RegisteredRun


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """Registered runs that have stored so many items each."""

    def __init__(self, *items: int) -> None:
        self.clock = Clock()
        self.throttle = FairShareThrottle(self.clock)
        self._stack = ExitStack()
        self.runs = [self.register(count) for count in items]

    def register(self, items: int = 0) -> RegisteredRun:
        run = self._stack.enter_context(self.throttle.register())
        self.throttle.record(run, items=items)
        return run

    def delay(self, run: int = 0, spent_seconds: float = 0.05) -> float:
        return self.throttle.delay(self.runs[run], spent_seconds=spent_seconds)


def test_a_run_alone_is_not_delayed() -> None:
    assert Replica(1_000_000).delay() == 0


def test_the_delay_is_the_time_of_the_batch_for_each_smaller_run() -> None:
    assert Replica(50_000, 0, 250, 5_000).delay() == pytest.approx(0.15)


def test_small_runs_and_runs_of_similar_size_are_not_delayed() -> None:
    assert Replica(4_999, 0).delay() == 0
    assert Replica(50_000, 5_001).delay() == 0
    assert Replica(50_000, 0).delay(run=1) == 0


def test_no_delay_for_a_run_that_waits_for_its_platform() -> None:
    replica = Replica(50_000, 0)
    replica.clock.now += 0.4
    assert replica.delay() == 0
    replica.throttle.record(replica.runs[1])
    assert replica.delay() > 0


def test_the_delay_is_bounded_however_many_smaller_runs_there_are() -> None:
    assert Replica(50_000, *[0] * 30).delay(spent_seconds=0.5) == 1


def test_no_delay_for_a_run_that_has_ended() -> None:
    replica = Replica(50_000)
    with replica.throttle.register():
        assert replica.delay() > 0
    assert replica.delay() == 0
