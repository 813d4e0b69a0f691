"""A TCP proxy that injects network faults: latency, dropped, cut and half-open connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536


class _Connection:
    """A client connection and the server connection that it is forwarded to."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.half_open = False
        """Both sides stay connected, and everything that either sends is discarded."""
        self.bytes_left: int | None = None
        """Bytes that are still forwarded before the connection is cut; None: no limit."""
        self.aborted = asyncio.Event()
        self._writers = (client, server)

    def abort(self) -> None:
        """Reset both sides."""
        self.aborted.set()
        for writer in self._writers:
            writer.transport.abort()

    async def forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, proxy: FaultProxy) -> None:
        """Forward bytes in one direction until the source ends. A half-open connection hides that end."""
        while data := await source.read(_CHUNK_BYTES):
            if proxy.latency_seconds:
                await proxy.sleep(proxy.latency_seconds)
            if not self.half_open:
                sink.write(self._within_limit(data))
                await sink.drain()
            if self.bytes_left == 0:
                return
        if self.half_open:
            await self.aborted.wait()

    def _within_limit(self, data: bytes) -> bytes:
        if self.bytes_left is not None:
            data = data[: self.bytes_left]
            self.bytes_left -= len(data)
        return data


class FaultProxy:
    """Listens on `address` and forwards each connection to a random one of the current targets."""

    def __init__(
        self,
        targets: Callable[[], Sequence[int]],
        *,
        random: Random,
        on_connect: Callable[[int], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Create a proxy that does not listen yet.

        Args:
            targets: Returns the ports that new connections may be forwarded to.
            random: Chooses the target.
            on_connect: Called for each connection with the local port of its server side.
            sleep: Delays chunks while there is latency.
        """
        self.sleep = sleep
        self.latency_seconds = 0.0
        """Added to each chunk, in either direction."""
        self._targets = targets
        self._random = random
        self._on_connect = on_connect
        self._connections: set[_Connection] = set()
        self._half_open_until = 0.0
        self._port = 0

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self._port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[FaultProxy]:
        """Serve while the block runs, then reset the remaining connections."""
        server = await asyncio.start_server(self._serve, HOST, 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()
            await server.wait_closed()

    def drop(self) -> int:
        """Reset all connections and return their number."""
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def cut_after(self, byte_count: int) -> int:
        """Reset each current connection after so many more bytes; return the number of connections."""
        for connection in self._connections:
            connection.bytes_left = byte_count
        return len(self._connections)

    def half_open(self, *, reset_after_seconds: float, new_connections_seconds: float = 0.0) -> int:
        """Discard everything that is sent, as a firewall does that lost the state of its connections.

        Args:
            reset_after_seconds: When the current connections are reset.
            new_connections_seconds: How long new connections are half-open, too.

        Returns:
            The number of current connections.
        """
        loop = asyncio.get_running_loop()
        self._half_open_until = loop.time() + new_connections_seconds
        for connection in self._connections:
            self._make_half_open(connection, reset_after_seconds)
        return len(self._connections)

    def reset_faults(self) -> None:
        """Stop delaying chunks and opening half-open connections; existing ones stay so until they are reset."""
        self.latency_seconds = 0.0
        self._half_open_until = 0.0

    def _make_half_open(self, connection: _Connection, reset_after_seconds: float) -> None:
        connection.half_open = True
        asyncio.get_running_loop().call_later(reset_after_seconds, connection.abort)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            to_client.transport.abort()
            return
        from_server, to_server = upstream
        self._on_connect(to_server.get_extra_info("sockname")[1])
        connection = _Connection(to_client, to_server)
        self._connections.add(connection)
        loop = asyncio.get_running_loop()
        if loop.time() < self._half_open_until:
            self._make_half_open(connection, self._half_open_until - loop.time())
        directions = [
            asyncio.create_task(connection.forward(from_client, to_server, self)),
            asyncio.create_task(connection.forward(from_server, to_client, self)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            await _cancel(directions)
            connection.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        targets = list(self._targets())
        for port in self._random.sample(targets, len(targets)):
            with suppress(OSError):
                return await asyncio.open_connection(HOST, port)
        return None


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
