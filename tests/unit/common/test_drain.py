"""The drain ends everything that races against it, and leaves no task running."""

from __future__ import annotations

import asyncio

import pytest
from catalogsync_common.drain import Drain, ServerDraining

from tests.waiting import forever, let_tasks_run


async def test_a_wait_ends_when_the_drain_starts() -> None:
    drain = Drain()
    waiting = asyncio.create_task(drain.wait())
    await asyncio.sleep(0)
    assert not drain.started
    assert not waiting.done()
    drain.start()
    with pytest.raises(ServerDraining):
        await waiting
    assert drain.started


async def test_a_race_returns_the_result_of_work_that_ends_first() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await Drain().race(work()) == 7


async def test_a_race_raises_the_error_of_its_work() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await Drain().race(work())


async def test_the_drain_ends_the_work_before_the_race_returns() -> None:
    drain, ended = Drain(), asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.set()

    racing = asyncio.create_task(drain.race(work()))
    await let_tasks_run()
    drain.start()
    with pytest.raises(ServerDraining):
        await racing
    assert ended.is_set()


async def test_cancelling_a_race_ends_the_work_too() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.set()

    racing = asyncio.create_task(Drain().race(work()))
    await let_tasks_run()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert ended.is_set()
