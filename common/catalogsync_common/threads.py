"""Blocking work of a coroutine, done in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(
    work: Callable[[], T],
    *,
    on_cancel: Callable[[], object] | None = None,
) -> T:
    """Run `work` in the default thread pool and return its result.

    A cancelled caller still waits until the thread has left `work`, so that whatever `work` uses may be closed
    afterwards. `on_cancel` is called first; it asks the thread to stop, for example by setting an event.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await _left(working)
        raise


async def _left(working: asyncio.Future[T]) -> None:
    """Wait for the end of `working`, whatever it is. The caller is being cancelled and raises that."""
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError:
            continue
    if not working.cancelled():
        working.exception()
