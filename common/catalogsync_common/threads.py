"""Runs blocking work in a thread, with cancellation that waits for the thread."""

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

    A cancelled caller still waits until `work` has ended in its thread, so that whatever `work` uses can be closed
    afterwards.

    Args:
        on_cancel: called first when the caller is cancelled, to ask the thread to stop, for example by setting an
            event.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await _wait_done(working)
        raise


async def _wait_done(working: asyncio.Future[T]) -> None:
    """Wait until `working` is done, and ignore its outcome: the cancelled caller raises CancelledError."""
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError:
            continue
    if not working.cancelled():
        # Retrieved, so that asyncio does not log it.
        working.exception()
