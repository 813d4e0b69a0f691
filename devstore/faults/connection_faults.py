"""Faults of the connection: replies that are cut, reset, sent slowly, or never sent."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import Transport
from typing import Final

from aiohttp import web

_POLL_INTERVAL_SECONDS: Final = 0.05
_TRANSPORT_HEADERS: Final = frozenset(
    {"content-length", "transfer-encoding", "content-encoding", "date", "server"}
)


def reset_connection(request: web.Request) -> None:
    """Close the connection with RST, as a crashed host or a firewall does."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, Transport)
    transport.abort()


async def send_half(request: web.Request, original: web.Response, *, with_reset: bool) -> web.StreamResponse:
    """Send half of the reply with the Content-Length of the whole, then close or reset the connection."""
    body = body_of(original)
    reply = await _start_reply(request, original, len(body))
    await reply.write(body[: len(body) // 2])
    if with_reset:
        reset_connection(request)
    elif request.transport:
        request.transport.close()
    return reply


async def send_slowly(
    request: web.Request, original: web.Response, *, bytes_per_second: float
) -> web.StreamResponse:
    """Send the whole reply at a limited rate."""
    body = body_of(original)
    reply = await _start_reply(request, original, len(body))
    step = max(1, round(bytes_per_second * _POLL_INTERVAL_SECONDS))
    for begin in range(0, len(body), step):
        if _client_has_left(request):
            break
        await reply.write(body[begin : begin + step])
        await asyncio.sleep(max(_POLL_INTERVAL_SECONDS, step / bytes_per_second))
    return reply


async def hang(request: web.Request, seconds: float) -> web.StreamResponse:
    """Send nothing until the client leaves or the time is over, then close the connection."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline and not _client_has_left(request):  # noqa: ASYNC110 - aiohttp has no event for it
        await asyncio.sleep(_POLL_INTERVAL_SECONDS)
    if request.transport:
        request.transport.close()
    return web.Response()


def body_of(reply: web.Response) -> bytes:
    """Return the body of a reply that has not been sent yet."""
    body = reply.body
    assert body is None or isinstance(body, bytes | bytearray)
    return bytes(body or b"")


def content_headers(reply: web.Response) -> dict[str, str]:
    """Return the headers of a reply except those that are set when it is sent."""
    return {name: value for name, value in reply.headers.items() if name.lower() not in _TRANSPORT_HEADERS}


def _client_has_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _start_reply(request: web.Request, original: web.Response, length: int) -> web.StreamResponse:
    reply = web.StreamResponse(status=original.status, headers=content_headers(original))
    reply.content_length = length
    await reply.prepare(request)
    return reply
