"""URLs: which API route a request addresses, if any, and the Link headers of lists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Set
from urllib.parse import quote, quote_plus

from aiohttp import web

from devstore.woocommerce.quirks import WooQuirk

_REST = re.compile(r"(?P<index>index\.php/)?wp-json(?:/(?P<route>.*?))?/?")
_NOT_FOUND_PAGE = '<!doctype html><html lang="en-US"><head><title>Page not found</title></head></html>\n'
_HOME_PAGE = '<!doctype html><html lang="en-US"><head><title>A store</title></head><body></body></html>\n'
_FIREWALL_PAGE = "<!doctype html><html><head><title>One moment, please...</title></head></html>\n"


def find_route(request: web.Request, path: str, quirks: Set[WooQuirk]) -> str | web.Response:
    """Return the route that a request addresses, or the reply when the API is not there.

    Args:
        request: The request.
        path: The path below the shop's base URL.
        quirks: The shop's quirks, some of which move the API.
    """
    if WooQuirk.WEB_PAGE in quirks:
        return _page(_FIREWALL_PAGE)
    if path in ("", "index.php") and "rest_route" in request.query:
        return request.query["rest_route"].strip("/")
    match = _REST.fullmatch(path)
    if match is None:
        return _page(_NOT_FOUND_PAGE, status=404)
    if WooQuirk.PLAIN_PERMALINKS in quirks:
        return _home_or_redirect(request)
    if WooQuirk.NO_REWRITING in quirks and not match["index"]:
        return _page(_NOT_FOUND_PAGE, status=404)
    return match["route"] or ""


def _home_or_redirect(request: web.Request) -> web.Response:
    if request.path.endswith("/"):
        return _page(_HOME_PAGE)
    headers = {
        "Location": str(request.url.with_path(request.path + "/", keep_query=True)),
        "X-Redirect-By": "WordPress",
    }
    return web.Response(status=301, headers=headers, content_type="text/html", charset="UTF-8")


def _page(text: str, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="UTF-8")


_LIST_PARAMS = {"include", "exclude", "parent"}
_BROKEN_ANALYTICS_BASE = r"wc-analytics/products/(?P<product_id>%5B\d%5D"


def index_link(site: str) -> str:
    """Return the Link header of a reply without neighbouring pages."""
    return f'<{site}/wp-json/>; rel="https://api.w.org/"'


def list_headers(
    site: str, route: str, query: Iterable[tuple[str, str]], *, page: int, per_page: int, total: int
) -> dict[str, str]:
    """Return X-WP-Total, X-WP-TotalPages and Link.

    The links repeat the whole query, keys included. On wc-analytics their address is malformed.
    """
    pages = -(-total // per_page)
    params = list(query)
    links = []
    if page > 1 and pages:
        links.append(f'<{_page_url(site, route, params, min(page - 1, pages))}>; rel="prev"')
    if page < pages:
        links.append(f'<{_page_url(site, route, params, page + 1)}>; rel="next"')
    return {
        "X-WP-Total": str(total),
        "X-WP-TotalPages": str(pages),
        "Link": ", ".join(links) or index_link(site),
    }


def _page_url(site: str, route: str, params: list[tuple[str, str]], page: int) -> str:
    indexes: Counter[str] = Counter()
    pairs = [pair for name, value in params for pair in _encode_param(name, value, page, indexes)]
    if not any(pair.startswith("page=") for pair in pairs):
        pairs.append(f"page={page}")
    text = "&".join(pairs)
    if route.startswith("wc-analytics"):
        return f"{site}/wp-json/{_BROKEN_ANALYTICS_BASE}&{text}"
    return f"{site}/wp-json/{route}?{text}"


def _encode_param(name: str, value: str, page: int, indexes: Counter[str]) -> list[str]:
    """Encode one parameter; `indexes` counts the values of each `name[]` so far, which WordPress numbers."""
    if name == "page":
        return [f"page={page}"]
    if name in _LIST_PARAMS:
        # WordPress has already turned the comma-separated list into an array.
        return [f"{name}%5B{index}%5D={quote_plus(part)}" for index, part in enumerate(value.split(","))]
    if name.endswith("[]"):
        index, indexes[name] = indexes[name], indexes[name] + 1
        name = f"{name[:-2]}[{index}]"
    return [f"{quote(name, safe='')}={quote_plus(value)}"]
