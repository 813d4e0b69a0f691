"""Waiting for what other tasks and processes do.

A busy machine makes these waits longer and fails none of them. A test orders events with them, never with a sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds. It ends what hangs; whatever works needs a small part of it, on an overloaded machine too."""

_POLL = 0.01


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Return once `condition` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(_POLL)


async def within_patience(awaitable: Awaitable[T]) -> T:
    """What `awaitable` returns. Raises TimeoutError when it hangs."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def turns(count: int = 100) -> None:
    """Let the tasks of this loop run `count` steps each. What needs no input from outside is done then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def forever() -> NoReturn:
    """Stay until cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets the event")
