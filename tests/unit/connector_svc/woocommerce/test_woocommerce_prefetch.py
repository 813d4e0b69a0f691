"""Reading ahead is bounded, and ends with whoever reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from connector_svc.platforms.woocommerce.prefetch import Ahead, gather_bounded, in_order, started
from tests.waiting import forever, turns


class _Source:
    """Counts what it made and notices its end."""

    def __init__(self, items: int, failure: Exception | None = None) -> None:
        self.items = items
        self.failure = failure
        self.made = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.items):
                await asyncio.sleep(0)
                self.made += 1
                yield number
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


async def test_everything_comes_in_order() -> None:
    source = _Source(50)
    async with aclosing(Ahead(source())) as items:
        assert [item async for item in items] == list(range(50))
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    assert source.closed


async def test_no_more_than_two_items_are_made_ahead() -> None:
    source = _Source(50)
    async with aclosing(Ahead(source())) as items:
        assert await anext(items) == 0
        await turns()
        assert source.made == 3
    assert source.closed


async def test_what_was_looked_at_stays_the_next_item() -> None:
    async with aclosing(Ahead(_Source(2, ValueError("broken"))())) as items:
        assert [await items.peek(), await items.peek(), await anext(items), await anext(items)] == [0, 0, 0, 1]
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await items.peek()
    async with aclosing(Ahead(_Source(0)())) as nothing:
        assert await nothing.peek() is None


async def test_a_failure_comes_after_the_items_before_it() -> None:
    source = _Source(3, ValueError("broken"))
    async with aclosing(Ahead(source())) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_a_cancelled_reader_ends_the_source() -> None:
    source = _Source(10**9)

    async def read() -> None:
        async with aclosing(Ahead(source())) as items:
            async for _item in items:
                await turns(1)

    task = asyncio.create_task(read())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


async def test_work_side_by_side_keeps_its_limit_and_order() -> None:
    running = most = 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(5 - item)
        running -= 1
        return item * 2

    assert await gather_bounded(2, work, range(5)) == [0, 2, 4, 6, 8]
    assert most == 2


async def test_the_first_failure_ends_the_others() -> None:
    ended: list[int] = []

    async def work(item: int) -> int:
        if item == 1:
            raise ValueError("broken")
        try:
            await forever()
        finally:
            ended.append(item)
        return item

    with pytest.raises(ValueError, match="broken"):
        await gather_bounded(3, work, range(3))
    assert sorted(ended) == [0, 2]


async def test_work_on_two_items_goes_on_at_a_time_and_comes_in_order() -> None:
    running = most = 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(2 if item % 2 else 4)
        running -= 1
        return item * 2

    source = _Source(9)
    async with aclosing(in_order(source(), work, most=2)) as made:
        assert [entry async for entry in made] == [(item, item * 2) for item in range(9)]
    assert most == 2


async def test_nothing_beyond_what_is_ready_or_in_the_making_is_taken_from_the_source() -> None:
    async def work(item: int) -> int:
        return item

    source = _Source(50)
    async with aclosing(in_order(source(), work, most=2)) as made:
        assert await anext(made) == (0, 0)
        await turns()
        assert source.made == 3


async def test_the_failure_of_a_later_item_waits_for_the_earlier_ones() -> None:
    async def work(item: int) -> int:
        if item == 1:
            raise ValueError("broken")
        await turns(5)
        return item

    async with aclosing(in_order(_Source(5)(), work, most=3)) as made:
        assert await anext(made) == (0, 0)
        with pytest.raises(ValueError, match="broken"):
            await anext(made)
    async with aclosing(in_order(_Source(1, OSError("gone"))(), work, most=3)) as made:
        assert await anext(made) == (0, 0)
        with pytest.raises(OSError, match="gone"):
            await anext(made)


async def test_whoever_stops_reading_ends_the_work() -> None:
    ended: list[int] = []

    async def work(item: int) -> int:
        try:
            if item > 0:
                await forever()
        finally:
            ended.append(item)
        return item

    source = _Source(50)
    items = source()
    async with aclosing(items), aclosing(in_order(items, work, most=2)) as made:
        assert await anext(made) == (0, 0)
        await turns()
    assert sorted(ended) == [0, 1, 2]
    assert source.closed


async def test_what_was_started_ends_with_its_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.set()

    async def fails() -> None:
        raise ValueError("broken")

    async with started(work()), started(fails()):
        await asyncio.sleep(0)
    assert ended.is_set()
