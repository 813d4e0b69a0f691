"""The recorded store of WooCommerce 10.5.0 is read as its admin shows it, by each of the three variation routes.

The values were recorded from the requests of a pass. A variation whose parent is gone is counted, not listed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceFailure, SourceForbidden, SourceUnauthorized, SourceUnreachable
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.product import ProductStatus
from connector_svc.platforms.woocommerce.json_salvage import RecordDecoder, RejectedRecord
from connector_svc.platforms.woocommerce.wire import ProductRow
from devstore.tls import TlsFiles
from tests.contract.woocommerce.expected import ITEM_IDS, ITEMS, PRODUCT_COUNT, money
from tests.contract.woocommerce.read_pass import SHOP, FakeCredentials, Pass, credentials, platform_at, read_pass
from tests.contract.woocommerce.recorded import DATA_10_5, RecordedReply, rows
from tests.contract.woocommerce.recorded import recorded as recorded_of
from tests.contract.woocommerce.replay import KEY, SECRET, OneReply, ReplayStore, Row, as_response, listening

ORPHAN = 234
VARIATIONS = ("shape-variations-p1", "shape-variations-p2")


def recorded(name: str) -> RecordedReply:
    return recorded_of(name, DATA_10_5)


def _by_id(*names: str) -> dict[int, Row]:
    return {row["id"]: row for row in rows(*names, data=DATA_10_5)}


@dataclass(kw_only=True)
class Store105(ReplayStore):
    """Responds with recordings of 10.5.0."""

    products: dict[int, Row] = field(default_factory=lambda: _by_id("shape-products-full-pass"))
    variations: dict[int, Row] = field(default_factory=lambda: _by_id(*VARIATIONS))
    has_official: bool = True
    single_products: dict[int, RecordedReply] = field(default_factory=dict)
    """Responses to requests for single products."""

    def _api(self, path: str, params: dict[str, str]) -> web.Response:
        match path.split("/"):
            case ["wc", "v3", "products"] if params.get("status") == "trash":
                return as_response(recorded("shape-trash-window"))
            case ["wc", "v3", "products", key]:
                return as_response(self.single_products.get(int(key), recorded("product-404")))
            case [*_, "variations"] if params.get("per_page") == "1":
                is_there = self.has_official if path == "wc/v3/variations" else self.has_analytics
                return as_response(recorded("shape-variations-probe" if is_there else "rest-no-route"))
            case ["wc", "v3", "system_status"]:
                return as_response(recorded("shape-version"))
            case _:
                return super()._api(path, params)

    def _variations_of_one(self, parent: int) -> list[Row]:
        """Since 10.3 the list has `parent_id`."""
        return [row for row in self.variations.values() if row["parent_id"] == parent]


ROUTES: dict[str, dict[str, Any]] = {
    "official": {},
    "analytics": {"has_official": False},
    "per-product": {"has_official": False, "has_analytics": False},
}


async def _read(store: ReplayStore, tls: TlsFiles, request: FetchRequest | None = None) -> Pass:
    async with (
        listening(store, tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        return await read_pass(platform, request)


@pytest.fixture(scope="module", params=ROUTES)
async def by_route(request: pytest.FixtureRequest, tls: TlsFiles) -> Pass:
    return await _read(Store105(**ROUTES[request.param]), tls)


async def test_every_product_and_item_is_delivered_once_with_price_stock_and_sku(by_route: Pass) -> None:
    items = by_route.items()
    assert len(by_route.products) == PRODUCT_COUNT
    assert items.keys() == ITEM_IDS
    for key, expected in ITEMS.items():
        item = items[str(key)]
        got = (item.sku, str(item.price), str(item.compare_at_price), item.stock_quantity, item.available)
        expected_values = (
            str(money(expected.price)),
            str(money(expected.compare_at)),
            expected.stock,
            expected.available,
        )
        assert got == (expected.sku, *expected_values), key
    assert by_route.issues == []
    assert (by_route.end.source_count, by_route.end.emitted_variant_count) == (PRODUCT_COUNT, 201)
    assert (by_route.end.warnings, by_route.end.notes) == ((), ())


def test_the_bulk_routes_list_the_same_rows() -> None:
    """All that was recorded from the dashboard's route is in the official route."""
    official, analytics = _by_id(*VARIATIONS), _by_id("shape-analytics-p1", "shape-analytics-p2")
    assert official.keys() == analytics.keys()
    assert all(
        row.items() <= {**official[key], "_links": row.get("_links")}.items() for key, row in analytics.items()
    )


async def test_an_incremental_pass_reads_the_recorded_changes_trash_and_stock(tls: TlsFiles) -> None:
    seen = await _read(Store105(), tls, FetchRequest(shop=SHOP, updated_after=datetime(2026, 5, 1, tzinfo=UTC)))
    changed, trash = _by_id("shape-products-window"), _by_id("shape-trash-window")
    assert [int(product.id) for product in seen.products] == list(changed)
    assert {int(key) for batch in seen.batches for key in batch.deleted_product_ids} == trash.keys()
    scanned = _by_id("shape-sweep", "shape-variations-sweep-p1", "shape-variations-sweep-p2")
    levels = {int(level.variant_id): level for batch in seen.batches for level in batch.stock_levels}
    assert {str(key) for key in levels} == ITEM_IDS
    for key, level in levels.items():
        row = scanned[key]
        assert level.stock_quantity == (row["stock_quantity"] if row["manage_stock"] else None)
        assert level.offer is not None
        assert (level.offer.sku, level.offer.price) == (row["sku"], money(row["price"] or None))
    assert seen.end.all_listed


async def test_an_empty_probe_with_a_count_keeps_the_official_route(tls: TlsFiles) -> None:
    """The newest variation is the orphan: the response to `per_page=1` has no row, and a total of 156."""
    probe = recorded("shape-variations-probe")
    assert (probe.json(), dict(probe.headers)["X-WP-Total"]) == ([], "156")
    store = Store105()
    seen = await _read(store, tls)
    assert "wc/v3/variations" in seen.headers[0].strategy_reason
    assert seen.headers[0].estimated_variant_count == 60 - 12 + 156
    assert seen.headers[0].shop_info.served_api_version == "wc/v3, WooCommerce 10.5.0"
    assert {path for _, path, _ in store.requests if path.endswith("variations")} == {"/wp-json/wc/v3/variations"}


@dataclass(kw_only=True)
class ShortPages(Store105):
    """Counts a variation in the middle of each bulk list that it does not list."""

    def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
        found = super()._variations_of_many(params)
        return [*found[:50], {"id": ORPHAN, "parent_id": 0}, *found[50:]]

    async def answer(self, request: web.Request) -> web.Response:
        reply = await super().answer(request)
        body, headers = reply.body, {k: v for k, v in reply.headers.items() if k.startswith("X-WP-")}
        if not request.path.endswith("/variations") or not isinstance(body, bytes):
            return reply
        return web.json_response([row for row in json.loads(body) if row["id"] != ORPHAN], headers=headers)


async def test_a_short_page_of_variations_is_not_the_last(tls: TlsFiles) -> None:
    seen = await _read(ShortPages(), tls)
    assert seen.items().keys() == ITEM_IDS
    assert seen.issues == []


@pytest.mark.parametrize("recording", ["gone-variation-trashed", "gone-variation-deleted"])
async def test_a_deleted_variation_that_its_parent_still_names_is_not_delivered(
    tls: TlsFiles, recording: str
) -> None:
    store = Store105(single_products={104: recorded(recording)})
    (parent,) = rows("gone-variation-parent", data=DATA_10_5)
    store.products[74] = {**store.products[74], "variations": parent["variations"]}
    store.variations = {
        key: row
        for key, row in store.variations.items()
        if row["parent_id"] != 74 or (key in parent["variations"] and key != 104)
    }
    seen = await _read(store, tls)
    product = seen.by_id()["74"]
    assert [int(variant.id) for variant in product.variants] == [key for key in parent["variations"] if key != 104]
    assert product.variants_complete
    assert seen.issues == []
    assert len([path for _, path, _ in store.requests if path == "/wp-json/wc/v3/products/104"]) == 1


async def test_ids_that_are_not_products_are_deleted(tls: TlsFiles) -> None:
    single_products = {
        1: recorded("product-404-nonproduct"),
        51: recorded("product-trashed"),
        67: recorded("product-variation-as-product"),
        234: recorded("product-orphan-variation"),
        237: recorded("product-auto-draft"),
        20: recorded("error-500-fatal-accept-json"),
    }
    store = Store105(single_products=single_products)
    del store.products[20]
    request = FetchRequest(shop=SHOP, product_ids=("1", "16", "51", "66", "67", "234", "237", "20", "999999"))
    seen = await _read(store, tls, request)
    assert [product.id for product in seen.products] == ["16", "66"]
    deleted = {key for batch in seen.batches for key in batch.deleted_product_ids}
    assert deleted == {"1", "51", "67", "237", "234", "999999"}


async def test_products_with_all_fields_that_are_new_in_10_5_have_no_issue(tls: TlsFiles) -> None:
    """Brands, cost of goods as numbers, GTIN, images with srcset, attributes with slugs."""
    store = Store105(products=_by_id("new-products-list"), variations=_by_id("new-variations-of-product"))
    seen = await _read(store, tls)
    assert len(seen.products) == 7
    assert len(seen.by_id()["244"].variants) == 3
    assert seen.issues == []
    assert {item.barcode for item in seen.items().values()} > {""}
    assert {product.status for product in seen.products} <= {ProductStatus.ACTIVE, ProductStatus.DRAFT}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("auth-none", SourceUnauthorized),
        ("auth-wrong-secret", SourceUnauthorized),
        ("auth-write-only-key", SourceForbidden),
        ("auth-customer-key", SourceForbidden),
        ("variations-official-customer-key", SourceForbidden),
        ("variations-official-wrong-secret", SourceUnauthorized),
        ("error-503-maintenance", SourceUnreachable),
        ("error-500-fatal-accept-json", SourceUnreachable),
    ],
)
async def test_an_error_response_is_mapped_to_its_failure_without_paths_of_the_host(
    name: str, kind: type[SourceFailure], tls: TlsFiles
) -> None:
    async with (
        listening(OneReply(reply=recorded(name)), tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        with pytest.raises(kind) as raised:
            await read_pass(platform)
    assert "/var/www" not in raised.value.message


@pytest.mark.parametrize("name", ["shape-products-full-pass", "shape-products-window", "new-products-list"])
def test_no_recorded_product_loses_a_field(name: str) -> None:
    records = RecordDecoder(ProductRow).decode(recorded(name).body)
    assert not any(isinstance(record, RejectedRecord) for record in records.items)
    assert records.field_faults == {}
