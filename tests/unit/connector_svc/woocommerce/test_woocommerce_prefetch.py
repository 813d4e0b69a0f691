"""Prefetch is bounded and ends with its consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from connector_svc.platforms.woocommerce.prefetch import Prefetch, background_task, gather_bounded, map_ordered
from tests.waiting import forever, let_tasks_run


class _Source:
    """Counts the items it has produced, and notes when it is closed."""

    def __init__(self, items: int, failure: Exception | None = None) -> None:
        self.items = items
        self.failure = failure
        self.produced = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.items):
                await asyncio.sleep(0)
                self.produced += 1
                yield number
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


async def test_all_items_are_yielded_in_order() -> None:
    source = _Source(50)
    async with aclosing(Prefetch(source())) as items:
        assert [item async for item in items] == list(range(50))
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    assert source.closed


async def test_no_more_than_two_items_are_read_ahead() -> None:
    source = _Source(50)
    async with aclosing(Prefetch(source())) as items:
        assert await anext(items) == 0
        await let_tasks_run()
        assert source.produced == 3
    assert source.closed


async def test_peek_does_not_consume_the_item() -> None:
    async with aclosing(Prefetch(_Source(2, ValueError("broken"))())) as items:
        assert [await items.peek(), await items.peek(), await anext(items), await anext(items)] == [0, 0, 0, 1]
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await items.peek()
    async with aclosing(Prefetch(_Source(0)())) as empty:
        assert await empty.peek() is None


async def test_a_failure_is_raised_after_the_items_before_it() -> None:
    source = _Source(3, ValueError("broken"))
    async with aclosing(Prefetch(source())) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_a_cancelled_consumer_closes_the_source() -> None:
    source = _Source(10**9)

    async def read() -> None:
        async with aclosing(Prefetch(source())) as items:
            async for _item in items:
                await let_tasks_run(1)

    task = asyncio.create_task(read())
    await let_tasks_run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


async def test_gather_bounded_keeps_its_limit_and_the_order() -> None:
    running = max_running = 0

    async def work(item: int) -> int:
        nonlocal running, max_running
        running += 1
        max_running = max(max_running, running)
        await let_tasks_run(5 - item)
        running -= 1
        return item * 2

    assert await gather_bounded(2, work, range(5)) == [0, 2, 4, 6, 8]
    assert max_running == 2


async def test_the_first_failure_cancels_the_other_tasks() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        if item == 1:
            raise ValueError("broken")
        try:
            await forever()
        finally:
            cancelled.append(item)
        return item

    with pytest.raises(ValueError, match="broken"):
        await gather_bounded(3, work, range(3))
    assert sorted(cancelled) == [0, 2]


async def test_map_ordered_works_on_two_items_at_a_time_and_keeps_the_order() -> None:
    running = max_running = 0

    async def work(item: int) -> int:
        nonlocal running, max_running
        running += 1
        max_running = max(max_running, running)
        await let_tasks_run(2 if item % 2 else 4)
        running -= 1
        return item * 2

    source = _Source(9)
    async with aclosing(map_ordered(source(), work, max_pending=2)) as results:
        assert [entry async for entry in results] == [(item, item * 2) for item in range(9)]
    assert max_running == 2


async def test_map_ordered_reads_no_more_items_than_may_be_pending() -> None:
    async def work(item: int) -> int:
        return item

    source = _Source(50)
    async with aclosing(map_ordered(source(), work, max_pending=2)) as results:
        assert await anext(results) == (0, 0)
        await let_tasks_run()
        assert source.produced == 3


async def test_map_ordered_raises_a_failure_after_the_items_before_it() -> None:
    async def work(item: int) -> int:
        if item == 1:
            raise ValueError("broken")
        await let_tasks_run(5)
        return item

    async with aclosing(map_ordered(_Source(5)(), work, max_pending=3)) as results:
        assert await anext(results) == (0, 0)
        with pytest.raises(ValueError, match="broken"):
            await anext(results)
    async with aclosing(map_ordered(_Source(1, OSError("gone"))(), work, max_pending=3)) as results:
        assert await anext(results) == (0, 0)
        with pytest.raises(OSError, match="gone"):
            await anext(results)


async def test_closing_map_ordered_cancels_the_work() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        try:
            if item > 0:
                await forever()
        finally:
            cancelled.append(item)
        return item

    source = _Source(50)
    items = source()
    async with aclosing(items), aclosing(map_ordered(items, work, max_pending=2)) as results:
        assert await anext(results) == (0, 0)
        await let_tasks_run()
    assert sorted(cancelled) == [0, 1, 2]
    assert source.closed


async def test_a_background_task_ends_with_its_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.set()

    async def fails() -> None:
        raise ValueError("broken")

    async with background_task(work()), background_task(fails()):
        await asyncio.sleep(0)
    assert ended.is_set()
