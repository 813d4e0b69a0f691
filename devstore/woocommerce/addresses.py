"""Which route of the API an address means, if the API is there at all."""

from __future__ import annotations

import re
from collections.abc import Set

from aiohttp import web

from devstore.woocommerce.quirk import WooQuirk

_REST = re.compile(r"(?P<index>index\.php/)?wp-json(?:/(?P<route>.*?))?/?")
_NOT_FOUND_PAGE = '<!doctype html><html lang="en-US"><head><title>Page not found</title></head></html>\n'
_HOME_PAGE = '<!doctype html><html lang="en-US"><head><title>A store</title></head><body></body></html>\n'
_FIREWALL_PAGE = "<!doctype html><html><head><title>One moment, please...</title></head></html>\n"


def find_route(request: web.Request, path: str, quirks: Set[WooQuirk]) -> str | web.Response:
    """The route, or what answers instead of the API."""
    if WooQuirk.WEB_PAGE in quirks:
        return _page(_FIREWALL_PAGE)
    if path in ("", "index.php") and "rest_route" in request.query:
        return request.query["rest_route"].strip("/")
    match = _REST.fullmatch(path)
    if match is None:
        return _page(_NOT_FOUND_PAGE, status=404)
    if WooQuirk.PLAIN_PERMALINKS in quirks:
        return _home(request)
    if WooQuirk.NO_REWRITING in quirks and not match["index"]:
        return _page(_NOT_FOUND_PAGE, status=404)
    return match["route"] or ""


def _home(request: web.Request) -> web.Response:
    if request.path.endswith("/"):
        return _page(_HOME_PAGE)
    headers = {
        "Location": str(request.url.with_path(request.path + "/", keep_query=True)),
        "X-Redirect-By": "WordPress",
    }
    return web.Response(status=301, headers=headers, content_type="text/html", charset="UTF-8")


def _page(text: str, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="UTF-8")
