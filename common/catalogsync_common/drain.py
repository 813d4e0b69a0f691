"""The drain: the signal that the process is shutting down gracefully."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from catalogsync_common.failure import Failure

T = TypeVar("T")


class ServerDraining(Failure):
    """This replica is shutting down; another one will answer."""

    reason = "SERVER_DRAINING"

    def __init__(self) -> None:
        super().__init__("This server is shutting down. Call again; another replica will answer.")


class Drain:
    """An event that ends long streams and background work, so that a shutdown takes no longer than necessary."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def started(self) -> bool:
        return self._event.is_set()

    def start(self) -> None:
        """Start the drain: end all current and future waits and races."""
        self._event.set()

    async def wait_started(self) -> None:
        """Return once the drain has started."""
        await self._event.wait()

    async def wait(self) -> NoReturn:
        """Raise ServerDraining once the drain has started."""
        await self._event.wait()
        raise ServerDraining

    async def race(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`, or cancel it and raise ServerDraining when the drain starts first.

        `work` runs as a separate task, in a copy of the context. It has ended when this returns or raises.
        """
        working, draining = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((working, draining), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ServerDraining
        finally:
            working.cancel()
            draining.cancel()
            await asyncio.gather(working, draining, return_exceptions=True)
