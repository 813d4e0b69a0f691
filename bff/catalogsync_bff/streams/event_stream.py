"""Server-sent events over HTTP (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from aiohttp import ClientConnectionError, hdrs, web

from catalogsync_bff.json_form import encode
from catalogsync_bff.signed_claims import utc_now
from catalogsync_bff.streams.mailbox import Event, Mailbox

LAST_EVENT_ID_HEADER: Final = "Last-Event-ID"
HEARTBEAT_COMMENT: Final = b": heartbeat\n\n"
"""For proxies and programs; scripts of a page see the event only."""

_HEADERS: Final = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    # no-transform keeps proxies from compressing, and so from collecting events.
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    # nginx buffers responses unless told otherwise.
    "X-Accel-Buffering": "no",
}
_RETRY_MILLISECONDS: Final = (1_000, 3_000)
_WRITE_TIMEOUT_SECONDS: Final = 30.0
_SEND_BUFFER_BYTES: Final = 64 * 1024
"""In the kernel: what a slow browser has not received there is not replaced by later events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamLifetime:
    """When an event stream sends heartbeats, and when it ends."""

    heartbeat_seconds: float
    expires_at: datetime
    """When the caller's credentials expire."""

    def seconds_left(self) -> float:
        """Return the time until the end."""
        return (self.expires_at - utc_now()).total_seconds()


async def stream_events(
    request: web.Request, mailbox: Mailbox, lifetime: StreamLifetime, *, first: Sequence[Event] = ()
) -> web.StreamResponse:
    """Send the events of a mailbox until it is closed, its last event was sent, or the browser is gone.

    Args:
        request: the request of the browser.
        mailbox: its pending events.
        lifetime: heartbeats and the end of the stream.
        first: events that are sent at once.
    """
    response = web.StreamResponse(status=HTTPStatus.OK, headers=_HEADERS)
    # The connection is not used again: a proxy must not wait for its next request.
    response.force_close()
    await response.prepare(request)
    _limit_buffers(request)
    retry = random.randint(*_RETRY_MILLISECONDS)
    with suppress(ClientConnectionError):
        try:
            await _write(response, b"retry: %d\n\n" % retry + b"".join(map(encode_event, first)))
            await _deliver(request, response, mailbox, lifetime)
        except TimeoutError:
            # What is buffered will not be read either.
            if request.transport is not None:
                request.transport.abort()
    return response


def encode_event(event: Event) -> bytes:
    """Return an event as text."""
    lines = [b"event: " + event.name.encode()]
    if event.event_id:
        lines.append(b"id: " + event.event_id.encode())
    lines.append(b"data: " + event.data)
    return b"\n".join(lines) + b"\n\n"


def _heartbeat() -> bytes:
    """Return a heartbeat: without an id, so that a browser resumes after the last event before it."""
    now = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return HEARTBEAT_COMMENT + encode_event(Event(name="heartbeat", data=encode({"server_time": now})))


async def _deliver(
    request: web.Request, response: web.StreamResponse, mailbox: Mailbox, lifetime: StreamLifetime
) -> None:
    while (left := lifetime.seconds_left()) > 0:
        await mailbox.wait(min(left, lifetime.heartbeat_seconds))
        events = mailbox.take()
        if request.transport is None or request.transport.is_closing():
            return
        if events:
            await _write(response, b"".join(map(encode_event, events)))
        elif mailbox.closed:
            return
        elif lifetime.seconds_left() > 0:
            await _write(response, _heartbeat())
        if any(event.is_last for event in events):
            return


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write to the connection; returns when its buffer has room again.

    Raises:
        TimeoutError: the browser reads nothing.
        ClientConnectionError: the connection is closed.
    """
    async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
        await response.write(data)


def _limit_buffers(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(high=16 * 1024)
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        # A browser that has lost its network confirms nothing; the kernel then closes the connection.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_WRITE_TIMEOUT_SECONDS * 1000))
