"""Shops, and a Token Service, that fail in every way and write whatever they received into their replies."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from aiohttp import web

from tests.security.secrets import (
    SERVED_KEY,
    SERVED_SECRET,
    SHOPIFY_CLIENT_ID,
    SHOPIFY_CLIENT_SECRET,
    SHOPIFY_REFRESH_TOKEN,
)
from tests.waiting import until

STATUSES: Final = (400, 401, 402, 403, 404, 405, 410, 418, 422, 423, 429, 430, 500, 502, 503, 520)
KINDS: Final = (
    *(f"s{status}" for status in STATUSES),
    "html",
    "codes",
    "wrongjson",
    "truncated",
    "redirect",
    "redirectpath",
    "silent",
    "broken",
    "gzip",
)
"""How a shop fails."""
_RECEIVED: Final = web.AppKey("received", list[str])


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakingShops:
    """The running server; it serves each kind below a path of that name."""

    port: int
    received: list[str]
    """What the requests held, so that a test can see that each secret was sent."""

    def base_url(self, kind: str) -> str:
        """Return the base URL of a shop that fails like this."""
        return f"https://127.0.0.1:{self.port}/{kind}"


@asynccontextmanager
async def leaking_shops(certificate: Path) -> AsyncIterator[LeakingShops]:
    """Run the server with a PEM of key and certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    app = web.Application()
    received: list[str] = []
    app[_RECEIVED] = received
    app.router.add_route("*", "/api/v1/tokens/{platform}/{domain}", _token_service)
    app.router.add_route("*", "/{kind}{tail:.*}", _shop)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield LeakingShops(port=runner.addresses[0][1], received=received)
    finally:
        await runner.cleanup()


async def _shop(request: web.Request) -> web.StreamResponse:
    return await _fail(request, request.match_info["kind"].partition("/")[0])


async def _token_service(request: web.Request) -> web.StreamResponse:
    """Serve a key for "served…" domains, an app's refresh token for "refresh…", and fail for all others."""
    label = request.match_info["domain"].partition(".")[0]
    if label.startswith("served"):
        data = {"consumer_key": SERVED_KEY.value, "consumer_secret": SERVED_SECRET.value}
        return web.json_response({"data": data})
    if label.startswith("refresh"):
        app = {"client_id": SHOPIFY_CLIENT_ID.value, "client_secret": SHOPIFY_CLIENT_SECRET.value}
        return web.json_response({"data": {**app, "refresh_token": SHOPIFY_REFRESH_TOKEN.value}})
    return await _fail(request, label.removeprefix("ts-"))


async def _fail(request: web.Request, kind: str) -> web.StreamResponse:
    echo = await _received(request)
    request.app[_RECEIVED].append(echo)
    headers = {"WWW-Authenticate": f'Basic realm="{echo[:2_000]}"', "X-Request-Id": echo[:2_000]}
    if kind.startswith(("s4", "s5")):
        status = int(kind[1:])
        return web.Response(
            status=status, reason=echo[:500], text=_json(echo), headers=headers, content_type="application/json"
        )
    match kind:
        case "html":
            page = f"<!doctype html><html><title>{echo}</title></html>"
            return web.Response(text=page, content_type="text/html", headers=headers)
        case "codes":
            return web.Response(text=_codes(echo), content_type="application/json", headers=headers)
        case "truncated":
            return web.Response(text=_json(echo)[:-20], content_type="application/json", headers=headers)
        case "redirect":
            return web.Response(
                status=302, headers={"Location": f"https://elsewhere.example/?token={quote(echo)}"}
            )
        case "redirectpath":
            return web.Response(status=301, headers={"Location": f"https://elsewhere.example/{quote(echo)}/x"})
        case "silent":
            await until(lambda: request.transport is None or request.transport.is_closing())
        case "broken":
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + echo.encode()[:500])
            request.transport.close()
            return web.Response()
        case "gzip":
            return web.Response(body=echo.encode(), headers={"Content-Encoding": "gzip", **headers})
    return web.Response(text=_json(echo), content_type="application/json", headers=headers)


def _json(echo: str) -> str:
    """Return a body that is an error, or nearly a reply, of every platform."""
    error = {"message": echo, "extensions": {"documentation": echo, "cost": echo}, "path": [echo]}
    body = {
        "message": echo,
        "title": echo,
        "detail": echo,
        "data": {"status": 403, "shop": echo, "details": echo},
        "errors": [error, {"message": f"Access denied for {echo}"}],
        "error": echo,
        "error_description": echo,
        "name": echo,
        "manifest": echo,
        "signatures": [echo],
    }
    return json.dumps(body)


def _codes(echo: str) -> str:
    """Return a body with a part of a secret where a platform has a code or an id."""
    code = max(re.findall("[0-9a-z]+", echo), key=len, default="")
    extensions = {"code": code, "requestId": code, "requiredAccess": code}
    search = [{"warnings": [{"field": code, "code": code}]}]
    error = {"message": "", "extensions": extensions}
    return json.dumps({"code": code, "errors": [error], "data": None, "extensions": {"search": search}})


async def _received(request: web.Request) -> str:
    """Return all that may be a secret in a request, decoded, on one line."""
    body = (await request.read()).decode("utf-8", "replace")
    values = [*request.headers.values(), *request.query.values(), body]
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Basic "):
        values.append(base64.b64decode(authorization.removeprefix("Basic ")).decode())
    ours = [value for value in values if not value.startswith(("catalogsync/", "application/", "gzip"))]
    return " ".join(reversed(ours)).replace("\n", " ").replace("\r", " ")


def domains() -> Mapping[tuple[str, str], str]:
    """Return all shops, (platform, domain), with the kind of each.

    "app…" has an app's credentials, "served…" and "refresh…" those of the Token Service, and for "ts-…" the Token
    Service fails.
    """
    found = dict(stored_domains())
    for kind in KINDS:
        found["shopify", f"app{kind}.myshopify.com"] = kind
        found["shopify", f"refresh{kind}.myshopify.com"] = kind
        found["woocommerce", f"served{kind}.example"] = kind
        found["woocommerce", f"ts-{kind}.example"] = "s404"
    return found


def stored_domains() -> Mapping[tuple[str, str], str]:
    """Return the shops whose credentials are in the file, one of each platform and kind."""
    found: dict[tuple[str, str], str] = {}
    for kind in KINDS:
        found["shopify", f"{kind}.myshopify.com"] = kind
        found["bigcommerce", f"store-{kind}.mybigcommerce.com"] = kind
        found["woocommerce", f"{kind}.example"] = kind
        found["feed", f"{kind}.example"] = kind
    return found
