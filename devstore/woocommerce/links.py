"""The headers of a list: totals, and the Link with all its oddities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

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
