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
_SETTLING_POLL = 0.005
_TURNS_TO_SETTLE = 20


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Return once `condition` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(_POLL)


async def found(look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` finds in the end. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while (seen := await look()) is None:
            await asyncio.sleep(_POLL)
    return seen


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


async def settled(seen: Callable[[], T]) -> T:
    """What `seen` returns once it stays the same: for what must not happen any more.

    It counts turns of the loop, in each of which whatever is ready goes on. On a busy machine they take longer.
    """
    last, same = seen(), 0
    async with asyncio.timeout(PATIENCE):
        while same < _TURNS_TO_SETTLE:
            await asyncio.sleep(_SETTLING_POLL)
            now = seen()
            same = same + 1 if now == last else 0
            last = now
    return last
