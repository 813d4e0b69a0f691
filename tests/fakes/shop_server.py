"""A fake shop on a real socket, and a fake environment in which time passes only by sleeping."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from connector_svc.domain.fetch import Wait
from connector_svc.domain.shop import Shop
from connector_svc.http.client import ShopClient
from connector_svc.http.dependencies import HttpDependencies

SHOP = Shop("woocommerce", "store.example")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OpenClient = Callable[..., AbstractAsyncContextManager[ShopClient]]
"""Opens a client of SHOP; takes a path prefix and a `HttpConfig`."""


@dataclass(slots=True)
class ShopServer:
    """Answers with the handlers in turn, and with the last one forever; records the requests."""

    url: str = ""
    handlers: list[Handler] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def answers(self, *handlers: Handler) -> None:
        self.handlers = list(handlers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request)


def status(code: int, body: str = "{}", **headers: str) -> Handler:
    """Return a handler that always gives the same answer; the header Retry_After becomes Retry-After."""

    async def handle(request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=body, content_type="application/json", headers=named)

    return handle


@dataclass(slots=True)
class FakeEnvironment:
    """Clock, sleep and jitter of the HTTP client: time passes by sleeping, and the jitter is fixed."""

    now: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    jitter: float = 1.0
    sleeps: list[float] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    correlation_id: str = "abc-123"

    async def sleep(self, delay: timedelta) -> None:
        self.sleeps.append(delay.total_seconds())
        self.now += delay

    def dependencies(self) -> HttpDependencies:
        return HttpDependencies(
            clock=lambda: self.now,
            monotonic=lambda: self.now.timestamp(),
            sleep=self.sleep,
            jitter=lambda: self.jitter,
            correlation_id=lambda: self.correlation_id,
        )


@asynccontextmanager
async def serving() -> AsyncIterator[ShopServer]:
    """Run one more server."""
    shop_server = ShopServer()
    shop_server.answers(status(200))
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", shop_server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop_server.url = f"http://localhost:{runner.addresses[0][1]}"
    try:
        yield shop_server
    finally:
        await runner.cleanup()
