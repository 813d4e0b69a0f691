"""A TCP proxy that can reset all its connections at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 262_144


class CuttingProxy:
    """Forwards connections to one server until `cut` resets them; new ones are accepted at any time."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""
        """host:port, while the proxy listens."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CuttingProxy]:
        """Serve while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    def cut(self) -> int:
        """Reset all connections, and return how many clients had one."""
        count = len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()
        return count

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._target)
        writers = {to_client, to_server}
        self._writers |= writers
        try:
            await asyncio.gather(_forward(from_client, to_server), _forward(from_server, to_client))
        except ConnectionError:
            pass
        finally:
            self._writers -= writers
            for writer in writers:
                writer.transport.abort()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    raise ConnectionResetError("the other side has closed the connection")
