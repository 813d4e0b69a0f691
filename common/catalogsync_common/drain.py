"""The signal that the process is about to go down."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from catalogsync_common.failure import Failure

T = TypeVar("T")


class ServerDraining(Failure):
    """This replica is going down; another one answers."""

    reason = "SERVER_DRAINING"

    def __init__(self) -> None:
        super().__init__("This server is going down. Call again; another one answers.")


class Drain:
    """An event that long streams and workers race against, so that stopping takes no longer than it must."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def started(self) -> bool:
        return self._event.is_set()

    def start(self) -> None:
        """Ends every wait and race, now and later."""
        self._event.set()

    async def begun(self) -> None:
        """Returns once the drain has started."""
        await self._event.wait()

    async def wait(self) -> NoReturn:
        """Raises ServerDraining once the drain has started."""
        await self._event.wait()
        raise ServerDraining

    async def race(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; raises ServerDraining when the drain starts first.

        `work` runs as a task of its own, in a copy of the context. When this returns or raises, it has ended.
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
