"""A fake store that responds with recordings of a real one.

The connector requests other fields and pages than the recorded requests did, so the store builds its responses
from everything that was recorded of each product and variation: values are recorded, their selection follows
WordPress (`_fields`, `offset`, `page`, `parent`, totals in headers).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from yarl import URL

from devstore.tls import TlsFiles
from tests.contract.woocommerce.recorded import RecordedReply, recorded, rows

KEY, SECRET = "ck_recorded", "cs_recorded"
Row = dict[str, Any]

# Recorded without `manage_stock` and `stock_status`; their stock is managed, and all are in stock.
_WITHOUT_STOCK_FIELDS = (216, 217, 219, 220, 225, 226, 228, 229, 231, 232, 234, 236)


def _merged(*names: str) -> dict[int, Row]:
    """Return everything that was recorded of each id; earlier recordings take precedence."""
    merged: dict[int, Row] = {}
    for row in rows(*names):
        merged[row["id"]] = {**row, **merged.get(row["id"], {})}
    return dict(sorted(merged.items()))


def recorded_products() -> dict[int, Row]:
    """Return the 60 products of the store, by id."""
    listed = {row["id"] for row in rows("products-lean-pp100")}
    merged = _merged(
        "products-lean-pp100",
        "products-full-p1-pp2",
        "products-full-p2-pp2",
        "products-full-p3-pp2",
        "products-full-include-awkward",
        "products-full-include-types",
        "products-full-meta",
        "products-images",
        "products-titles",
        "products-status-any",
    )
    return {key: row for key, row in merged.items() if key in listed}


def recorded_variations() -> dict[int, Row]:
    """Return the 156 variations that the store lists for all products, stale ones included, by id."""
    merged = _merged(
        "variations-all-wc-analytics-p1",
        "variations-all-wc-analytics-p2",
        "variations-all-wc-analytics-full2",
        "variations-66-full",
        "variations-70-inherited-sku",
        "variations-205-parent-stock",
        "variations-208-difficult",
        "variations-224-global-attribute",
        "variations-74-pp100-p1",
        "variations-74-pp100-p2",
        "variations-of-draft",
        "variations-of-was-variable",
    )
    for key in _WITHOUT_STOCK_FIELDS:
        merged[key] = {"manage_stock": True, "stock_status": "instock", **merged[key]}
    return merged


@dataclass(kw_only=True)
class ReplayStore:
    """The recorded store; its tables may be changed while it is read."""

    products: dict[int, Row] = field(default_factory=recorded_products)
    variations: dict[int, Row] = field(default_factory=recorded_variations)
    strips_authorization: bool = False
    has_analytics: bool = True
    has_official: bool = False
    has_currencies: bool = True
    noise: bytes = b""
    """Output of plugins before each JSON."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and parameters of every request; without keys."""

    async def answer(self, request: web.Request) -> web.Response:
        params = dict(request.query)
        by_query = (params.pop("consumer_key", ""), params.pop("consumer_secret", "")) == (KEY, SECRET)
        self.requests.append((request.method, request.path, params))
        reply = self._reply(request, params, by_query=by_query)
        if self.noise and isinstance(reply.body, bytes):
            return web.Response(status=reply.status, headers=_totals(reply), body=self.noise + reply.body)
        return reply

    def _reply(self, request: web.Request, params: dict[str, str], *, by_query: bool) -> web.Response:
        path = request.path.removeprefix("/wp-json/")
        if path == "":
            return _object(recorded("wp-json-index-small"), params)
        if not by_query and (self.strips_authorization or not _has_key(request)):
            return as_response(recorded("auth-none"))
        return self._api(path, params)

    def _api(self, path: str, params: dict[str, str]) -> web.Response:
        match path.split("/"):
            case ["wc", "v3", "products"]:
                return _list(self._select_products(params), params)
            case ["wc", "v3", "products", parent, "variations"]:
                return _list(self._variations_of_one(int(parent)), params)
            case ["wc", "v3", "variations"] if self.has_official:
                return _list(self._variations_of_many(params), params)
            case ["wc-analytics", "variations"] if self.has_analytics:
                return _list(self._variations_of_many(params), params)
            case ["wc", "v3", "settings", "general", "woocommerce_currency"]:
                return _object(recorded("settings-currency"), params)
            case ["wc", "v3", "data", "currencies", "current"] if self.has_currencies:
                return _object(recorded("data-currency-current"), params)
            case ["wc", "v3", "settings", "products", "woocommerce_weight_unit"]:
                return _object(recorded("settings-weight-unit"), params)
            case _:
                return as_response(recorded("variations-v3-all-404"))

    def _select_products(self, params: dict[str, str]) -> list[Row]:
        include = {int(key) for key in params.get("include", "").split(",") if key}
        selected = []
        for key in sorted(self.products):
            row = self.products[key]
            if include and key not in include:
                continue
            if "type" in params and row["type"] != params["type"]:
                continue
            modified = row["date_modified_gmt"]
            if not params.get("modified_after", "") < modified < params.get("modified_before", "9"):
                continue
            selected.append(row)
        return selected

    def _variations_of_one(self, parent: int) -> list[Row]:
        """Before 10.3 the list of one product has no `parent_id`."""
        hidden = {"parent_id", "name", "type"}
        variations = (row for row in self.variations.values() if row["parent_id"] == parent)
        return [{key: value for key, value in row.items() if key not in hidden} for row in variations]

    def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
        parents = {int(key) for key in params.get("parent", "").split(",") if key}
        return [row for row in self.variations.values() if not parents or row["parent_id"] in parents]


def as_response(reply: RecordedReply) -> web.Response:
    """Return a recorded response unchanged."""
    return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))


def _totals(reply: web.Response) -> dict[str, str]:
    """Return only these headers: after output PHP can no longer set the content type."""
    return {key: value for key, value in reply.headers.items() if key.startswith("X-WP-")}


def _has_key(request: web.Request) -> bool:
    wanted = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    return request.headers.get("Authorization") == f"Basic {wanted}"


def _list(found: list[Row], params: dict[str, str]) -> web.Response:
    per_page = int(params.get("per_page", "10"))
    start = int(params["offset"]) if "offset" in params else (int(params.get("page", "1")) - 1) * per_page
    page = [_cut(row, params) for row in found[start : start + per_page]]
    headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(-(-len(found) // per_page))}
    return web.json_response(page, headers=headers)


def _object(reply: RecordedReply, params: dict[str, str]) -> web.Response:
    return web.json_response(_cut(reply.json(), params))


def _cut(row: Row, params: dict[str, str]) -> Row:
    fields: Iterable[str] = params["_fields"].split(",") if "_fields" in params else row
    return {name: row[name] for name in fields if name in row}


@asynccontextmanager
async def listening(store: ReplayStore | OneReply, tls: TlsFiles | None) -> AsyncIterator[URL]:
    """Serve `store` on a free port, over https if there are certificates, and yield its base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", store.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context() if tls else None)
        await site.start()
        yield URL.build(scheme="https" if tls else "http", host="127.0.0.1", port=runner.addresses[0][1])
    finally:
        await runner.cleanup()


@dataclass(kw_only=True)
class OneReply:
    """A store with the same response to every request, except the index if `valid_index`."""

    reply: RecordedReply
    valid_index: bool = True
    request_count: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.request_count += 1
        if self.valid_index and request.path == "/wp-json/":
            return as_response(recorded("wp-json-index-small"))
        return as_response(self.reply)
