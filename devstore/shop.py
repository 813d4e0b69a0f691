"""One running shop: its truth, its face, its faults and its traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from devstore.bigcommerce.api import BigCommerceFace
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.catalog.sample_data import png
from devstore.faults import HONEST_REPLY, Fault
from devstore.feed.api import FeedFace
from devstore.feed.quirks import FeedQuirk
from devstore.request_log import Note, Traffic
from devstore.shopify.api import ShopifyFace
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import ShopSpec
from devstore.woocommerce.api import WooCommerceFace
from devstore.woocommerce.quirks import WooQuirk

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
        self.feed_quirks: set[FeedQuirk] = set(spec.feed_quirks)
        """Of a feed; may be changed while it is read."""
        self.woo_quirks: set[WooQuirk] = set(spec.woo_quirks)
        """Of a WooCommerce shop; may be changed while it is read."""
        self._latency = latency
        self._face: Face
        if spec.platform is Platform.SHOPIFY:
            self._face = ShopifyFace(self.catalog, throttle=throttle)
        elif spec.platform is Platform.BIGCOMMERCE:
            self._face = BigCommerceFace(self.catalog, throttle=throttle)
        elif spec.platform is Platform.FEED:
            self._face = FeedFace(self.catalog, quirks=self.feed_quirks, clock=clock)
        else:
            self._face = WooCommerceFace(self.catalog, quirks=self.woo_quirks, clock=clock)

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        if path.startswith("images/"):
            return self._image(path)
        query = {name: value for name, value in request.query.items() if name not in _SECRETS}
        note = Note(method=request.method, path=path, query=query)
        started = time.monotonic()
        if self._latency:
            await asyncio.sleep(self._latency)

        async def honest() -> web.Response:
            return await self._face.answer(request, path, f"{request.url.origin()}/{self.spec.domain}", note)

        request[HONEST_REPLY] = honest
        reply = await self._fault(request)
        if reply is not None:
            note.faulted, note.operation = True, note.operation or "fault"
        else:
            reply = await honest()
        note.status, note.seconds = reply.status, time.monotonic() - started
        self.traffic.add(note)
        return reply

    async def file(self, request: web.Request, name: str) -> web.StreamResponse:
        """What a shop serves beside its API, without a key."""
        if isinstance(self._face, ShopifyFace):
            return await self._face.file(request, name)
        return web.Response(status=404, text="no such file")

    @property
    def shopify(self) -> ShopifyFace:
        """The face of a Shopify shop, with its switches."""
        assert isinstance(self._face, ShopifyFace)
        return self._face

    @property
    def bigcommerce(self) -> BigCommerceFace:
        """The face of a BigCommerce shop, with its `switches`."""
        assert isinstance(self._face, BigCommerceFace)
        return self._face

    @property
    def woocommerce(self) -> WooCommerceFace:
        """The face of a WooCommerce shop."""
        assert isinstance(self._face, WooCommerceFace)
        return self._face

    @property
    def bulk(self) -> BulkJobs:
        """The bulk operations of a Shopify shop."""
        assert isinstance(self._face, ShopifyFace)
        return self._face.bulk

    async def close(self) -> None:
        """Ends what works in the background."""
        if isinstance(self._face, ShopifyFace):
            await self._face.close()

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
