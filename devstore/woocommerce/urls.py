"""Which route of the API an address means, if the API is there at all.

The headers of a list: totals, and the Link with all its oddities."""

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


_LIST_PARAMS = {"include", "exclude", "parent"}
_BROKEN_ANALYTICS_BASE = r"wc-analytics/products/(?P<product_id>%5B\d%5D"


def index_link(site: str) -> str:
    """The Link of every reply that has no other pages."""
    return f'<{site}/wp-json/>; rel="https://api.w.org/"'


def list_headers(
    site: str, route: str, query: Iterable[tuple[str, str]], *, page: int, per_page: int, total: int
) -> dict[str, str]:
    """X-WP-Total, X-WP-TotalPages and Link.

    The Link repeats the query with keys and all. On wc-analytics its address is broken text.
    """
    pages = -(-total // per_page)
    params = list(query)
    links = []
    if page > 1 and pages:
        links.append(f'<{_address(site, route, params, min(page - 1, pages))}>; rel="prev"')
    if page < pages:
        links.append(f'<{_address(site, route, params, page + 1)}>; rel="next"')
    return {
        "X-WP-Total": str(total),
        "X-WP-TotalPages": str(pages),
        "Link": ", ".join(links) or index_link(site),
    }


def _address(site: str, route: str, params: list[tuple[str, str]], page: int) -> str:
    places: Counter[str] = Counter()
    pairs = [pair for name, value in params for pair in _encoded(name, value, page, places)]
    if not any(pair.startswith("page=") for pair in pairs):
        pairs.append(f"page={page}")
    text = "&".join(pairs)
    if route.startswith("wc-analytics"):
        return f"{site}/wp-json/{_BROKEN_ANALYTICS_BASE}&{text}"
    return f"{site}/wp-json/{route}?{text}"


def _encoded(name: str, value: str, page: int, places: Counter[str]) -> list[str]:
    """`places` counts the values seen of each `name[]`, which WordPress numbers."""
    if name == "page":
        return [f"page={page}"]
    if name in _LIST_PARAMS:
        # WordPress has turned the comma list into an array by then.
        return [f"{name}%5B{place}%5D={quote_plus(part)}" for place, part in enumerate(value.split(","))]
    if name.endswith("[]"):
        place, places[name] = places[name], places[name] + 1
        name = f"{name[:-2]}[{place}]"
    return [f"{quote(name, safe='')}={quote_plus(value)}"]
