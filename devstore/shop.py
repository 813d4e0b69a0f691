"""One running shop: its catalog, its platform's API, its faults and its request log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web

from devstore.bigcommerce.api import BigCommerceApi
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.catalog.pictures import product_picture
from devstore.faults import ORIGINAL_REPLY, Fault
from devstore.feed.api import FeedApi
from devstore.feed.quirks import FeedQuirk
from devstore.request_log import RequestLog, RequestRecord
from devstore.shopify.api import ShopifyApi
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import ShopSpec
from devstore.webhooks.sender import WebhookSender
from devstore.woocommerce.api import WooCommerceApi
from devstore.woocommerce.quirks import WooQuirk

_SECRET_PARAMS = {"consumer_key", "consumer_secret", "oauth_consumer_key", "oauth_signature"}


class PlatformApi(Protocol):
    """A platform's API over one catalog."""

    @property
    def sender(self) -> WebhookSender | None:
        """The queue of the webhook deliveries; None: the platform sends none."""
        ...

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        """Return the reply to a request.

        Args:
            request: The request; its own URL has the devstore's prefix.
            path: The path below the shop's base URL.
            site: The shop's base URL as the client sees it.
            record: The entry of the request log; the API fills in the operation, points and throttling.
        """
        ...


class Shop:
    """Serves all paths below the prefix of one domain."""

    def __init__(self, spec: ShopSpec, *, throttle: bool, latency: float, clock: Callable[[], datetime]) -> None:
        self.spec = spec
        self.catalog = Catalog(spec, clock=clock)
        self.requests = RequestLog()
        self.faults: list[Fault] = []
        """Asked in their order before each API request; the first that answers wins."""
        self.feed_quirks: set[FeedQuirk] = set(spec.feed_quirks)
        """The quirks of a feed; may be changed while it is read."""
        self.woo_quirks: set[WooQuirk] = set(spec.woo_quirks)
        """The quirks of a WooCommerce shop; may be changed while it is read."""
        self._latency_seconds = latency
        self._api: PlatformApi
        if spec.platform is Platform.SHOPIFY:
            self._api = ShopifyApi(self.catalog, throttle=throttle)
        elif spec.platform is Platform.BIGCOMMERCE:
            self._api = BigCommerceApi(self.catalog, throttle=throttle)
        elif spec.platform is Platform.FEED:
            self._api = FeedApi(self.catalog, quirks=self.feed_quirks, clock=clock)
        else:
            self._api = WooCommerceApi(self.catalog, quirks=self.woo_quirks, clock=clock)

    async def answer(self, request: web.Request, path: str) -> web.StreamResponse:
        """Return the reply to a request for `path`: an image, the reply of a fault, or the platform's reply."""
        if path.startswith("images/"):
            return self._image(path)
        query = {name: value for name, value in request.query.items() if name not in _SECRET_PARAMS}
        record = RequestRecord(method=request.method, path=path, query=query)
        started = time.monotonic()
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)

        async def original_reply() -> web.Response:
            return await self._api.answer(request, path, f"{request.url.origin()}/{self.spec.domain}", record)

        request[ORIGINAL_REPLY] = original_reply
        reply = await self._reply_of_fault(request)
        if reply is not None:
            record.faulted, record.operation = True, record.operation or "fault"
        else:
            reply = await original_reply()
        record.status, record.seconds = reply.status, time.monotonic() - started
        self.requests.add(record)
        return reply

    async def file(self, request: web.Request, name: str) -> web.StreamResponse:
        """Return a file outside the shop's path, which needs no key: the result of a bulk operation."""
        if isinstance(self._api, ShopifyApi):
            return await self._api.file(request, name)
        return web.Response(status=404, text="no such file")

    @property
    def shopify(self) -> ShopifyApi:
        """The API of a Shopify shop, with its `quirks`."""
        assert isinstance(self._api, ShopifyApi)
        return self._api

    @property
    def bigcommerce(self) -> BigCommerceApi:
        """The API of a BigCommerce shop, with its `switches`."""
        assert isinstance(self._api, BigCommerceApi)
        return self._api

    @property
    def woocommerce(self) -> WooCommerceApi:
        """The API of a WooCommerce shop."""
        assert isinstance(self._api, WooCommerceApi)
        return self._api

    @property
    def webhooks(self) -> WebhookSender | None:
        """The queue of the shop's webhook deliveries, with its `switches`; None: a feed sends none."""
        return self._api.sender

    @property
    def bulk(self) -> BulkJobs:
        """The bulk operations of a Shopify shop."""
        return self.shopify.bulk

    async def close(self) -> None:
        """Cancel the background tasks."""
        if isinstance(self._api, ShopifyApi):
            await self._api.close()
        if self._api.sender is not None:
            await self._api.sender.close()

    async def _reply_of_fault(self, request: web.Request) -> web.StreamResponse | None:
        for fault in self.faults:
            reply = await fault(request)
            if reply is not None:
                return reply
        return None

    def _image(self, path: str) -> web.Response:
        # BigCommerce's have the time of the upload between name and suffix; every URL shows the present picture.
        name, *_, suffix = path.removeprefix("images/").split(".")
        is_image = suffix == "png" and name.isdecimal()
        product = self.catalog.product_of_image(int(name)) if is_image else None
        if product is None:
            return web.Response(status=404, text="no such image")
        self.requests.images += 1
        (image,) = (image for image in product.images if image.id == int(name))
        replacement = 0 if image.changed == product.created else image.changed_seconds
        picture = product_picture(image.id, product.product_type, replacement=replacement)
        headers = {"Cache-Control": "public, max-age=31536000"}
        return web.Response(body=picture, content_type="image/png", headers=headers)
