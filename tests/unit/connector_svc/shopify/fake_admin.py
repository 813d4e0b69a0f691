"""A fake Admin API over a real socket: serves products and the faults that a test injects."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.unit.connector_svc.shopify.nodes_json import Json

DOMAIN = "demo.myshopify.com"
Fault = Callable[[str, Json], web.Response | None]
"""Called with operation and variables; returns the reply to send instead, or None."""


def graphql(errors: list[Json] | None = None, data: Any = None, **extensions: Any) -> web.Response:
    """Return a GraphQL reply with status 200."""
    body: Json = {"data": data, "extensions": extensions}
    return reply(body | ({"errors": errors} if errors else {}))


def reply(body: Any) -> web.Response:
    """Return a reply of any JSON with Shopify's headers."""
    headers = {"X-Shopify-API-Version": "2026-10", "Date": "Fri, 20 Nov 2026 10:00:00 GMT"}
    return web.json_response(body, headers=headers)


def error(code: str, *path: str | int) -> Json:
    """Return one entry of `errors`."""
    return {"message": code.lower(), "extensions": {"code": code}} | ({"path": list(path)} if path else {})


@dataclass
class FakeAdmin:
    """The shop and its faults."""

    products: list[Json] = field(default_factory=list)
    """In id order."""
    token: str = "right"
    domain: str = DOMAIN
    scopes: tuple[str, ...] = ("read_products", "read_inventory")
    version: str = "2026-10"
    currency: str = "EUR"
    phantom_products: int = 0
    """Counted, never delivered."""
    faults: deque[Fault] = field(default_factory=deque)
    """Each is used for one request, in order."""
    permanent_fault: Fault | None = None
    """Used for every request without another fault."""
    on_reply: Callable[[str, Json, Json], None] | None = None
    """Called with operation, variables and body; may change the body, and the shop."""
    cost: Json = field(default_factory=dict)
    calls: list[tuple[str, Json]] = field(default_factory=list)
    running: int = 0
    max_running: int = 0

    def count(self, operation: str) -> int:
        """Return the number of calls of an operation."""
        return Counter(name for name, _ in self.calls)[operation]

    def sizes(self, operation: str) -> list[int]:
        """Return the values of `first` in the calls of an operation."""
        return [variables["first"] for name, variables in self.calls if name == operation]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle one request."""
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            return await self._handle(request)
        finally:
            self.running -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        request_body = await request.json()
        found = re.match(r"query (\w+)", request_body["query"])
        assert found
        operation, variables = found[1], request_body["variables"]
        self.calls.append((operation, variables))
        await asyncio.sleep(0)
        if request.headers.get("X-Shopify-Access-Token") != self.token:
            return web.json_response({"errors": "[API] Invalid API key or access token"}, status=401)
        fault = self.faults.popleft() if self.faults else self.permanent_fault
        fault_reply = fault(operation, variables) if fault else None
        if fault_reply is not None:
            return fault_reply
        body: Json = {"data": getattr(self, f"_{operation.lower()}")(variables), "extensions": {"cost": self.cost}}
        body = deepcopy(body)
        if self.on_reply:
            self.on_reply(operation, variables, body)
        headers = {"X-Shopify-API-Version": self.version, "Date": "Fri, 20 Nov 2026 10:00:00 GMT"}
        return web.json_response(body, headers=headers)

    def _passstart(self, variables: Json) -> Json:
        return {
            "shop": {
                "id": "gid://shopify/Shop/77",
                "name": "Demo",
                "myshopifyDomain": self.domain,
                "currencyCode": self.currency,
            },
            "currentAppInstallation": {"accessScopes": [{"handle": scope} for scope in self.scopes]},
            "productVariantsCount": {
                "count": sum(len(p["variants"]["nodes"]) for p in self.products),
                "precision": "EXACT",
            },
            "productsCount": self._productcount(variables)["productsCount"],
        }

    def _productcount(self, variables: Json) -> Json:
        count = len(self._search(variables.get("query"))) + self.phantom_products
        return {
            "shop": {"currencyCode": self.currency},
            "productsCount": {"count": count, "precision": "EXACT"},
        }

    def _productids(self, variables: Json) -> Json:
        page = self._productpage(variables)
        page["products"]["nodes"] = [{"id": node["id"]} for node in page["products"]["nodes"]]
        return page

    def _inventoryprobe(self, variables: Json) -> Json:
        return {"productVariants": {"nodes": [{"inventoryItem": {"tracked": True}}]}}

    def _variantstock(self, variables: Json) -> Json:
        return {"productVariants": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}

    def _productdeletions(self, variables: Json) -> Json:
        return {"events": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}

    def _productpage(self, variables: Json) -> Json:
        after = int(variables["after"] or 0)
        rest = [node for node in self._search(variables["query"]) if number(node) > after]
        page = rest[: variables["first"]]
        end = str(number(page[-1])) if page else None
        nodes = [self._with_variants(node, 250, 0) for node in page]
        return {"products": {"nodes": nodes, "pageInfo": {"hasNextPage": len(rest) > len(page), "endCursor": end}}}

    def _productsbyid(self, variables: Json) -> Json:
        found = {node["id"]: self._with_variants(node, 250, 0) for node in self.products}
        return {"nodes": [found.get(gid) for gid in variables["ids"]]}

    def _singleproduct(self, variables: Json) -> Json:
        found = [node for node in self.products if node["id"] == variables["id"]]
        start = int(variables["after"] or 0)
        return {"product": self._with_variants(found[0], variables["first"], start) if found else None}

    def _with_variants(self, node: Json, first: int, start: int) -> Json:
        every = node["variants"]["nodes"]
        end = start + first
        info = {"hasNextPage": len(every) > end, "endCursor": str(end)}
        return node | {"variants": {"nodes": every[start:end], "pageInfo": info}}

    def _search(self, query: str | None) -> list[Json]:
        tests = re.findall(r"(\w+):(>=|<=|>)'?([^' ]+)'?", query or "")
        return [node for node in self.products if all(_matches(node, *test) for test in tests)]


def number(node: Json) -> int:
    """Return the numeric id of a node."""
    return int(node["id"].rpartition("/")[2])


def _matches(node: Json, name: str, op: str, value: str) -> bool:
    if name == "id":
        if op == "<=":
            return number(node) <= int(value)
        return number(node) >= int(value) if op == ">=" else number(node) > int(value)
    time: str = node["createdAt" if name == "created_at" else "updatedAt"]
    return time >= value if op == ">=" else time <= value


@asynccontextmanager
async def serving(admin: FakeAdmin) -> AsyncIterator[str]:
    """Serve `admin` and yield its base URL."""
    app = web.Application()
    app.router.add_post("/admin/api/2026-10/graphql.json", admin.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def html(text: str = "<html>Hello</html>", status: int = 200) -> web.Response:
    """Return a web page."""
    return web.Response(text=text, status=status, content_type="text/html")


def status(code: int) -> web.Response:
    """Return an HTTP error in Shopify's format."""
    return web.Response(text=json.dumps({"errors": "no"}), status=code, content_type="application/json")
