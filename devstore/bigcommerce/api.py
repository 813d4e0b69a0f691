"""Answers the requests of one BigCommerce store.

What a store's API withholds or gets wrong; a test turns these while the store is read."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from aiohttp import web
from msgspec import json as fast_json

from devstore.bigcommerce import inventory, product_json
from devstore.bigcommerce.errors import ApiError, forbidden, not_found, too_many_requests, unauthorized
from devstore.bigcommerce.list_query import (
    BRAND_FILTERS,
    INVENTORY_FILTERS,
    MOST_ITEMS,
    OWN_VARIANT_FILTERS,
    PRODUCT_FILTERS,
    VARIANT_FILTERS,
    Asked,
)
from devstore.bigcommerce.product_json import Json
from devstore.bigcommerce.rate_limit import Quota
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Row, Variant
from devstore.request_log import Note

T = TypeVar("T")
Handler = Callable[[web.Request, "re.Match[str]", str], Any]


class BigCommerceFace:
    """One store's API below /stores/<hash>/."""

    def __init__(self, catalog: Catalog, *, throttle: bool) -> None:
        self.switches = Switches()
        self._catalog = catalog
        self._hash = catalog.spec.domain.partition(".")[0].removeprefix("store-")
        self._quota = Quota(catalog.spec.quota, catalog.spec.quota_seconds, throttle=throttle)
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
            ("store", re.compile(r"v2/store"), self._store),
            ("products", re.compile(r"v3/catalog/products"), self._products),
            ("product_variants", re.compile(r"v3/catalog/products/(\d+)/variants"), self._product_variants),
            ("variants", re.compile(r"v3/catalog/variants"), self._variants),
            ("brands", re.compile(r"v3/catalog/brands"), self._brands),
            ("inventory", re.compile(r"v3/inventory/items"), self._inventory),
        )

    async def answer(self, request: web.Request, path: str, site: str, note: Note) -> web.Response:
        try:
            body, status = self._dispatch(request, path, site, note), 200
        except ApiError as error:
            body, status = error.body, error.status
        note.throttled = status == 429
        return web.Response(
            body=fast_json.encode(body),
            status=status,
            headers=self._quota.headers(),
            content_type="application/json",
        )

    def _dispatch(self, request: web.Request, path: str, site: str, note: Note) -> Any:
        head, _, rest = path.removeprefix("stores/").partition("/")
        if not path.startswith("stores/") or head != self._hash:
            raise not_found()
        token = request.headers.get("X-Auth-Token", "")
        if not hmac.compare_digest(token.encode(), self._catalog.spec.credentials["access_token"].encode()):
            raise unauthorized()
        for name, pattern, handler in self._routes:
            match = pattern.fullmatch(rest)
            if match and request.method == "GET":
                note.operation = name
                if not self._quota.take():
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
        asked = Asked(request.query, PRODUCT_FILTERS)
        rows = [row for row in self._catalog.rows() if _is_listed(row, asked)]
        rows.sort(key=lambda row: row.id, reverse=asked.descending)
        left_out = [
            row.id
            for row in asked.page_of(rows)
            if self.switches.leaves_out(row.id, whole="variants" in asked.include)
        ]
        return _listed(asked, rows, lambda row: self._whole(row.id, asked, site), lambda row: row.id in left_out)

    def _whole(self, product_id: int, asked: Asked, site: str) -> Json:
        product = self._catalog.product(product_id)
        assert product is not None
        shown = product_json.product_json(product, self._locations)
        if "variants" in asked.include:
            # However many there are, only so many come along.
            some = product.variants[: self._catalog.spec.included_variants]
            shown["variants"] = [
                product_json.variant_json(product, variant, site, self._locations) for variant in some
            ]
        if "images" in asked.include:
            shown["images"] = [
                product_json.image_json(product, image, place, site) for place, image in enumerate(product.images)
            ]
        if "options" in asked.include:
            shown["options"] = [product_json.option_json(product, place) for place in range(len(product.options))]
        return asked.only(shown)

    def _product_variants(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        asked = Asked(request.query, OWN_VARIANT_FILTERS)
        product = self._catalog.product(int(match[1]))
        if product is None:
            raise not_found()

        def show(variant: Variant) -> Json:
            return asked.only(product_json.variant_json(product, variant, site, self._locations))

        return _listed(asked, product.variants, show)

    def _variants(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        asked = Asked(request.query, VARIANT_FILTERS)
        owners = asked.ids("product_id:in") or asked.ids("product_id")
        ids = [
            number
            for row in self._catalog.rows()
            if owners is None or row.id in owners
            for number in row.variant_ids
        ]

        def show(number: int) -> Json:
            found = self._catalog.variant(number)
            assert found is not None
            return asked.only(product_json.variant_json(*found, site, self._locations))

        return _listed(asked, ids, show)

    def _brands(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        asked = Asked(request.query, BRAND_FILTERS)
        wanted = asked.ids("id:in")
        found = [brand for brand in product_json.brands() if wanted is None or brand["id"] in wanted]
        return _listed(asked, found, asked.only)

    def _inventory(self, request: web.Request, match: re.Match[str], site: str) -> Json:
        if not self.switches.inventory_scope:
            raise forbidden()
        asked = Asked(request.query, INVENTORY_FILTERS, MOST_ITEMS)
        owners, variants = asked.ids("product_id:in"), asked.ids("variant_id:in")
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
        return _listed(asked, found, lambda item: item)

    @property
    def _locations(self) -> int:
        return self._catalog.spec.locations


def _is_listed(row: Row, asked: Asked) -> bool:
    wanted, low, high = asked.ids("id:in"), asked.second("date_modified:min"), asked.second("date_modified:max")
    return (
        (wanted is None or row.id in wanted)
        and row.id > asked.number("id:greater", 0)
        and row.id < asked.number("id:less", 2**63)
        and row.id >= asked.number("id:min", 0)
        and (low is None or row.updated >= low)
        and (high is None or row.updated <= high)
    )


def _listed(
    asked: Asked, found: Sequence[T], show: Callable[[T], Json], is_left_out: Callable[[T], bool] = lambda _: False
) -> Json:
    """A page of `found`, which are all counted."""
    shown = [show(record) for record in asked.page_of(found) if not is_left_out(record)]
    pagination = {
        "total": len(found),
        "count": len(shown),
        "per_page": asked.limit,
        "current_page": asked.page,
        "total_pages": -(-len(found) // asked.limit),
        "links": {"current": f"?page={asked.page}&limit={asked.limit}"},
    }
    return {"data": shown, "meta": {"pagination": pagination}}


@dataclass(slots=True, kw_only=True)
class Switches:
    """The defaults are those of an honest store whose token has every scope."""

    inventory_scope: bool = True
    """Whether the token may read the Inventory API; otherwise that answers 403."""
    hidden_products: set[int] = field(default_factory=set)
    """Counted by each list of products and never in one."""
    bare_products: set[int] = field(default_factory=set)
    """Counted, and only in lists that include no variants: a record that the store cannot load whole."""
    dropped_rows: float = 0.0
    """The share of rows that each list of products leaves out of a page although it counts them."""
    currency: str = ""
    """The store's currency from now on; empty: as its spec says."""
    random: Random = field(default_factory=lambda: Random(7))
    """Decides which rows are dropped."""

    def leaves_out(self, product_id: int, *, whole: bool) -> bool:
        """Whether a list does not show a product that it counts; `whole`: with its variants."""
        if product_id in self.hidden_products or (whole and product_id in self.bare_products):
            return True
        return self.dropped_rows > 0 and self.random.random() < self.dropped_rows
