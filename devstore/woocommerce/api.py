"""The REST API of one WooCommerce shop: routes and replies."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Set
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec import json as fast_json

from devstore.catalog.catalog import Catalog, now
from devstore.request_log import RequestRecord
from devstore.webhooks.sender import WebhookSender
from devstore.woocommerce import listing
from devstore.woocommerce import site as site_resources
from devstore.woocommerce.auth import Authenticator
from devstore.woocommerce.errors import RestError, invalid_product, invalid_variation, no_route
from devstore.woocommerce.json_fields import Json
from devstore.woocommerce.list_query import ListQuery, read_fields, read_list_query
from devstore.woocommerce.listing import IdPage
from devstore.woocommerce.product_json import (
    product_json,
    variation_as_product,
    variation_json,
    with_name_and_parent_id,
    with_parent_id,
)
from devstore.woocommerce.quirks import SharedHost, WooQuirk
from devstore.woocommerce.routes import ApiRequest, BodyAndHeaders, Handler, Route
from devstore.woocommerce.urls import find_route, index_link, list_headers
from devstore.woocommerce.webhook_routes import webhook_routes
from devstore.woocommerce.webhooks import DELIVERY_POLICY, WooWebhooks

_COMMON_HEADERS = {
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Expose-Headers": "X-WP-Total, X-WP-TotalPages, Link",
    "Access-Control-Allow-Headers": "Authorization, X-WP-Nonce, Content-Disposition, Content-MD5, Content-Type",
    "Expires": "Wed, 11 Jan 1984 05:00:00 GMT",
    "Cache-Control": "no-cache, must-revalidate, max-age=0, no-store, private",
}
_PHP_WARNING = (
    b"<br />\n<b>Warning</b>:  Undefined array key 0 in <b>/wp-content/plugins/x.php</b> on line <b>7</b><br />\n"
)


class WooCommerceApi:
    """The REST API of one shop."""

    def __init__(
        self, catalog: Catalog, *, quirks: Set[WooQuirk] = frozenset(), clock: Callable[[], datetime] = now
    ) -> None:
        self._catalog = catalog
        self._quirks = quirks
        self._authenticator = Authenticator(catalog.spec, quirks, clock)
        self.sender = WebhookSender(DELIVERY_POLICY)
        self.webhooks = WooWebhooks(catalog, self.sender, clock, home=self._home)
        catalog.on_change = self.webhooks.notify
        self.host = SharedHost(workers=catalog.spec.workers, seconds=catalog.spec.work_ms / 1000)
        self._routes = list(self._route_table())

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        async with self.host.serving() as unavailable:
            reply = unavailable or self._answer(request, path, site, record, await request.read())
            await self.webhooks.send_due_pings()
            return reply

    def _home(self) -> str:
        """Return the shop's own address, which its webhooks name."""
        domain = self._catalog.spec.domain
        return f"https://www.{domain}/shop" if WooQuirk.OTHER_HOME in self._quirks else f"https://{domain}"

    def _answer(
        self, request: web.Request, path: str, site: str, record: RequestRecord, body: bytes
    ) -> web.Response:
        found = find_route(request, path, self._quirks)
        if isinstance(found, web.Response):
            return found
        if WooQuirk.OTHER_HOME in self._quirks:
            site = f"{request.scheme}://www.{self._catalog.spec.domain}/shop"
        api_request = ApiRequest(http=request, route=found, url=f"{site}/{path}", site=site, body=body)
        try:
            route, match = self._find_route(api_request, record)
            resource, headers = route.handler(api_request, match)
        except RestError as error:
            return self._json(error.body, {"Link": index_link(site)}, status=error.status)
        return self._json(resource, {"Link": index_link(site), **headers}, status=route.status)

    def _find_route(self, request: ApiRequest, record: RequestRecord) -> tuple[Route, re.Match[str]]:
        for route in self._routes:
            if route.methods and request.http.method not in route.methods:
                continue
            if route.bulk and WooQuirk.NO_BULK_VARIATIONS in self._quirks:
                continue
            match = route.pattern.fullmatch(request.route)
            if match:
                record.operation = route.name
                if not route.public:
                    self._authenticator.check(request.http, single=route.single, url=request.url)
                return route, match
        raise no_route()

    def _route_table(self) -> Iterable[Route]:
        def route(name: str, pattern: str, handler: Handler, **kind: Any) -> Route:
            return Route(name=name, pattern=re.compile(pattern), handler=handler, **kind)

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
        yield from webhook_routes(self.webhooks)

    # -- products

    def _products(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        query = read_list_query(request.http.query, variations=False)
        rows = listing.products(self._catalog, query)
        return self._list(request, query, rows, [self._product_or_variation(i, request.site) for i in rows.ids])

    def _product(self, request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        resource = self._product_or_variation(int(match[1]), request.site)
        if resource is None:
            raise invalid_product()
        return _select(resource, _fields(request, {"_links"})), {"Allow": "GET, POST, PUT, PATCH, DELETE"}

    def _product_or_variation(self, number: int, site: str) -> Json | None:
        """Return a product, or a variation with the fields of a product; None for an unknown id."""
        product = self._catalog.product(number)
        if product:
            resource = product_json(self._catalog, product, site)
            if WooQuirk.STALE_CHILDREN in self._quirks and resource["variations"]:
                resource["variations"] += self._catalog.stale_children(number)
            return resource
        found = self._catalog.variant(number)
        return variation_as_product(self._catalog, *found, site) if found else None

    # -- variations

    def _variations_of(self, request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        parent = int(match[1])
        query = read_list_query(request.http.query, variations=True, parent=parent)
        rows = listing.variations(self._catalog, query)
        resource = [self._variation_json(i, request.site, query, "wc/v3", parent) for i in rows.ids]
        return self._list(request, query, rows, resource)

    def _variation(self, request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        # The parent in the URL is not checked, as on the platform.
        found = self._catalog.variant(int(match[2]))
        if found is None:
            raise invalid_variation()
        edit = request.http.query.get("context") == "edit"
        resource = variation_json(*found, request.site, edit=edit, url_parent_id=int(match[1]))
        return _select(resource, _fields(request, {"_links"})), {"Allow": "GET, POST, PUT, PATCH, DELETE"}

    def _variations(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        query = read_list_query(request.http.query, variations=True)
        rows = listing.variations(self._catalog, query, stale=self._lists_stale_variations)
        return self._list(
            request,
            query,
            rows,
            [self._variation_json(i, request.site, query, "wc/v3", 0) for i in rows.ids],
        )

    def _analytics_variations(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        query = read_list_query(request.http.query, variations=True)
        rows = listing.variations(self._catalog, query, stale=self._lists_stale_variations)
        resource = [self._variation_json(i, request.site, query, "wc-analytics", 0) for i in rows.ids]
        body, headers = self._list(request, query, rows, resource)
        return body, headers | {"Allow": "GET"}

    def _variation_json(
        self, number: int, site: str, query: ListQuery, namespace: str, url_parent_id: int
    ) -> Json | None:
        if number == listing.ORPHAN_ID:
            return self._orphan(site, query, namespace)
        found = self._catalog.variant(number)
        if found is None:
            return None
        resource = variation_json(*found, site, edit=query.edit, namespace=namespace, url_parent_id=url_parent_id)
        if namespace == "wc-analytics":
            return with_name_and_parent_id(resource, *found)
        return resource if url_parent_id else with_parent_id(resource, found[0])

    def _orphan(self, site: str, query: ListQuery, namespace: str) -> Json | None:
        """Return a variation whose product was deleted by SQL."""
        template = next((row.variant_ids[0] for row in self._catalog.rows() if row.variant_ids), None)
        resource = None if template is None else self._variation_json(template, site, query, namespace, 0)
        return (
            None if resource is None else {**resource, "id": listing.ORPHAN_ID, "parent_id": 0, "permalink": False}
        )

    @property
    def _lists_stale_variations(self) -> bool:
        return WooQuirk.STALE_VARIATIONS in self._quirks

    # -- the site

    def _index(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        return site_resources.select_fields(
            site_resources.index(self._catalog, request.site), _fields(request, set())
        ), {"Allow": "GET"}

    def _namespace(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        return site_resources.namespace(request.site), {"Allow": "GET"}

    def _currency(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        resource = site_resources.currency(self._catalog, request.site)
        return _select(resource, _fields(request, {"_links"})), {"Allow": "GET"}

    def _setting(self, request: ApiRequest, match: re.Match[str]) -> BodyAndHeaders:
        resource = site_resources.setting(self._catalog, request.site, match[1], match[2])
        return _select(resource, _fields(request, {"_links"})), {"Allow": "GET, POST, PUT, PATCH"}

    def _status(self, request: ApiRequest, _: re.Match[str]) -> BodyAndHeaders:
        return site_resources.select_fields(
            site_resources.status(self._catalog, request.site), _fields(request, set())
        ), {"Allow": "GET"}

    # -- replies

    def _json(self, body: Any, headers: dict[str, str], *, status: int = 200) -> web.Response:
        encoded, kind = fast_json.encode(body), "application/json"
        if WooQuirk.BYTE_ORDER_MARK in self._quirks:
            encoded = codecs.BOM_UTF8 + encoded
        if WooQuirk.NOTICES in self._quirks:
            encoded, kind = _PHP_WARNING + encoded, "text/html"
        return web.Response(
            body=encoded, status=status, headers=_COMMON_HEADERS | headers, content_type=kind, charset="UTF-8"
        )

    def _list(
        self, request: ApiRequest, query: ListQuery, rows: IdPage, resource: Iterable[Json | None]
    ) -> BodyAndHeaders:
        names = _fields(request, set())
        body = [_select(one, names) for one in resource if one is not None]
        params = request.http.query.items()
        headers = list_headers(
            request.site, request.route, params, page=query.page, per_page=query.per_page, total=rows.total
        )
        return body, {"Allow": "GET, POST", **headers}


def _fields(request: ApiRequest, always: set[str]) -> frozenset[str] | None:
    names = read_fields(request.http.query)
    return names | always if names else None


def _select(resource: Json, names: frozenset[str] | None) -> Json:
    return resource if names is None else {name: value for name, value in resource.items() if name in names}
