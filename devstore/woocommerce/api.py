"""Answers the requests of one WooCommerce shop."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import json as fast_json

from devstore.catalog.catalog import Catalog, now
from devstore.request_log import Note
from devstore.woocommerce import listing
from devstore.woocommerce import site as about
from devstore.woocommerce.auth import Keys
from devstore.woocommerce.errors import RestError, invalid_product, invalid_variation, no_route
from devstore.woocommerce.json_fields import Json
from devstore.woocommerce.list_query import ListQuery, read_fields, read_list_query
from devstore.woocommerce.listing import Rows
from devstore.woocommerce.product_json import (
    product_json,
    variation_as_product,
    variation_json,
    with_name,
    with_parent,
)
from devstore.woocommerce.quirks import SharedHost, WooQuirk
from devstore.woocommerce.urls import find_route, index_link, list_headers

_HEADERS = {
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Expose-Headers": "X-WP-Total, X-WP-TotalPages, Link",
    "Access-Control-Allow-Headers": "Authorization, X-WP-Nonce, Content-Disposition, Content-MD5, Content-Type",
    "Expires": "Wed, 11 Jan 1984 05:00:00 GMT",
    "Cache-Control": "no-cache, must-revalidate, max-age=0, no-store, private",
}
_NOTICE = (
    b"<br />\n<b>Warning</b>:  Undefined array key 0 in <b>/wp-content/plugins/x.php</b> on line <b>7</b><br />\n"
)
Handler = Callable[["_Ask", re.Match[str]], "tuple[Any, dict[str, str]]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One request to a route."""

    request: web.Request
    route: str
    url: str
    """As the store writes it, without the query."""
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    name: str
    pattern: re.Pattern[str]
    handler: Handler
    single: bool = False
    public: bool = False
    bulk: bool = False


class WooCommerceFace:
    """One shop's REST API."""

    def __init__(
        self, catalog: Catalog, *, quirks: Set[WooQuirk] = frozenset(), clock: Callable[[], datetime] = now
    ) -> None:
        self._catalog = catalog
        self._quirks = quirks
        self._keys = Keys(catalog.spec, quirks, clock)
        self.host = SharedHost(workers=catalog.spec.workers, seconds=catalog.spec.work_ms / 1000)
        self._routes = list(self._table())

    async def answer(self, request: web.Request, path: str, site: str, note: Note) -> web.Response:
        async with self.host.serving() as refusal:
            return refusal or self._answer(request, path, site, note)

    def _answer(self, request: web.Request, path: str, site: str, note: Note) -> web.Response:
        found = find_route(request, path, self._quirks)
        if isinstance(found, web.Response):
            return found
        if WooQuirk.OTHER_HOME in self._quirks:
            site = f"{request.scheme}://www.{self._catalog.spec.domain}/shop"
        ask = _Ask(request=request, route=found, url=f"{site}/{path}", site=site)
        try:
            body, headers = self._dispatch(ask, note)
        except RestError as error:
            return self._json(error.body, {"Link": index_link(site)}, status=error.status)
        return self._json(body, {"Link": index_link(site), **headers})

    def _dispatch(self, ask: _Ask, note: Note) -> tuple[Any, dict[str, str]]:
        for route in self._routes:
            if route.bulk and WooQuirk.NO_BULK_VARIATIONS in self._quirks:
                continue
            match = route.pattern.fullmatch(ask.route)
            if match:
                note.operation = route.name
                if not route.public:
                    self._keys.check(ask.request, single=route.single, url=ask.url)
                return route.handler(ask, match)
        raise no_route()

    def _table(self) -> Iterable[_Route]:
        def route(name: str, pattern: str, handler: Handler, **kind: bool) -> _Route:
            return _Route(name=name, pattern=re.compile(pattern), handler=handler, **kind)

        variation = r"wc/v3/products/(\d+)/variations"
        yield route("index", "", self._index, public=True)
        yield route("namespace", "wc/v3", self._namespace, public=True)
        yield route("products", "wc/v3/products", self._products)
        yield route("product", r"wc/v3/products/(\d+)", self._product, single=True)
        yield route("product_variations", variation, self._variations_of)
        yield route("variation", variation + r"/(\d+)", self._variation, single=True)
        if self._catalog.spec.version != "8.2":
            yield route("variations", "wc/v3/variations", self._variations, bulk=True)
        yield route("analytics_variations", "wc-analytics/variations", self._analytics_variations, bulk=True)
        yield route("currency", "wc/v3/data/currencies/current", self._currency, single=True)
        yield route("setting", r"wc/v3/settings/(general|products)/(\w+)", self._setting, single=True)
        yield route("system_status", "wc/v3/system_status", self._status)

    # -- products

    def _products(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        asked = read_list_query(ask.request.query, variations=False)
        rows = listing.products(self._catalog, asked)
        return self._list(ask, asked, rows, [self._any_product(i, ask.site) for i in rows.ids])

    def _product(self, ask: _Ask, match: re.Match[str]) -> tuple[Any, dict[str, str]]:
        shown = self._any_product(int(match[1]), ask.site)
        if shown is None:
            raise invalid_product()
        return _only(shown, _kept(ask, {"_links"})), {"Allow": "GET, POST, PUT, PATCH, DELETE"}

    def _any_product(self, number: int, site: str) -> Json | None:
        """A product, or a variation in a product's clothes."""
        product = self._catalog.product(number)
        if product:
            shown = product_json(self._catalog, product, site)
            if WooQuirk.STALE_CHILDREN in self._quirks and shown["variations"]:
                shown["variations"] += self._catalog.stale_children(number)
            return shown
        found = self._catalog.variant(number)
        return variation_as_product(self._catalog, *found, site) if found else None

    # -- variations

    def _variations_of(self, ask: _Ask, match: re.Match[str]) -> tuple[Any, dict[str, str]]:
        parent = int(match[1])
        asked = read_list_query(ask.request.query, variations=True, parent=parent)
        rows = listing.variations(self._catalog, asked)
        shown = [self._shown(i, ask.site, asked, "wc/v3", parent) for i in rows.ids]
        return self._list(ask, asked, rows, shown)

    def _variation(self, ask: _Ask, match: re.Match[str]) -> tuple[Any, dict[str, str]]:
        # The parent in the address is not checked; the platform does not either.
        found = self._catalog.variant(int(match[2]))
        if found is None:
            raise invalid_variation()
        edit = ask.request.query.get("context") == "edit"
        shown = variation_json(*found, ask.site, edit=edit, under=int(match[1]))
        return _only(shown, _kept(ask, {"_links"})), {"Allow": "GET, POST, PUT, PATCH, DELETE"}

    def _variations(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        asked = read_list_query(ask.request.query, variations=True)
        rows = listing.variations(self._catalog, asked, stale=self._has_stale)
        return self._list(ask, asked, rows, [self._shown(i, ask.site, asked, "wc/v3", 0) for i in rows.ids])

    def _analytics_variations(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        asked = read_list_query(ask.request.query, variations=True)
        rows = listing.variations(self._catalog, asked, stale=self._has_stale)
        shown = [self._shown(i, ask.site, asked, "wc-analytics", 0) for i in rows.ids]
        body, headers = self._list(ask, asked, rows, shown)
        return body, headers | {"Allow": "GET"}

    def _shown(self, number: int, site: str, asked: ListQuery, space: str, under: int) -> Json | None:
        if number == listing.ORPHAN_ID:
            return self._orphan(site, asked, space)
        found = self._catalog.variant(number)
        if found is None:
            return None
        shown = variation_json(*found, site, edit=asked.edit, space=space, under=under)
        if space == "wc-analytics":
            return with_name(shown, *found)
        return shown if under else with_parent(shown, found[0])

    def _orphan(self, site: str, asked: ListQuery, space: str) -> Json | None:
        """A variation whose product was deleted by SQL."""
        like = next((row.variant_ids[0] for row in self._catalog.rows() if row.variant_ids), None)
        shown = None if like is None else self._shown(like, site, asked, space, 0)
        return None if shown is None else {**shown, "id": listing.ORPHAN_ID, "parent_id": 0, "permalink": False}

    @property
    def _has_stale(self) -> bool:
        return WooQuirk.STALE_VARIATIONS in self._quirks

    # -- the site

    def _index(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        return about.pick(about.index(self._catalog, ask.site), _kept(ask, set())), {"Allow": "GET"}

    def _namespace(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        return about.namespace(ask.site), {"Allow": "GET"}

    def _currency(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        shown = about.currency(self._catalog, ask.site)
        return _only(shown, _kept(ask, {"_links"})), {"Allow": "GET"}

    def _setting(self, ask: _Ask, match: re.Match[str]) -> tuple[Any, dict[str, str]]:
        shown = about.setting(self._catalog, ask.site, match[1], match[2])
        return _only(shown, _kept(ask, {"_links"})), {"Allow": "GET, POST, PUT, PATCH"}

    def _status(self, ask: _Ask, _: re.Match[str]) -> tuple[Any, dict[str, str]]:
        return about.pick(about.status(self._catalog, ask.site), _kept(ask, set())), {"Allow": "GET"}

    # -- inside

    def _json(self, body: Any, headers: dict[str, str], *, status: int = 200) -> web.Response:
        encoded, kind = fast_json.encode(body), "application/json"
        if WooQuirk.BYTE_ORDER_MARK in self._quirks:
            encoded = codecs.BOM_UTF8 + encoded
        if WooQuirk.NOTICES in self._quirks:
            encoded, kind = _NOTICE + encoded, "text/html"
        return web.Response(
            body=encoded, status=status, headers=_HEADERS | headers, content_type=kind, charset="UTF-8"
        )

    def _list(
        self, ask: _Ask, asked: ListQuery, rows: Rows, shown: Iterable[Json | None]
    ) -> tuple[Any, dict[str, str]]:
        names = _kept(ask, set())
        body = [_only(one, names) for one in shown if one is not None]
        query = ask.request.query.items()
        headers = list_headers(
            ask.site, ask.route, query, page=asked.page, per_page=asked.per_page, total=rows.total
        )
        return body, {"Allow": "GET, POST", **headers}


def _kept(ask: _Ask, always: set[str]) -> frozenset[str] | None:
    names = read_fields(ask.request.query)
    return names | always if names else None


def _only(shown: Json, names: frozenset[str] | None) -> Json:
    return shown if names is None else {name: value for name, value in shown.items() if name in names}
