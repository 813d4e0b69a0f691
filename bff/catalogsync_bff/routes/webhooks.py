"""Webhook deliveries of platforms, passed on as they are: catalog_svc has their signatures verified."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import CatalogClient

from catalogsync_bff.envelope import data_response
from catalogsync_bff.errors import HttpError
from catalogsync_bff.json_form import to_json
from catalogsync_bff.routing import Route

_MAX_HEADERS: Final = 100
_MAX_CONCURRENT: Final = 64


class WebhookRoutes:
    """Routes of webhooks. Their callers have no session: the signature is verified instead."""

    def __init__(self, service: CatalogClient) -> None:
        self._service = service
        self._free = asyncio.Semaphore(_MAX_CONCURRENT)

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return tuple(
            Route(method="POST", path=path, handler=self.receive, needs_caller=False, csrf_exempt=True)
            for path in ("/webhooks/{platform}", "/webhooks/{platform}/{shop_id}")
        )

    async def receive(self, request: web.Request) -> web.Response:
        """Pass a delivery on."""
        if self._free.locked():
            raise HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "TOO_MANY_DELIVERIES",
                "Too many deliveries arrive at once. Repeat this one later.",
                headers={hdrs.RETRY_AFTER: "1"},
            )
        async with self._free:
            shop_id = request.match_info.get("shop_id", "")
            outcome = await self._service.ingest_webhook(
                request.match_info["platform"],
                await request.read(),
                _headers_of(request),
                shop=pb.ShopRef(shop_id=shop_id) if shop_id else None,
            )
        return data_response(request, to_json(outcome))


def _headers_of(request: web.Request) -> Sequence[tuple[str, str]]:
    """Return the headers that a signature may cover: none that proxies add or that hold credentials."""
    named = [
        (name, value)
        for name, value in request.headers.items()
        if (name.lower() == "content-type" or name.lower().startswith("x-")) and value.isprintable()
    ]
    return named[:_MAX_HEADERS]
