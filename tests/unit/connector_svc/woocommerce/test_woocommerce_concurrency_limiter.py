"""A store is asked as much at a time as it bears: more while it is quick, half as much when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from connector_svc.domain.errors import SourceRedirected, SourceUnreachable
from connector_svc.domain.shop import Shop
from connector_svc.platforms.woocommerce.client import Form, Stores
from connector_svc.platforms.woocommerce.concurrency_limiter import MOST_CALLS, Gate
from tests.waiting import turns, within_patience


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def round_of(gate: Gate, clock: Clock, calls: int, seconds: float) -> None:
    """So many calls at once, that all take as long."""
    done = asyncio.Event()

    async def one() -> None:
        async with gate.call("list") as call:
            await done.wait()
            call.size = 1_000

    tasks = [asyncio.create_task(one()) for _ in range(calls)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now += seconds
    done.set()
    await asyncio.gather(*tasks)


class Host:
    """Works on calls as hosts do, and lets the clock run."""

    def __init__(self, gate: Gate, clock: Clock, takes: Callable[[int], float]) -> None:
        self._gate = gate
        self._clock = clock
        self._takes = takes
        self.crowds: list[int] = []

    async def serve(self, calls: int, kind: str = "list") -> None:
        """So many calls that are all wanted now, round by round; each takes what it must with those beside it."""
        wanted = [asyncio.create_task(self._one(kind)) for _ in range(calls)]
        self._under_way = 0
        self._done = asyncio.Event()
        while not all(task.done() for task in wanted):
            for _ in range(4):
                await asyncio.sleep(0)
            self.crowds.append(self._under_way)
            self._clock.now += self._takes(self._under_way)
            self._done.set()
            self._under_way = 0
            self._done = asyncio.Event()
            await asyncio.sleep(0)

    async def _one(self, kind: str) -> None:
        async with self._gate.call(kind):
            self._under_way += 1
            await self._done.wait()


async def grown(clock: Clock) -> Gate:
    gate = Gate(clock)
    for _ in range(3):
        await round_of(gate, clock, gate.limit, 0.2)
    assert gate.limit == MOST_CALLS == 8
    return gate


async def test_the_first_call_is_alone_then_three_and_a_distant_store_gets_all_places_at_once() -> None:
    clock = Clock()
    gate = Gate(clock)
    host = Host(gate, clock, takes=lambda _: 0.2)
    await host.serve(1 + 3 + 8 + 8)
    assert host.crowds == [1, 3, 8, 8]


async def test_no_more_places_than_connections_are_given() -> None:
    clock = Clock()
    for most in (1, 2, 4):
        gate = Gate(clock, most=most)
        host = Host(gate, clock, takes=lambda _: 0.2)
        await host.serve(40)
        assert max(host.crowds) == gate.most == most


async def test_a_store_that_others_delay_a_little_gets_one_place_after_the_other() -> None:
    clock = Clock()
    gate = Gate(clock)
    host = Host(gate, clock, takes=lambda crowd: 0.2 * (1 + 0.17 * (crowd - 1)))
    await host.serve(100)
    assert host.crowds[:2] == [1, 3]
    assert all(after - before <= 1 for before, after in pairwise(host.crowds[1:-1]))
    assert max(host.crowds) >= 6


async def test_a_store_that_shares_its_time_evenly_is_not_crowded() -> None:
    clock = Clock()
    gate = Gate(clock)
    host = Host(gate, clock, takes=lambda crowd: 0.2 * crowd)
    await host.serve(200)
    assert max(host.crowds) == 3
    assert sum(host.crowds) / len(host.crowds) < 2.2


async def test_a_kind_that_was_never_alone_is_looked_at_alone_and_found_too_slow() -> None:
    """Small calls are quick however many there are; pages share the store's time, and never show it."""
    clock = Clock()
    gate = Gate(clock)
    await Host(gate, clock, takes=lambda _: 0.2).serve(12, kind="small")
    assert gate.limit == 8
    host = Host(gate, clock, takes=lambda crowd: 0.5 * crowd)
    await host.serve(60, kind="pages")
    assert host.crowds[:5] == [8, 8, 8, 8, 1]
    assert max(host.crowds[6:]) <= 4


async def test_calls_of_a_known_kind_are_alone_only_once_in_two_hundred() -> None:
    clock = Clock()
    gate = Gate(clock)
    host = Host(gate, clock, takes=lambda _: 0.2)
    await host.serve(1 + 3 + 8 * 60)
    assert host.crowds.count(1) <= 4


async def test_after_a_slow_answer_half_a_place_is_added_for_each_round() -> None:
    clock = Clock()
    gate = await grown(clock)
    await round_of(gate, clock, 8, 1.0)
    await round_of(gate, clock, 4, 1.0)
    assert gate.limit == 2
    limits = []
    for _ in range(6):
        await Host(gate, clock, takes=lambda _: 0.2).serve(gate.limit)
        limits.append(gate.limit)
    assert limits == [2, 2, 2, 2, 3, 3]


async def test_a_refusal_tells_nothing_however_quick_it_is() -> None:
    clock = Clock()
    gate = Gate(clock)
    await round_of(gate, clock, 1, 0.2)
    for _ in range(5):
        async with gate.call("list") as call:
            call.refused = True
    assert gate.limit == 3
    await round_of(gate, clock, 3, 0.2)
    assert gate.limit == 8


async def test_a_redirect_is_an_answer_and_no_trouble() -> None:
    clock = Clock()
    gate = await grown(clock)
    with pytest.raises(SourceRedirected):
        async with gate.call("list"):
            raise SourceRedirected(Shop("woocommerce", "store.example"), "elsewhere")
    assert gate.limit == 8


async def test_a_slow_answer_halves_the_calls_once_for_all_that_were_under_way() -> None:
    clock = Clock()
    gate = await grown(clock)
    await round_of(gate, clock, 8, 1.0)
    assert gate.limit == 4
    await round_of(gate, clock, 4, 1.0)
    assert gate.limit == 2


async def test_answers_far_larger_than_others_are_not_slow() -> None:
    clock = Clock()
    gate = await grown(clock)
    async with gate.call("list") as call:
        clock.now += 1.0
        call.size = 300_000
    assert gate.limit == 8


async def test_calls_that_do_not_fill_the_limit_do_not_raise_it() -> None:
    clock = Clock()
    gate = Gate(clock)
    for _ in range(20):
        await round_of(gate, clock, 2, 0.2)
    assert gate.limit == 3


async def test_a_store_that_does_not_answer_is_asked_half_as_much() -> None:
    gate = await grown(Clock())
    with pytest.raises(SourceUnreachable):
        async with gate.call("list"):
            raise SourceUnreachable(Shop("woocommerce", "store.example"))
    assert gate.limit == 4


async def test_nobody_asks_while_one_call_waits_as_it_was_told() -> None:
    gate, told, passed = Gate(), asyncio.Event(), asyncio.Event()

    async def waiting() -> None:
        async with gate.call("list"):
            gate.trouble()
            told.set()
            await passed.wait()

    async def other() -> None:
        async with gate.call("list"):
            assert passed.is_set()

    first = asyncio.create_task(waiting())
    await told.wait()
    others = [asyncio.create_task(other()) for _ in range(3)]
    await turns()
    assert not any(task.done() for task in others)
    passed.set()
    await asyncio.gather(first, *others)


async def test_a_store_that_became_slower_for_good_is_not_asked_one_by_one_for_ever() -> None:
    clock = Clock()
    gate = await grown(clock)
    for _ in range(40):
        await round_of(gate, clock, gate.limit, 1.0)
    assert gate.limit >= 4


async def test_calls_that_are_given_up_leave_their_places_to_others() -> None:
    gate = Gate(most=1)
    release = asyncio.Event()

    async def one() -> None:
        async with gate.call("list"):
            await release.wait()

    tasks = [asyncio.create_task(one()) for _ in range(6)]
    await asyncio.sleep(0)
    for task in (tasks[1], tasks[0], tasks[3]):
        task.cancel()
    await asyncio.sleep(0)
    tasks[2].cancel()
    release.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in done] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    await within_patience(one())


def test_what_is_remembered_of_stores_is_bounded_and_shared() -> None:
    stores = Stores(most=2)
    first, second, third = (Shop("woocommerce", f"{name}.example") for name in "abc")
    stores.notes(first).form = Form.QUERY
    stores.notes(second)
    assert stores.notes(first).form is Form.QUERY
    stores.notes(third)
    assert stores.notes(first).form is Form.QUERY
    stores.notes(second)
    stores.notes(third)
    assert stores.notes(first).form is Form.PRETTY
