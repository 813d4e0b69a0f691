"""Variations are checked against the ids that their product names, while the store is being written to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.records import IssueReason
from devstore.tls import TlsFiles
from tests.contract.woocommerce.expected import ITEM_IDS
from tests.contract.woocommerce.read_pass import SHOP, FakeCredentials, Pass, credentials, platform_at, read_pass
from tests.contract.woocommerce.recorded import recorded
from tests.contract.woocommerce.replay import KEY, SECRET, ReplayStore, Row, as_response, listening
from tests.waiting import until

ANALYTICS = "/wp-json/wc-analytics/variations"
PRODUCTS = "/wp-json/wc/v3/products"


async def _read(store: ReplayStore, tls: TlsFiles) -> Pass:
    async with (
        listening(store, tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        return await read_pass(platform)


@dataclass(kw_only=True)
class BusyStore(ReplayStore):
    """Changes once, right before it first lists variations by parent."""

    change: Callable[[BusyStore], None]
    changed: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        if "parent" in request.query and not self.changed:
            self.changed = True
            self.change(self)
        return await super().answer(request)


@dataclass(kw_only=True)
class ParentIgnoringStore(ReplayStore):
    """The bulk list ignores `parent`."""

    def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
        return super()._variations_of_many({})


@dataclass(kw_only=True)
class HiddenVariationsStore(ReplayStore):
    """No list contains some variations, as with a plugin that filters them."""

    hidden: frozenset[int] = field(default_factory=frozenset)

    def _variations_of_one(self, parent: int) -> list[Row]:
        return [row for row in super()._variations_of_one(parent) if row["id"] not in self.hidden]

    def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
        return [row for row in super()._variations_of_many(params) if row["id"] not in self.hidden]


@dataclass(kw_only=True)
class FailingBulkStore(ReplayStore):
    """The bulk list fails when variations are requested by parent."""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == ANALYTICS and "parent" in request.query:
            return as_response(recorded("store-api-variation-500"))
        return await super().answer(request)


@pytest.mark.parametrize("store", [ParentIgnoringStore(), FailingBulkStore()], ids=["ignores parent", "failing"])
async def test_an_unusable_bulk_route_is_replaced_by_one_list_per_product(
    store: ReplayStore, tls: TlsFiles
) -> None:
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert seen.issues == []


OFFICIAL = "/wp-json/wc/v3/variations"


@dataclass(kw_only=True)
class SlowStore(ReplayStore):
    """Some requests for the bulk list time out."""

    has_official: bool = True
    status: int = 524
    times_out: Callable[[list[int]], bool]
    """Whether a request times out, given the requested parents."""

    async def answer(self, request: web.Request) -> web.Response:
        parents = [int(key) for key in request.query.get("parent", "").split(",") if key]
        if request.path == OFFICIAL and parents and self.times_out(parents):
            self.requests.append((request.method, request.path, dict(request.query)))
            return web.Response(status=self.status, text="<html>", content_type="text/html")
        return await super().answer(request)

    def list_paths(self) -> set[str]:
        """Return the paths of the requested variation lists."""
        return {path for _method, path, params in self.requests if "variations" in path and "page" in params}


@pytest.mark.parametrize("status", [502, 524])
async def test_a_single_gateway_error_does_not_drop_the_bulk_route(tls: TlsFiles, status: int) -> None:
    errors_left = [1, 1]
    store = SlowStore(status=status, times_out=lambda _: bool(errors_left and errors_left.pop()))
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.list_paths() == {OFFICIAL}


async def test_a_bulk_route_that_times_out_is_requested_for_fewer_products_at_once(tls: TlsFiles) -> None:
    store = SlowStore(times_out=lambda parents: len(parents) > 3)
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.list_paths() == {OFFICIAL}


async def test_only_the_product_that_breaks_the_bulk_route_is_read_from_its_own_list(
    tls: TlsFiles,
) -> None:
    store = SlowStore(times_out=lambda parents: 66 in parents)
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.list_paths() == {OFFICIAL, "/wp-json/wc/v3/products/66/variations"}


async def test_a_bulk_route_that_ignores_parent_is_not_tried_again_for_every_batch(tls: TlsFiles) -> None:
    store = ParentIgnoringStore()
    async with (
        listening(store, tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        seen = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=3))
    assert seen.items().keys() == ITEM_IDS
    # Two batches of one or two requests each were in flight when the first response came.
    assert len([path for _method, path, params in store.requests if path == ANALYTICS and "parent" in params]) <= 4


async def test_a_route_that_two_batches_find_unusable_at_once_is_dropped_once(tls: TlsFiles) -> None:
    class MissingRouteStore(ReplayStore):
        waiting = 0

        async def answer(self, request: web.Request) -> web.Response:
            if request.path == "/wp-json/wc/v3/variations" and "parent" in request.query:
                self.waiting += 1
                await until(lambda: self.waiting >= 2)
                return as_response(recorded("variations-v3-all-404"))
            return await super().answer(request)

    store = MissingRouteStore(has_official=True)
    async with (
        listening(store, tls) as url,
        platform_at(
            url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca, monotonic=lambda: 0.0
        ) as platform,
    ):
        seen = await read_pass(platform, FetchRequest(shop=SHOP, max_batch_products=10))
    assert seen.items().keys() == ITEM_IDS
    paths = [path for _method, path, _params in store.requests]
    assert ANALYTICS in paths
    assert not [path for path in paths if path.endswith("/variations") and "/products/" in path]


async def test_variations_that_no_list_contains_are_reported_and_not_treated_as_deleted(tls: TlsFiles) -> None:
    seen = await _read(HiddenVariationsStore(hidden=frozenset({68, 100})), tls)
    assert seen.items().keys() == ITEM_IDS - {"68", "100"}
    assert [(issue.product_id, issue.reason, issue.sample) for issue in seen.issues] == [
        ("66", IssueReason.INCOMPLETE_VARIANTS, "68"),
        ("74", IssueReason.INCOMPLETE_VARIANTS, "100"),
    ]
    complete_by_id = {product.id: product.variants_complete for product in seen.products}
    assert [key for key, complete in complete_by_id.items() if not complete] == ["66", "74"]
    assert seen.end.emitted_count == 60


async def test_a_variation_missing_from_the_bulk_list_is_read_from_the_products_list(tls: TlsFiles) -> None:
    class IncompleteBulkStore(ReplayStore):
        def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
            return [row for row in super()._variations_of_many(params) if row["id"] != 100]

    seen = await _read(IncompleteBulkStore(), tls)
    assert seen.items().keys() == ITEM_IDS
    assert seen.issues == []


async def test_a_product_is_complete_although_a_variation_is_deleted_meanwhile(tls: TlsFiles) -> None:
    def delete(store: BusyStore) -> None:
        del store.variations[68]
        store.products[66] = {**store.products[66], "variations": [67, 69]}

    seen = await _read(BusyStore(change=delete), tls)
    assert seen.items().keys() == ITEM_IDS - {"68"}
    assert seen.issues == []
    assert seen.by_id()["66"].variants_complete


async def test_a_variation_added_meanwhile_is_delivered(tls: TlsFiles) -> None:
    def add(store: BusyStore) -> None:
        store.variations[500] = {**store.variations[67], "id": 500, "sku": "NEW"}

    seen = await _read(BusyStore(change=add), tls)
    assert seen.items()["500"].sku == "NEW"
    assert [variant.position for variant in seen.by_id()["66"].variants] == [1, 2, 3, 4]


async def test_a_product_trashed_while_its_variations_are_read_is_left_out(tls: TlsFiles) -> None:
    def trash(store: BusyStore) -> None:
        del store.products[66]
        for key in (67, 68, 69):
            del store.variations[key]

    seen = await _read(BusyStore(change=trash), tls)
    assert "66" not in seen.by_id()
    assert seen.issues == []
    assert (seen.end.source_count, seen.end.emitted_count) == (59, 59)


@dataclass(kw_only=True)
class ChangingStore(ReplayStore):
    """Changes once: after it selected its first page of products, and before it counts them."""

    change: Callable[[ChangingStore], None]
    changed: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        reply = await super().answer(request)
        if "offset" in request.query and not self.changed:
            self.changed = True
            self.change(self)
            reply.headers["X-WP-Total"] = str(len(self.products))
        return reply

    def count_requests(self) -> int:
        """Return the number of requests that only count."""
        return len([method for method, _path, _params in self.requests if method == "HEAD"])


async def test_a_pass_that_received_as_many_products_as_counted_does_not_count_again(tls: TlsFiles) -> None:
    store = ChangingStore(change=lambda _: None)
    seen = await _read(store, tls)
    assert (seen.end.source_count, store.count_requests()) == (60, 0)


async def test_a_product_restored_while_a_page_is_read_is_delivered(tls: TlsFiles) -> None:
    def restore(store: ChangingStore) -> None:
        store.products[51] = {**store.products[52], "id": 51, "date_modified_gmt": "2099-01-01T00:00:00"}

    seen = await _read(ChangingStore(change=restore), tls)
    assert "51" in seen.by_id()
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.warnings) == (61, 61, ())


@dataclass(kw_only=True)
class UnloadableStore(ReplayStore):
    """Counts products that it cannot load and does not list, as WooCommerce does where their plugin is missing."""

    unloadable: frozenset[int]

    async def answer(self, request: web.Request) -> web.Response:
        reply = await super().answer(request)
        if request.path == PRODUCTS and request.method == "GET":
            assert isinstance(reply.body, bytes)
            kept = [row for row in json.loads(reply.body) if row["id"] not in self.unloadable]
            headers = {name: value for name, value in reply.headers.items() if name.startswith("X-WP-")}
            return web.json_response(kept, headers=headers)
        return reply


@pytest.mark.parametrize(
    ("unloadable", "places"),
    [({47}, [(32, 46)]), ({16}, [(1, 0)]), ({235}, [(60, 230)]), ({26, 27, 66}, [(11, 25), (12, 25), (50, 65)])],
)
async def test_a_product_that_is_counted_and_cannot_be_loaded_is_reported_and_the_pass_continues(
    tls: TlsFiles, unloadable: set[int], places: list[tuple[int, int]]
) -> None:
    store = UnloadableStore(unloadable=frozenset(unloadable))
    ids = sorted(store.products)
    assert [(ids.index(key) + 1) for key in sorted(unloadable)] == [place for place, _ in places]
    seen = await _read(store, tls)
    assert {product.id for product in seen.products} == {str(key) for key in set(ids) - unloadable}
    rejections = [issue for issue in seen.issues if issue.product_rejected]
    assert [(issue.reason, issue.product_id) for issue in rejections] == [(IssueReason.SOURCE_ERROR, "")] * len(
        places
    )
    for issue, (place, before) in zip(rejections, places, strict=True):
        assert f"at place {place} of its list" in issue.message
        assert (f"right after product {before})" in issue.message) == (before > 0)
    counts = (seen.end.source_count, seen.end.emitted_count, seen.end.rejected_count)
    assert counts == (60, 60 - len(places), len(places))
    assert len(seen.end.warnings) == 1
    assert seen.end.notes
    assert len(store.requests) < 40 * len(places) + 20


def _store_hiding(hidden: Callable[[int], bool]) -> UnloadableStore:
    """Return a store that counts 900 products and lists those that are not `hidden`."""
    store = UnloadableStore(unloadable=frozenset())
    template = store.products[16]
    store.products = {key: {**template, "id": key} for key in range(1000, 1900)}
    store.unloadable = frozenset(key for key in store.products if hidden(key))
    return store


async def test_a_store_that_hides_some_products_is_read_with_a_warning(tls: TlsFiles) -> None:
    store = _store_hiding(lambda key: key % 60 == 0 or 1200 <= key < 1250)
    seen = await _read(store, tls)
    assert {int(product.id) for product in seen.products} == store.products.keys() - store.unloadable
    assert seen.end.warnings
    assert seen.end.notes
    assert len(store.requests) < 600


async def test_a_store_that_hides_more_than_a_tenth_of_its_products_fails(tls: TlsFiles) -> None:
    store = _store_hiding(lambda key: key % 3 == 0 or 1200 <= key < 1450)
    with pytest.raises(SourceCountMismatch) as incomplete:
        await _read(store, tls)
    delivered = len(store.products) - len(store.unloadable)
    assert incomplete.value.metadata["received"] == str(delivered)
    assert len(store.requests) < 600


async def test_a_store_that_counts_one_product_more_than_it_lists_is_read_with_an_issue(tls: TlsFiles) -> None:
    class OvercountingStore(ReplayStore):
        async def answer(self, request: web.Request) -> web.Response:
            reply = await super().answer(request)
            if request.method == "HEAD" or "offset" in request.query:
                reply.headers["X-WP-Total"] = "61"
            return reply

    seen = await _read(OvercountingStore(), tls)
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.rejected_count) == (61, 60, 1)
    assert "at place 61" in seen.issues[0].message
    assert seen.end.warnings


async def test_a_product_added_at_the_end_is_read(tls: TlsFiles) -> None:
    def add(store: ChangingStore) -> None:
        store.products[900] = {**store.products[16], "id": 900}

    seen = await _read(ChangingStore(change=add), tls)
    assert "900" in seen.by_id()
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.warnings) == (61, 61, ())


async def test_an_invalid_variation_is_rejected_alone(tls: TlsFiles) -> None:
    store = ReplayStore()
    store.variations[68] = {**store.variations[68], "price": "abc"}
    store.products[16] = {**store.products[16], "price": "-3"}
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS - {"68", "16"}
    assert [(issue.product_id, issue.variant_id, issue.product_rejected) for issue in seen.issues] == [
        ("16", "", True),
        ("66", "68", False),
    ]
    assert (seen.end.emitted_count, seen.end.rejected_count) == (59, 1)


async def test_a_variation_without_id_and_parent_does_not_drop_the_bulk_route(tls: TlsFiles) -> None:
    store = ReplayStore()
    store.variations[68] = {**store.variations[68], "id": None}

    class MissingIdStore(ReplayStore):
        def _variations_of_many(self, params: dict[str, str]) -> list[Row]:
            rows = super()._variations_of_many(params)
            return [{**row, "parent_id": None} if row["id"] is None else row for row in rows]

    seen = await _read(MissingIdStore(variations=store.variations), tls)
    assert seen.items().keys() == ITEM_IDS - {"68"}
    assert {issue.reason for issue in seen.issues} == {IssueReason.MISSING_ID, IssueReason.INCOMPLETE_VARIANTS}
    assert not seen.by_id()["66"].variants_complete
