"""A host of images: an HTTP server whose answers a test sets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

from aiohttp import web
from PIL import Image


def picture(width: int, height: int, *, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """Return an encoded image."""
    out = io.BytesIO()
    Image.new(mode, (width, height), 200 if mode in ("L", "P") else None).save(out, kind)
    return out.getvalue()


class ImageHost:
    """A server on 127.0.0.1; a path without an answer is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Awaitable[web.StreamResponse]]] = {}
        self.requests: list[web.Request] = []
        self.silence = asyncio.Event()
        """Ends the requests that `keeps_silent` has received."""
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def name(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://{self.name}{path}"

    def serves(self, path: str, body: bytes, *, content_type: str = "image/png", **headers: str) -> str:
        """Answer a path with a body, and return its address."""

        async def answer() -> web.Response:
            return web.Response(body=body, content_type=content_type, headers=headers)

        self.answers[path] = answer
        return self.url(path)

    def redirects(self, path: str, location: str) -> str:
        """Answer a path with a redirect, and return its address."""

        async def answer() -> web.Response:
            return web.Response(status=302, headers={"Location": location})

        self.answers[path] = answer
        return self.url(path)

    def keeps_silent(self, path: str) -> str:
        """Never answer a path, and return its address."""

        async def answer() -> web.Response:
            await self.silence.wait()
            return web.Response(status=503)

        self.answers[path] = answer
        return self.url(path)

    async def start(self) -> None:
        """Listen on any free port."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        self.silence.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.get(request.path)
        return await answer() if answer is not None else web.Response(status=404)
