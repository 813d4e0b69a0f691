"""An HTTP server that receives webhooks, keeps every byte, and answers as a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedDelivery:
    """A request as it was sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    """In the order in which they were sent."""
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header; "" if it is absent."""
        return next((value for one, value in self.headers if one.lower() == name.lower()), "")

    def json(self) -> Any:
        return json.loads(self.body)


def _ok(delivery: ReceivedDelivery) -> int:
    return 200


@dataclass(slots=True)
class WebhookListener:
    """A running listener."""

    url: str = ""
    received: list[ReceivedDelivery] = field(default_factory=list)
    status_of: Callable[[ReceivedDelivery], int] = _ok
    """The status with which a delivery is answered; 0: the connection is closed without an answer."""

    async def handle(self, request: web.Request) -> web.Response:
        headers = tuple((name.decode(), value.decode()) for name, value in request.raw_headers)
        delivery = ReceivedDelivery(
            method=request.method, target=request.path_qs, headers=headers, body=await request.read()
        )
        status = self.status_of(delivery)
        self.received.append(delivery)
        if not status:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=status or 500)


@asynccontextmanager
async def listening() -> AsyncIterator[WebhookListener]:
    """Run a listener."""
    listener = WebhookListener()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield listener
    finally:
        await runner.cleanup()
