"""Event streams of many browsers over raw sockets: reading them costs little beside serving them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from bench.common.measure import BenchFailed

_OPEN_AT_ONCE: Final = 50
_TIMEOUT_SECONDS: Final = 60.0
_EVENT: Final = re.compile(rb"event: sync\n(?:id: [^\n]*\n)?data: [^\n]*?\"update_time\":\"([^\"]+)\"")


class Browser(asyncio.Protocol):
    """One event stream. It notes the age of each sync event when it arrives, from the sync's `update_time`."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._begin = time.perf_counter()
        self._unread = b""
        self.first_event = asyncio.get_running_loop().create_future()
        """The seconds from the connection to the first event."""
        self.ages: list[float] = []
        """Seconds, of each sync event."""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._begin = time.perf_counter()
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._unread += data
        if not self.first_event.done() and b"event: " in self._unread:
            self.first_event.set_result(time.perf_counter() - self._begin)
        complete, end, rest = self._unread.rpartition(b"\n\n")
        if end:
            self._unread = rest
            self.ages += [
                now - datetime.fromisoformat(time_.decode()).timestamp() for time_ in _EVENT.findall(complete)
            ]

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.first_event.done():
            self.first_event.set_exception(BenchFailed("a stream has ended before its first event"))


@asynccontextmanager
async def opened(url: str, path: str, cookie: str, *, count: int) -> AsyncIterator[Sequence[Browser]]:
    """Yield so many open streams, each of which has received its first event."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n".encode()
    free = asyncio.Semaphore(_OPEN_AT_ONCE)
    transports: list[asyncio.BaseTransport] = []

    async def open_one() -> Browser:
        async with free, asyncio.timeout(_TIMEOUT_SECONDS):
            transport, browser = await asyncio.get_running_loop().create_connection(
                lambda: Browser(request), host, port
            )
            transports.append(transport)
            await browser.first_event
        return browser

    try:
        browsers = await asyncio.gather(*(open_one() for _ in range(count)))
        yield browsers
        if any(browser.closed for browser in browsers):
            raise BenchFailed("a stream has ended")
    finally:
        for transport in transports:
            transport.close()
