"""The control face: the truth and the counters over HTTP, for tests that run the devstore as a process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal

from aiohttp import web
from msgspec import json as fast_json

from devstore.shop import Shop

_FLUSH_EVERY = 1_000


class Control:
    """Answers below /_control/<domain>/; it needs no key, so a devstore must not face the internet."""

    def __init__(self, shops: Mapping[str, Shop]) -> None:
        self._shops = shops

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/{domain}/truth", self.truth),
            web.get("/_control/{domain}/stats", self.stats),
        ]

    async def truth(self, request: web.Request) -> web.StreamResponse:
        """The oracle rows, one JSON object per line; money is text or null."""
        shop = self._shop(request)
        reply = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await reply.prepare(request)
        lines: list[bytes] = []
        for item in shop.catalog.sellable_items():
            row = {name: _plain(value) for name, value in dataclasses.asdict(item).items()}
            lines.append(fast_json.encode(row) + b"\n")
            if len(lines) >= _FLUSH_EVERY:
                await reply.write(b"".join(lines))
                lines.clear()
        await reply.write_eof(b"".join(lines))
        return reply

    async def stats(self, request: web.Request) -> web.Response:
        """The shop's counters and size."""
        shop = self._shop(request)
        size = {"products": len(shop.catalog), "variants": shop.catalog.variant_count}
        body = fast_json.encode({**shop.traffic.summary(), **size})
        return web.Response(body=body, content_type="application/json")

    def _shop(self, request: web.Request) -> Shop:
        shop = self._shops.get(request.match_info["domain"])
        if shop is None:
            raise web.HTTPNotFound(text="no such shop")
        return shop


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
