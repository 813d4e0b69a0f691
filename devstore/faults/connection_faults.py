"""What may happen to a reply on its way: it is cut, it drips, the connection is reset, nothing comes at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import Transport
from typing import Final

from aiohttp import web

_DRIP_PAUSE: Final = 0.05
_HEADERS_OF_THE_WAY: Final = frozenset(
    {"content-length", "transfer-encoding", "content-encoding", "date", "server"}
)


def reset(request: web.Request) -> None:
    """Closes the connection with RST, as a crashed host or a firewall does."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, Transport)
    transport.abort()


async def broken_off(request: web.Request, honest: web.Response, *, with_reset: bool) -> web.StreamResponse:
    """Half of the reply under the length of the whole, then the end of the connection."""
    body = body_of(honest)
    reply = _opened(honest)
    reply.content_length = len(body)
    await reply.prepare(request)
    await reply.write(body[: len(body) // 2])
    if with_reset:
        reset(request)
    elif request.transport:
        request.transport.close()
    return reply


async def dripping(request: web.Request, honest: web.Response, *, bytes_per_second: float) -> web.StreamResponse:
    """The whole reply, at a pace."""
    body = body_of(honest)
    reply = _opened(honest)
    reply.content_length = len(body)
    await reply.prepare(request)
    step = max(1, round(bytes_per_second * _DRIP_PAUSE))
    for begin in range(0, len(body), step):
        if gone(request):
            break
        await reply.write(body[begin : begin + step])
        await asyncio.sleep(max(_DRIP_PAUSE, step / bytes_per_second))
    return reply


async def silence(request: web.Request, seconds: float) -> web.StreamResponse:
    """Nothing, until the client leaves or the time is over; then the end of the connection."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and not gone(request):  # noqa: ASYNC110 - aiohttp has no event for it
        await asyncio.sleep(_DRIP_PAUSE)
    if request.transport:
        request.transport.close()
    return web.Response()


def gone(request: web.Request) -> bool:
    """Whether nobody listens any more."""
    return request.transport is None or request.transport.is_closing()


def body_of(reply: web.Response) -> bytes:
    """The bytes of a reply that is not sent yet."""
    body = reply.body
    assert body is None or isinstance(body, bytes | bytearray)
    return bytes(body or b"")


def kept_headers(reply: web.Response) -> dict[str, str]:
    """All but those that belong to the way it is sent."""
    return {name: value for name, value in reply.headers.items() if name.lower() not in _HEADERS_OF_THE_WAY}


def _opened(honest: web.Response) -> web.StreamResponse:
    return web.StreamResponse(status=honest.status, headers=kept_headers(honest))
