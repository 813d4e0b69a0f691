"""The V3 API of one BigCommerce store: routes, lists and the switches of a test."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from aiohttp import web
from msgspec import DecodeError
from msgspec import json as fast_json

from devstore.bigcommerce import inventory, product_json
from devstore.bigcommerce.errors import ApiError, forbidden, not_found, too_many_requests, unauthorized
from devstore.bigcommerce.list_query import (
    BRAND_FILTERS,
    HOOK_FILTERS,
    INVENTORY_FILTERS,
    MAX_INVENTORY_PAGE_SIZE,
    PRODUCT_FILTERS,
    PRODUCT_VARIANT_FILTERS,
    VARIANT_FILTERS,
    ListQuery,
)
from devstore.bigcommerce.product_json import Json
from devstore.bigcommerce.rate_limit import RateLimiter
from devstore.bigcommerce.webhooks import DELIVERY_POLICY, BigCommerceHooks
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import ProductRow, Variant
from devstore.request_log import RequestRecord
from devstore.webhooks.sender import WebhookSender

T = TypeVar("T")
_HOOKS = re.compile(r"v3/hooks(?:/(\d+))?")
Handler = Callable[[web.Request, "re.Match[str]", str], Any]


@dataclass(slots=True, kw_only=True)
class Switches:
    """What a store's API withholds or gets wrong; a test sets the switches while the store is read.

    The defaults are those of a correct store whose token has every scope.
    """

    inventory_scope: bool = True
    """Whether the token may read the Inventory API, which otherwise answers 403."""
    hidden_products: set[int] = field(default_factory=set)
    """Products that lists count and never show."""
    bare_products: set[int] = field(default_factory=set)
    """Products that lists count and show only without variants: records that the store cannot load as a whole."""
    dropped_rows: float = 0.0
    """The share of the rows that lists of products count and leave out of a page."""
    currency: str = ""
    """The store's current currency; "": the currency of its spec."""
    random: Random = field(default_factory=lambda: Random(7))
    """Decides which rows are dropped."""

    def leaves_out(self, product_id: int, *, with_variants: bool) -> bool:
        """Return whether a list, with or without variants, does not show a product that it counts."""
        if product_id in self.hidden_products or (with_variants and product_id in self.bare_products):
            return True
        return self.dropped_rows > 0 and self.random.random() < self.dropped_rows


class BigCommerceApi:
    """The API of one store, below /stores/<hash>/."""

    def __init__(self, catalog: Catalog, *, throttle: bool) -> None:
        self.switches = Switches()
        self._catalog = catalog
        self._hash = catalog.spec.domain.partition(".")[0].removeprefix("store-")
        self.sender = WebhookSender(DELIVERY_POLICY)
        self.hooks = BigCommerceHooks(catalog, self.sender, self._hash)
        catalog.on_change = self.hooks.notify
        self._rate_limiter = RateLimiter(catalog.spec.quota, catalog.spec.quota_seconds, throttle=throttle)
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
            ("store", re.compile(r"v2/store"), self._store),
            ("products", re.compile(r"v3/catalog/products"), self._products),
            ("product_variants", re.compile(r"v3/catalog/products/(\d+)/variants"), self._product_variants),
            ("variants", re.compile(r"v3/catalog/variants"), self._variants),
            ("brands", re.compile(r"v3/catalog/brands"), self._brands),
            ("inventory", re.compile(r"v3/inventory/items"), self._inventory),
        )

    async def answer(self, request: web.Request, path: str, site: str, record: RequestRecord) -> web.Response:
        try:
            body, status = self._dispatch(request, path, site, record, await request.read()), 200
        except ApiError as error:
            body, status = error.body, error.status
        record.throttled = status == 429
        return web.Response(
            body=fast_json.encode(body),
            status=status,
            headers=self._rate_limiter.headers(),
            content_type="application/json",
        )

    def _dispatch(self, request: web.Request, path: str, site: str, record: RequestRecord, sent: bytes) -> Any:
        head, _, rest = path.removeprefix("stores/").partition("/")
        if not path.startswith("stores/") or head != self._hash:
            raise not_found()
        token = request.headers.get("X-Auth-Token", "")
        if not hmac.compare_digest(token.encode(), self._catalog.spec.credentials["access_token"].encode()):
            raise unauthorized()
        hook = _HOOKS.fullmatch(rest)
        if hook:
            record.operation = "hooks"
            if not self._rate_limiter.take():
                raise too_many_requests()
            return self._answer_hooks(request, int(hook[1]) if hook[1] else None, sent)
        for name, pattern, handler in self._routes:
            match = pattern.fullmatch(rest)
            if match and request.method == "GET":
                record.operation = name
                if not self._rate_limiter.take():
                    raise too_many_requests()
                return handler(request, match, site)
        raise not_found()

    def _store(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        spec = self._catalog.spec
        return {
            "id": self._hash,
            "domain": spec.domain,
            "secure_url": f"https://{spec.domain}",
            "name": self._hash.title(),
            "currency": self.switches.currency or spec.currency_code,
            "weight_units": "KGS",
            "plan_name": "Standard",
            "status": "live",
        }

    def _products(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        query = ListQuery(request.query, PRODUCT_FILTERS)
        rows = [row for row in self._catalog.rows() if _matches(row, query)]
        rows.sort(key=lambda row: row.id, reverse=query.descending)
        left_out = [
            row.id
            for row in query.page_of(rows)
            if self.switches.leaves_out(row.id, with_variants="variants" in query.include)
        ]
        return _list_reply(
            query, rows, lambda row: self._product_json(row.id, query, site), lambda row: row.id in left_out
        )

    def _product_json(self, product_id: int, query: ListQuery, site: str) -> Json:
        product = self._catalog.product(product_id)
        assert product is not None
        resource = product_json.product_json(product, self._locations)
        if "variants" in query.include:
            # The platform silently cuts the list of included variants.
            included = product.variants[: self._catalog.spec.included_variants]
            resource["variants"] = [
                product_json.variant_json(product, variant, site, self._locations) for variant in included
            ]
        if "images" in query.include:
            resource["images"] = [
                product_json.image_json(product, image, position, site)
                for position, image in enumerate(product.images)
            ]
        if "options" in query.include:
            resource["options"] = [
                product_json.option_json(product, position) for position in range(len(product.options))
            ]
        return query.select_fields(resource)

    def _product_variants(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        query = ListQuery(request.query, PRODUCT_VARIANT_FILTERS)
        product = self._catalog.product(int(match[1]))
        if product is None:
            raise not_found()

        def to_json(variant: Variant) -> Json:
            return query.select_fields(product_json.variant_json(product, variant, site, self._locations))

        return _list_reply(query, product.variants, to_json)

    def _variants(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        query = ListQuery(request.query, VARIANT_FILTERS)
        owners = query.ids("product_id:in") or query.ids("product_id")
        ids = [
            number
            for row in self._catalog.rows()
            if owners is None or row.id in owners
            for number in row.variant_ids
        ]

        def to_json(number: int) -> Json:
            found = self._catalog.variant(number)
            assert found is not None
            return query.select_fields(product_json.variant_json(*found, site, self._locations))

        return _list_reply(query, ids, to_json)

    def _brands(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        query = ListQuery(request.query, BRAND_FILTERS)
        ids = query.ids("id:in")
        found = [brand for brand in product_json.brands() if ids is None or brand["id"] in ids]
        return _list_reply(query, found, query.select_fields)

    def _inventory(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        if not self.switches.inventory_scope:
            raise forbidden()
        query = ListQuery(request.query, INVENTORY_FILTERS, MAX_INVENTORY_PAGE_SIZE)
        owners, variants = query.ids("product_id:in"), query.ids("variant_id:in")
        backorders = self._catalog.spec.backorders
        found = [
            item
            for row in self._catalog.rows()
            if (owners is None or row.id in owners) and (product := self._catalog.product(row.id))
            for item in inventory.items(
                product, product_json.tracking(product), locations=self._locations, backorders=backorders
            )
            if variants is None or item["identity"].get("variant_id") in variants
        ]
        return _list_reply(query, found, lambda item: item)

    def _answer_hooks(self, request: web.Request, hook_id: int | None, sent: bytes) -> Json:
        hooks = self.hooks
        match request.method, hook_id:
            case "GET", None:
                query = ListQuery(request.query, HOOK_FILTERS)
                return _list_reply(query, hooks.list(request.query), lambda hook: hook)
            case "POST", None:
                found = hooks.create(_json_object(sent))
            case "GET", int(number):
                found = hooks.get(number)
            case "PUT", int(number):
                found = hooks.update(number, _json_object(sent))
            case "DELETE", int(number):
                found = hooks.delete(number)
            case _:
                raise not_found()
        return {"data": hooks.to_json(found), "meta": {}}

    @property
    def _locations(self) -> int:
        return self._catalog.spec.locations


def _json_object(body: bytes) -> dict[str, object]:
    try:
        return fast_json.decode(body, type=dict[str, object])
    except (DecodeError, UnicodeDecodeError):
        raise ApiError(400, "Input is invalid") from None


def _matches(row: ProductRow, query: ListQuery) -> bool:
    ids, low, high = query.ids("id:in"), query.timestamp("date_modified:min"), query.timestamp("date_modified:max")
    return (
        (ids is None or row.id in ids)
        and row.id > query.number("id:greater", 0)
        and row.id < query.number("id:less", 2**63)
        and row.id >= query.number("id:min", 0)
        and (low is None or row.updated >= low)
        and (high is None or row.updated <= high)
    )


def _list_reply(
    query: ListQuery,
    found: Sequence[T],
    to_json: Callable[[T], Json],
    is_left_out: Callable[[T], bool] = lambda _: False,
) -> Json:
    """Return a page of `found`; the total counts the rows that are left out too."""
    resource = [to_json(record) for record in query.page_of(found) if not is_left_out(record)]
    pagination = {
        "total": len(found),
        "count": len(resource),
        "per_page": query.limit,
        "current_page": query.page,
        "total_pages": -(-len(found) // query.limit),
        "links": {"current": f"?page={query.page}&limit={query.limit}"},
    }
    return {"data": resource, "meta": {"pagination": pagination}}
