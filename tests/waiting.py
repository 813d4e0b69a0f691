"""Waits for what other tasks and processes do.

A busy machine makes these waits longer but fails none of them. Tests order events with them, never with a sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
"""Ends waits that hang. A wait that works needs a small part of it, on an overloaded machine too."""

_POLL_INTERVAL_SECONDS = 0.01
_STABLE_POLL_INTERVAL_SECONDS = 0.005
_STABLE_POLLS = 20


async def until(condition: Callable[[], object], *, seconds: float = TIMEOUT_SECONDS) -> None:
    """Return once `condition()` is true.

    Raises:
        TimeoutError: It was still false after `seconds`.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)


async def until_found(find: Callable[[], Awaitable[T | None]], *, seconds: float = TIMEOUT_SECONDS) -> T:
    """Return the first result of `find` that is not None.

    Raises:
        TimeoutError: There was none within `seconds`.
    """
    async with asyncio.timeout(seconds):
        while (result := await find()) is None:
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
    return result


async def within_timeout(awaitable: Awaitable[T]) -> T:
    """Return the result of `awaitable`.

    Raises:
        TimeoutError: It took longer than `TIMEOUT_SECONDS`.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await awaitable


async def let_tasks_run(iterations: int = 100) -> None:
    """Let the event loop run for so many iterations: tasks that need no input from outside are done afterwards."""
    for _ in range(iterations):
        await asyncio.sleep(0)


async def forever() -> NoReturn:
    """Wait until cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("the event is never set")


async def until_stable(read: Callable[[], T]) -> T:
    """Return the result of `read` once it no longer changes: shows that something stopped happening.

    Counts polls instead of seconds. All ready tasks run between two polls, which takes longer on a busy machine.

    Raises:
        TimeoutError: The result still changed after `TIMEOUT_SECONDS`.
    """
    last, unchanged = read(), 0
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while unchanged < _STABLE_POLLS:
            await asyncio.sleep(_STABLE_POLL_INTERVAL_SECONDS)
            current = read()
            unchanged = unchanged + 1 if current == last else 0
            last = current
    return last
