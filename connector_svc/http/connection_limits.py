"""How many connections are in use at once: for one shop, and for all shops of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.circuit_breaker import Host

_REPORT_AFTER: Final = timedelta(seconds=1)
_REPORT_EVERY: Final = timedelta(seconds=10)


class ConnectionSlots:
    """A semaphore for each shop, and one for all of them.

    A shop has its own slots wherever it is called: shops that share an API host or a file host do not share them.
    A slot is taken before an attempt begins, so that waiting for one is no part of the attempt's timeout.
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
        """Those in use; nobody needs to remember the others."""
        self._clock = clock
        self._report_after = report_after

    @asynccontextmanager
    async def slot(self, host: Host, on_wait: WaitReporter | None) -> AsyncIterator[None]:
        """Hold one slot of `host` while the block runs. A wait of more than a second is reported to `on_wait`."""
        own = self._by_host.setdefault(host.name, asyncio.Semaphore(self._per_host))
        async with (
            self._taken(own, on_wait, "all connections that one shop may have are in use"),
            self._taken(self._total, on_wait, "all connections of the connector are in use"),
        ):
            yield

    @asynccontextmanager
    async def _taken(
        self, semaphore: asyncio.Semaphore, on_wait: WaitReporter | None, message: str
    ) -> AsyncIterator[None]:
        if on_wait is None or not semaphore.locked():
            await semaphore.acquire()
        else:
            with self._reported(on_wait, message):
                await semaphore.acquire()
        try:
            yield
        finally:
            semaphore.release()

    @contextmanager
    def _reported(self, on_wait: WaitReporter, message: str) -> Iterator[None]:
        """Report a wait again and again while the block runs, without giving up the place in the queue."""
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
