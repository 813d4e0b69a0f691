"""Connection limits: how many connections are in use at once, of one shop and of all shops of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.dependencies import Host

_REPORT_AFTER: Final = timedelta(seconds=1)
_REPORT_EVERY: Final = timedelta(seconds=10)


class ConnectionLimiter:
    """A semaphore per shop, and one for all shops together.

    A shop has its own semaphore wherever it is called: shops that share an API host or a file host do not share
    it. A connection is acquired before an attempt begins, so that waiting for one does not count into the
    attempt's timeout.
    """

    def __init__(
        self,
        *,
        per_host: int,
        total: int,
        clock: Callable[[], datetime],
        report_after: timedelta = _REPORT_AFTER,
    ) -> None:
        self._per_host = per_host
        self._total = asyncio.Semaphore(total)
        self._by_host: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Only those in use; the others have no state to keep."""
        self._clock = clock
        self._report_after = report_after

    @asynccontextmanager
    async def connection(self, host: Host, on_wait: WaitReporter | None) -> AsyncIterator[None]:
        """Hold one connection of `host` while the block runs. A wait of more than a second is reported."""
        own = self._by_host.setdefault(host.name, asyncio.Semaphore(self._per_host))
        async with (
            self._acquired(own, on_wait, "all connections that one shop may have are in use"),
            self._acquired(self._total, on_wait, "all connections of the connector are in use"),
        ):
            yield

    @asynccontextmanager
    async def _acquired(
        self, semaphore: asyncio.Semaphore, on_wait: WaitReporter | None, message: str
    ) -> AsyncIterator[None]:
        if on_wait is None or not semaphore.locked():
            await semaphore.acquire()
        else:
            with self._reporting(on_wait, message):
                await semaphore.acquire()
        try:
            yield
        finally:
            semaphore.release()

    @contextmanager
    def _reporting(self, on_wait: WaitReporter, message: str) -> Iterator[None]:
        """Report a wait repeatedly while the block runs, without giving up the place in the queue."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            on_wait(Wait(reason=WaitReason.THROTTLED, until=self._clock() + _REPORT_EVERY, message=message))
            timer = loop.call_later(_REPORT_EVERY.total_seconds(), report)

        timer = loop.call_later(self._report_after.total_seconds(), report)
        try:
            yield
        finally:
            timer.cancel()
