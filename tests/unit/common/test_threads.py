"""`run_in_thread`: results, errors and cancellation."""

from __future__ import annotations

import asyncio
import threading

import pytest
from catalogsync_common.threads import run_in_thread


async def test_work_runs_in_another_thread_and_its_result_or_error_is_passed_on() -> None:
    assert await run_in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0)


async def test_a_cancelled_caller_asks_the_thread_to_stop_and_waits_for_it() -> None:
    entered, stop, left = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        stop.wait()
        left.set()

    task = asyncio.create_task(run_in_thread(work, on_cancel=stop.set))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()


async def test_a_second_cancel_still_waits_for_the_thread() -> None:
    entered, release, left = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        release.wait()
        left.set()

    stop_requested = asyncio.Event()
    task = asyncio.create_task(run_in_thread(work, on_cancel=stop_requested.set))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    await stop_requested.wait()
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()
