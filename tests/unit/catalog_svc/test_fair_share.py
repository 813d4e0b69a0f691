"""A large sync leaves room to small ones that are at work beside it, and to nobody else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from catalog_svc.usecases.fair_share import FairShareThrottle, Turn


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """Runs that have stored so many items each."""

    def __init__(self, *items: int) -> None:
        self.clock = Clock()
        self.turns = FairShareThrottle(self.clock)
        self._stack = ExitStack()
        self.runs = [self.begin(count) for count in items]

    def begin(self, items: int = 0) -> Turn:
        turn = self._stack.enter_context(self.turns.register())
        self.turns.moved(turn, items=items)
        return turn

    def pause(self, run: int = 0, spent: float = 0.05) -> float:
        return self.turns.pause(self.runs[run], spent=spent)


def test_alone_there_is_nobody_to_wait_for() -> None:
    assert Replica(1_000_000).pause() == 0


def test_each_small_one_gets_as_long_as_the_batch_took() -> None:
    assert Replica(50_000, 0, 250, 5_000).pause() == pytest.approx(0.15)


def test_neither_small_nor_like_large_ones_stand_back() -> None:
    assert Replica(4_999, 0).pause() == 0
    assert Replica(50_000, 5_001).pause() == 0
    assert Replica(50_000, 0).pause(run=1) == 0


def test_who_waits_for_its_platform_needs_no_room() -> None:
    replica = Replica(50_000, 0)
    replica.clock.now += 0.4
    assert replica.pause() == 0
    replica.turns.moved(replica.runs[1])
    assert replica.pause() > 0


def test_a_large_one_goes_on_however_many_there_are() -> None:
    assert Replica(50_000, *[0] * 30).pause(spent=0.5) == 1


def test_who_has_ended_is_forgotten() -> None:
    replica = Replica(50_000)
    with replica.turns.register():
        assert replica.pause() > 0
    assert replica.pause() == 0
