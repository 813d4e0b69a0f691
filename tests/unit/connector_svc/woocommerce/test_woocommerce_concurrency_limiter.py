"""The concurrency limit rises while a store responds fast, and is halved when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from connector_svc.domain.errors import SourceRedirected, SourceUnreachable
from connector_svc.domain.shop import Shop
from connector_svc.platforms.woocommerce.client import AddressForm, StoreStates
from connector_svc.platforms.woocommerce.concurrency_limiter import MAX_CONCURRENT_CALLS, ConcurrencyLimiter
from tests.waiting import let_tasks_run, within_timeout


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def run_round(limiter: ConcurrencyLimiter, clock: Clock, calls: int, seconds: float) -> None:
    """Make concurrent calls that all take the same time."""
    done = asyncio.Event()

    async def one() -> None:
        async with limiter.call("list") as call:
            await done.wait()
            call.size_bytes = 1_000

    tasks = [asyncio.create_task(one()) for _ in range(calls)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now += seconds
    done.set()
    await asyncio.gather(*tasks)


class FakeHost:
    """Serves concurrent calls round by round and advances the clock."""

    def __init__(self, limiter: ConcurrencyLimiter, clock: Clock, latency: Callable[[int], float]) -> None:
        self._limiter = limiter
        self._clock = clock
        self._latency = latency
        self.concurrency: list[int] = []

    async def serve(self, calls: int, kind: str = "list") -> None:
        """Make `calls` calls at once; the latency of each round depends on its number of concurrent calls."""
        tasks = [asyncio.create_task(self._one(kind)) for _ in range(calls)]
        self._in_flight = 0
        self._done = asyncio.Event()
        while not all(task.done() for task in tasks):
            for _ in range(4):
                await asyncio.sleep(0)
            self.concurrency.append(self._in_flight)
            self._clock.now += self._latency(self._in_flight)
            self._done.set()
            self._in_flight = 0
            self._done = asyncio.Event()
            await asyncio.sleep(0)

    async def _one(self, kind: str) -> None:
        async with self._limiter.call(kind):
            self._in_flight += 1
            await self._done.wait()


async def limiter_at_maximum(clock: Clock) -> ConcurrencyLimiter:
    limiter = ConcurrencyLimiter(clock)
    for _ in range(3):
        await run_round(limiter, clock, limiter.limit, 0.2)
    assert limiter.limit == MAX_CONCURRENT_CALLS == 8
    return limiter


async def test_the_first_call_runs_alone_then_three_and_a_distant_store_gets_the_maximum_at_once() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    host = FakeHost(limiter, clock, latency=lambda _: 0.2)
    await host.serve(1 + 3 + 8 + 8)
    assert host.concurrency == [1, 3, 8, 8]


async def test_the_limit_never_exceeds_its_maximum() -> None:
    clock = Clock()
    for max_limit in (1, 2, 4):
        limiter = ConcurrencyLimiter(clock, max_limit=max_limit)
        host = FakeHost(limiter, clock, latency=lambda _: 0.2)
        await host.serve(40)
        assert max(host.concurrency) == limiter.max_limit == max_limit


async def test_the_limit_rises_by_one_per_round_where_concurrency_slows_the_store_a_little() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    host = FakeHost(limiter, clock, latency=lambda calls: 0.2 * (1 + 0.17 * (calls - 1)))
    await host.serve(100)
    assert host.concurrency[:2] == [1, 3]
    assert all(after - before <= 1 for before, after in pairwise(host.concurrency[1:-1]))
    assert max(host.concurrency) >= 6


async def test_the_limit_stays_low_where_the_store_divides_its_capacity_evenly() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    host = FakeHost(limiter, clock, latency=lambda calls: 0.2 * calls)
    await host.serve(200)
    assert max(host.concurrency) == 3
    assert sum(host.concurrency) / len(host.concurrency) < 2.2


async def test_a_kind_that_has_never_run_alone_is_measured_alone_and_found_too_slow() -> None:
    """Small calls are fast at any concurrency; pages divide the store's capacity, which never shows."""
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    await FakeHost(limiter, clock, latency=lambda _: 0.2).serve(12, kind="small")
    assert limiter.limit == 8
    host = FakeHost(limiter, clock, latency=lambda calls: 0.5 * calls)
    await host.serve(60, kind="pages")
    assert host.concurrency[:5] == [8, 8, 8, 8, 1]
    assert max(host.concurrency[6:]) <= 4


async def test_calls_of_a_measured_kind_run_alone_only_once_in_two_hundred() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    host = FakeHost(limiter, clock, latency=lambda _: 0.2)
    await host.serve(1 + 3 + 8 * 60)
    assert host.concurrency.count(1) <= 4


async def test_after_a_slow_response_each_round_raises_the_limit_by_one_half() -> None:
    clock = Clock()
    limiter = await limiter_at_maximum(clock)
    await run_round(limiter, clock, 8, 1.0)
    await run_round(limiter, clock, 4, 1.0)
    assert limiter.limit == 2
    limits = []
    for _ in range(6):
        await FakeHost(limiter, clock, latency=lambda _: 0.2).serve(limiter.limit)
        limits.append(limiter.limit)
    assert limits == [2, 2, 2, 2, 3, 3]


async def test_an_error_response_is_not_measured_however_fast_it_is() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    await run_round(limiter, clock, 1, 0.2)
    for _ in range(5):
        async with limiter.call("list") as call:
            call.is_error = True
    assert limiter.limit == 3
    await run_round(limiter, clock, 3, 0.2)
    assert limiter.limit == 8


async def test_a_redirect_is_a_response_and_does_not_lower_the_limit() -> None:
    clock = Clock()
    limiter = await limiter_at_maximum(clock)
    with pytest.raises(SourceRedirected):
        async with limiter.call("list"):
            raise SourceRedirected(Shop("woocommerce", "store.example"), "elsewhere")
    assert limiter.limit == 8


async def test_slow_responses_of_one_round_halve_the_limit_once() -> None:
    clock = Clock()
    limiter = await limiter_at_maximum(clock)
    await run_round(limiter, clock, 8, 1.0)
    assert limiter.limit == 4
    await run_round(limiter, clock, 4, 1.0)
    assert limiter.limit == 2


async def test_a_response_that_is_much_larger_than_others_is_not_slow() -> None:
    clock = Clock()
    limiter = await limiter_at_maximum(clock)
    async with limiter.call("list") as call:
        clock.now += 1.0
        call.size_bytes = 300_000
    assert limiter.limit == 8


async def test_calls_that_do_not_fill_the_limit_do_not_raise_it() -> None:
    clock = Clock()
    limiter = ConcurrencyLimiter(clock)
    for _ in range(20):
        await run_round(limiter, clock, 2, 0.2)
    assert limiter.limit == 3


async def test_a_missing_response_halves_the_limit() -> None:
    limiter = await limiter_at_maximum(Clock())
    with pytest.raises(SourceUnreachable):
        async with limiter.call("list"):
            raise SourceUnreachable(Shop("woocommerce", "store.example"))
    assert limiter.limit == 4


async def test_no_call_starts_while_another_waits_for_its_retry() -> None:
    limiter, waiting, retried = ConcurrencyLimiter(), asyncio.Event(), asyncio.Event()

    async def retrying() -> None:
        async with limiter.call("list"):
            limiter.record_retry()
            waiting.set()
            await retried.wait()

    async def other() -> None:
        async with limiter.call("list"):
            assert retried.is_set()

    first = asyncio.create_task(retrying())
    await waiting.wait()
    others = [asyncio.create_task(other()) for _ in range(3)]
    await let_tasks_run()
    assert not any(task.done() for task in others)
    retried.set()
    await asyncio.gather(first, *others)


async def test_the_limit_recovers_when_a_store_has_become_slower_for_good() -> None:
    clock = Clock()
    limiter = await limiter_at_maximum(clock)
    for _ in range(40):
        await run_round(limiter, clock, limiter.limit, 1.0)
    assert limiter.limit >= 4


async def test_cancelled_calls_release_their_slots() -> None:
    limiter = ConcurrencyLimiter(max_limit=1)
    release = asyncio.Event()

    async def one() -> None:
        async with limiter.call("list"):
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
    await within_timeout(one())


def test_store_states_are_shared_and_their_number_is_bounded() -> None:
    states = StoreStates(max_shops=2)
    first, second, third = (Shop("woocommerce", f"{name}.example") for name in "abc")
    states.get_or_create(first).address_form = AddressForm.QUERY
    states.get_or_create(second)
    assert states.get_or_create(first).address_form is AddressForm.QUERY
    states.get_or_create(third)
    assert states.get_or_create(first).address_form is AddressForm.QUERY
    states.get_or_create(second)
    states.get_or_create(third)
    assert states.get_or_create(first).address_form is AddressForm.PRETTY
