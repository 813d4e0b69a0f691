"""Reading ahead is bounded, and ends with whoever reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from connector_svc.platforms.woocommerce.bounded import gather_bounded, read_ahead


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
    assert [item async for item in read_ahead(source())] == list(range(50))
    assert source.closed


async def test_no_more_than_two_items_are_made_ahead() -> None:
    source = _Source(50)
    async with aclosing(read_ahead(source())) as items:
        assert await anext(items) == 0
        await asyncio.sleep(0.02)
        assert source.made == 3
    assert source.closed


async def test_a_failure_comes_after_the_items_before_it() -> None:
    source = _Source(3, ValueError("broken"))
    async with aclosing(read_ahead(source())) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_a_cancelled_reader_ends_the_source() -> None:
    source = _Source(10**9)

    async def read() -> None:
        async with aclosing(read_ahead(source())) as items:
            async for _item in items:
                await asyncio.sleep(0.001)

    task = asyncio.create_task(read())
    await asyncio.sleep(0.02)
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
        await asyncio.sleep(0.001 * (5 - item))
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
            await asyncio.sleep(60)
        finally:
            ended.append(item)
        return item

    with pytest.raises(ValueError, match="broken"):
        await gather_bounded(3, work, range(3))
    assert sorted(ended) == [0, 2]
