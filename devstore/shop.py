"""One running shop: its truth, its face, its faults and its traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.faults import Fault
from devstore.images import png
from devstore.shopify.face import ShopifyFace
from devstore.spec import ShopSpec
from devstore.traffic import Note, Traffic
from devstore.woocommerce.face import WooCommerceFace

_SECRETS = {"consumer_key", "consumer_secret", "oauth_consumer_key", "oauth_signature"}


class Face(Protocol):
    """A platform's API over one catalog."""

    async def answer(self, request: web.Request, path: str, site: str, note: Note) -> web.Response:
        """The reply to a request for `path` below the shop's base URL `site`."""
        ...


class Shop:
    """Answers everything below one domain's path prefix."""

    def __init__(self, spec: ShopSpec, *, throttle: bool, latency: float, clock: Callable[[], datetime]) -> None:
        self.spec = spec
        self.catalog = Catalog(spec, clock=clock)
        self.traffic = Traffic()
        self.faults: list[Fault] = []
        self._latency = latency
        self._face: Face
        if spec.platform is Platform.SHOPIFY:
            self._face = ShopifyFace(self.catalog, throttle=throttle)
        else:
            self._face = WooCommerceFace(self.catalog)

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.startswith("images/"):
            return self._image(path)
        query = {name: value for name, value in request.query.items() if name not in _SECRETS}
        note = Note(method=request.method, path=path, query=query)
        started = time.monotonic()
        if self._latency:
            await asyncio.sleep(self._latency)
        reply = await self._fault(request)
        if reply is not None:
            note.faulted, note.operation = True, "fault"
        else:
            reply = await self._face.answer(request, path, f"{request.url.origin()}/{self.spec.domain}", note)
        note.status, note.seconds = reply.status, time.monotonic() - started
        self.traffic.add(note)
        return reply

    async def _fault(self, request: web.Request) -> web.StreamResponse | None:
        for fault in self.faults:
            reply = await fault(request)
            if reply is not None:
                return reply
        return None

    def _image(self, path: str) -> web.Response:
        name, dot, suffix = path.removeprefix("images/").partition(".")
        if (dot + suffix) != ".png" or not name.isdecimal() or not self.catalog.has_image(int(name)):
            return web.Response(status=404, text="no such image")
        self.traffic.images += 1
        headers = {"Cache-Control": "public, max-age=31536000"}
        return web.Response(body=png(int(name)), content_type="image/png", headers=headers)
