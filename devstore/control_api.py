"""The control API: oracle, counters, faults, churn and webhooks, for tests that run the devstore as a process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from aiohttp import web
from msgspec import DecodeError, Meta, Struct
from msgspec import json as fast_json

from devstore.churn import Churn
from devstore.faults import InvalidFault, ScriptedFault, parse_fault
from devstore.shop import Shop
from devstore.webhooks.sender import WebhookSender

_LINES_PER_WRITE = 1_000


class ControlApi:
    """Serves `/_control/<domain>/`. It needs no key, so a devstore must not be reachable from the internet."""

    def __init__(self, shops: Mapping[str, Shop]) -> None:
        self._shops = shops
        self._churns: dict[str, Churn] = {}

    def attach(self, app: web.Application) -> None:
        """Add the routes to `app`, and stop every churn on its shutdown."""
        app.add_routes(self.routes())
        app.on_shutdown.append(self._stop_all)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/{domain}/truth", self.truth),
            web.get("/_control/{domain}/stats", self.stats),
            web.get("/_control/{domain}/faults", self.faults),
            web.post("/_control/{domain}/faults", self.add_fault),
            web.delete("/_control/{domain}/faults", self.clear_faults),
            web.post("/_control/{domain}/churn", self.start_churn),
            web.delete("/_control/{domain}/churn", self.stop_churn),
            web.get("/_control/{domain}/webhooks", self.webhooks),
            web.post("/_control/{domain}/webhooks", self.set_webhook_switches),
        ]

    async def faults(self, request: web.Request) -> web.Response:
        """List the scripted faults in their order, each with `met`: the number of requests it was applied to."""
        scripted = [fault for fault in self._shop(request).faults if isinstance(fault, ScriptedFault)]
        return _json([{"kind": fault.kind.value, "met": fault.matched} for fault in scripted])

    async def add_fault(self, request: web.Request) -> web.Response:
        """Append the fault that the body describes to the faults of the shop."""
        shop = self._shop(request)
        try:
            shop.faults.append(parse_fault(await request.read()))
        except InvalidFault as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        return web.Response(status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Remove all faults of the shop."""
        self._shop(request).faults.clear()
        return web.Response(status=204)

    async def start_churn(self, request: web.Request) -> web.Response:
        """Start changing the catalog as the body describes; a running churn is replaced."""
        shop = self._shop(request)
        try:
            options = fast_json.decode(await request.read(), type=_ChurnOptions)
            churn = Churn(shop.catalog, changes_per_second=options.changes_per_second, seed=options.seed)
        except (DecodeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        await self._stop(shop.spec.domain)
        self._churns[shop.spec.domain] = churn
        churn.start()
        return web.Response(status=201)

    async def stop_churn(self, request: web.Request) -> web.Response:
        """Stop changing the catalog, and answer with the number of changes by kind."""
        return _json(await self._stop(self._shop(request).spec.domain))

    async def _stop(self, domain: str) -> dict[str, int]:
        churn = self._churns.pop(domain, None)
        if churn is None:
            return {}
        await churn.stop()
        return churn.counts

    async def _stop_all(self, _: web.Application) -> None:
        for domain in list(self._churns):
            await self._stop(domain)

    async def webhooks(self, request: web.Request) -> web.Response:
        """Answer with the counters of the shop's webhook deliveries, the number that waits, and the switches."""
        sender = self._sender(request)
        switches = dataclasses.asdict(sender.switches)
        return _json({"waiting": sender.waiting, "counts": dict(sender.log.counts), "switches": switches})

    async def set_webhook_switches(self, request: web.Request) -> web.Response:
        """Set the switches that the body names, and leave the others as they are."""
        sender = self._sender(request)
        try:
            changes = fast_json.decode(await request.read(), type=_WebhookSwitches)
        except DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        named = {name: getattr(changes, name) for name in changes.__struct_fields__}
        sender.change_switches(**{name: value for name, value in named.items() if value is not None})
        return web.Response(status=204)

    def _sender(self, request: web.Request) -> WebhookSender:
        sender = self._shop(request).webhooks
        if sender is None:
            raise web.HTTPNotFound(text="this platform sends no webhooks")
        return sender

    async def truth(self, request: web.Request) -> web.StreamResponse:
        """Stream the oracle: the shop's sellable items, one JSON object per line; money is text or null."""
        shop = self._shop(request)
        reply = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await reply.prepare(request)
        lines: list[bytes] = []
        for item in shop.catalog.sellable_items():
            row = {name: _json_value(value) for name, value in dataclasses.asdict(item).items()}
            lines.append(fast_json.encode(row) + b"\n")
            if len(lines) >= _LINES_PER_WRITE:
                await reply.write(b"".join(lines))
                lines.clear()
        await reply.write_eof(b"".join(lines))
        return reply

    async def stats(self, request: web.Request) -> web.Response:
        """Answer with the shop's request counters and the size of its catalog."""
        shop = self._shop(request)
        size = {"products": len(shop.catalog), "variants": shop.catalog.variant_count}
        return _json({**shop.requests.summary(), **size})

    def _shop(self, request: web.Request) -> Shop:
        shop = self._shops.get(request.match_info["domain"])
        if shop is None:
            raise web.HTTPNotFound(text="no such shop")
        return shop


class _ChurnOptions(Struct, forbid_unknown_fields=True):
    changes_per_second: float
    seed: int = 7


_Share = Annotated[float, Meta(ge=0, le=1)]
_NotNegative = Annotated[float, Meta(ge=0)]


class _WebhookSwitches(Struct, forbid_unknown_fields=True):
    """The fields of `DeliverySwitches`; None: unchanged."""

    lost: _Share | None = None
    doubled: _Share | None = None
    late: _Share | None = None
    late_seconds: _NotNegative | None = None
    shuffled: bool | None = None
    held: bool | None = None
    retry_delay_factor: _NotNegative | None = None


def _json(value: object) -> web.Response:
    return web.Response(body=fast_json.encode(value), content_type="application/json")


def _json_value(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
