"""The proxy breaks what it says it breaks, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.chaos.fault_proxy import HOST, FaultProxy
from tests.waiting import within_timeout


@asynccontextmanager
async def echo(sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> AsyncIterator[FaultProxy]:
    """A proxy before a server that says what it hears."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy(lambda: [port], random=Random(1), sleep=sleep).listening() as proxy:
        yield proxy
    server.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, data: bytes) -> bytes:
        """What comes back; empty when the connection is gone."""
        try:
            self._writer.write(data)
            return await within_timeout(self._reader.read(1024))
        except ConnectionError:
            return b""


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    """A connection that works."""
    host, _, port = proxy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Client(reader, writer)
    try:
        assert await client.ask(b"hello") == b"hello"
        yield client
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_dropped_connection_is_gone_and_a_new_one_works() -> None:
    async with echo() as proxy, connected(proxy) as client:
        assert proxy.drop() == 1
        assert await client.ask(b"again") == b""
        async with connected(proxy):
            pass


async def test_a_cut_connection_says_no_more_than_it_may() -> None:
    async with echo() as proxy, connected(proxy) as client:
        # There and back count alike. The reset may overtake what was said before it.
        proxy.cut_after(8 + 3)
        assert await client.ask(b"12345678") in (b"123", b"")
        assert await client.ask(b"x") == b""


async def test_a_half_open_connection_is_silent_until_it_is_reset() -> None:
    async with echo() as proxy, connected(proxy) as client:
        proxy.half_open(linger=3600)
        asking = asyncio.create_task(client.ask(b"anybody?"))
        async with connected(proxy):
            assert not asking.done()
        proxy.half_open(linger=0.05)
        assert await asking == b""


async def test_latency_delays_every_chunk() -> None:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    async with echo(sleep) as proxy, connected(proxy) as client:
        proxy.latency = 0.1
        assert await client.ask(b"slow") == b"slow"
    assert delays == [0.1, 0.1], "there and back"
