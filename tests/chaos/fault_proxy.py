"""A TCP proxy that does to connections what networks do: delay, drop, cut, and silence without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

HOST = "127.0.0.1"
_CHUNK = 65_536


class _Link:
    """A client and the server it was led to."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.silent = False
        """Half-open: both sides stay connected, and whatever either sends is lost."""
        self.budget: int | None = None
        """Bytes that still pass before the connection is cut; None: any number."""
        self.ended = asyncio.Event()
        self._writers = (client, server)

    def abort(self) -> None:
        """Resets both sides."""
        self.ended.set()
        for writer in self._writers:
            writer.transport.abort()

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, proxy: FaultProxy) -> None:
        """Carries bytes one way until the link ends. An end that nobody hears of stays unheard."""
        while data := await source.read(_CHUNK):
            if proxy.latency:
                await proxy.sleep(proxy.latency)
            if not self.silent:
                sink.write(self._admitted(data))
                await sink.drain()
            if self.budget == 0:
                return
        if self.silent:
            await self.ended.wait()

    def _admitted(self, data: bytes) -> bytes:
        if self.budget is not None:
            data = data[: self.budget]
            self.budget -= len(data)
        return data


class FaultProxy:
    """Listens on `address`; leads each connection to one of the targets of that moment, at random."""

    def __init__(
        self,
        targets: Callable[[], Sequence[int]],
        *,
        random: Random,
        on_link: Callable[[int], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.sleep = sleep
        self.latency = 0.0
        """Seconds that are added to each chunk, either way."""
        self._targets = targets
        self._random = random
        self._on_link = on_link
        self._links: set[_Link] = set()
        self._silent_until = 0.0
        self._port = 0

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self._port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[FaultProxy]:
        """Serves while the block lasts, then resets what is left."""
        server = await asyncio.start_server(self._serve, HOST, 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()
            await server.wait_closed()

    def drop(self) -> int:
        """Resets every connection; says how many."""
        links = list(self._links)
        for link in links:
            link.abort()
        return len(links)

    def cut_after(self, count: int) -> int:
        """Lets `count` more bytes pass on every connection of now, then resets it; says how many."""
        for link in self._links:
            link.budget = count
        return len(self._links)

    def half_open(self, *, linger: float, new_too: float = 0.0) -> int:
        """The connections of now lose everything, and are reset only after `linger` seconds, as by a firewall that
        forgot them. For `new_too` seconds new connections are swallowed, too. Says how many there were."""
        loop = asyncio.get_running_loop()
        self._silent_until = loop.time() + new_too
        for link in self._links:
            self._silence(link, linger)
        return len(self._links)

    def normal(self) -> None:
        """Ends what concerns new connections and all chunks; what is half-open stays so until its time."""
        self.latency = 0.0
        self._silent_until = 0.0

    def _silence(self, link: _Link, linger: float) -> None:
        link.silent = True
        asyncio.get_running_loop().call_later(linger, link.abort)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            to_client.transport.abort()
            return
        from_server, to_server = upstream
        self._on_link(to_server.get_extra_info("sockname")[1])
        link = _Link(to_client, to_server)
        self._links.add(link)
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            self._silence(link, self._silent_until - loop.time())
        pumps = [
            asyncio.create_task(link.pump(from_client, to_server, self)),
            asyncio.create_task(link.pump(from_server, to_client, self)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            await _ended(pumps)
            link.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        targets = list(self._targets())
        for port in self._random.sample(targets, len(targets)):
            with suppress(OSError):
                return await asyncio.open_connection(HOST, port)
        return None


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
