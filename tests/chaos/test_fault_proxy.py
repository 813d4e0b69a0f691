"""The fault proxy injects exactly the faults that it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.chaos.fault_proxy import HOST, FaultProxy
from tests.waiting import within_timeout


@asynccontextmanager
async def echo_proxy(sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> AsyncIterator[FaultProxy]:
    """Yield a proxy in front of an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy(lambda: [port], random=Random(1), sleep=sleep).listening() as proxy:
        yield proxy
    server.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> bytes:
        """Return the reply; empty when the connection is closed."""
        try:
            self._writer.write(data)
            return await within_timeout(self._reader.read(1024))
        except ConnectionError:
            return b""


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    """Yield a connection that works."""
    host, _, port = proxy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Client(reader, writer)
    try:
        assert await client.send(b"hello") == b"hello"
        yield client
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_dropped_connection_is_closed_and_a_new_one_works() -> None:
    async with echo_proxy() as proxy, connected(proxy) as client:
        assert proxy.drop() == 1
        assert await client.send(b"again") == b""
        async with connected(proxy):
            pass


async def test_a_cut_connection_forwards_no_more_bytes_than_its_limit() -> None:
    async with echo_proxy() as proxy, connected(proxy) as client:
        # Both directions count. The reset may overtake the bytes that were forwarded before it.
        proxy.cut_after(8 + 3)
        assert await client.send(b"12345678") in (b"123", b"")
        assert await client.send(b"x") == b""


async def test_a_half_open_connection_is_silent_until_it_is_reset() -> None:
    async with echo_proxy() as proxy, connected(proxy) as client:
        proxy.half_open(reset_after_seconds=3600)
        sending = asyncio.create_task(client.send(b"anybody?"))
        async with connected(proxy):
            assert not sending.done()
        proxy.half_open(reset_after_seconds=0.05)
        assert await sending == b""


async def test_latency_delays_every_chunk() -> None:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    async with echo_proxy(sleep) as proxy, connected(proxy) as client:
        proxy.latency_seconds = 0.1
        assert await client.send(b"slow") == b"slow"
    assert delays == [0.1, 0.1], "request and reply"
