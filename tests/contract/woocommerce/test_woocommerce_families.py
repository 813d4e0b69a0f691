"""Variations are proven complete against what their product names, while the store is being written to."""

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
from tests.contract.woocommerce.reading import SHOP, KeyRing, Pass, keys, platform_at, read
from tests.contract.woocommerce.recorded import recorded
from tests.contract.woocommerce.replay import KEY, SECRET, ReplayStore, Row, listening, send
from tests.waiting import until

ANALYTICS = "/wp-json/wc-analytics/variations"
PRODUCTS = "/wp-json/wc/v3/products"


async def _read(store: ReplayStore, tls: TlsFiles) -> Pass:
    async with (
        listening(store, tls) as url,
        platform_at(url, KeyRing([keys(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        return await read(platform)


@dataclass(kw_only=True)
class BusyStore(ReplayStore):
    """Changes once, right before it first lists variations of certain products."""

    change: Callable[[BusyStore], None]
    changed: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        if "parent" in request.query and not self.changed:
            self.changed = True
            self.change(self)
        return await super().answer(request)


@dataclass(kw_only=True)
class CarelessStore(ReplayStore):
    """Its dashboard's list knows nothing of `parent`."""

    def _of_many(self, params: dict[str, str]) -> list[Row]:
        return super()._of_many({})


@dataclass(kw_only=True)
class HalfHiddenStore(ReplayStore):
    """Some variations are in no list, as with a plugin that filters them."""

    hidden: frozenset[int] = field(default_factory=frozenset)

    def _of_one(self, parent: int) -> list[Row]:
        return [row for row in super()._of_one(parent) if row["id"] not in self.hidden]

    def _of_many(self, params: dict[str, str]) -> list[Row]:
        return [row for row in super()._of_many(params) if row["id"] not in self.hidden]


@dataclass(kw_only=True)
class FailingStore(ReplayStore):
    """Its dashboard's list dies once it is asked for more than one row."""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == ANALYTICS and "parent" in request.query:
            return send(recorded("store-api-variation-500"))
        return await super().answer(request)


@pytest.mark.parametrize("store", [CarelessStore(), FailingStore()], ids=["careless", "failing"])
async def test_a_bulk_list_of_no_use_is_left_for_one_list_per_product(store: ReplayStore, tls: TlsFiles) -> None:
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert seen.issues == []


OFFICIAL = "/wp-json/wc/v3/variations"


@dataclass(kw_only=True)
class SlowStore(ReplayStore):
    """Its bulk list is not answered in time, for some requests."""

    has_official: bool = True
    status: int = 524
    times_out: Callable[[list[int]], bool]
    """By the products that are asked for at once."""

    async def answer(self, request: web.Request) -> web.Response:
        parents = [int(key) for key in request.query.get("parent", "").split(",") if key]
        if request.path == OFFICIAL and parents and self.times_out(parents):
            self.asked.append((request.method, request.path, dict(request.query)))
            return web.Response(status=self.status, text="<html>", content_type="text/html")
        return await super().answer(request)

    def lists(self) -> set[str]:
        """Paths of the lists of variations that were asked for."""
        return {path for _method, path, params in self.asked if "variations" in path and "page" in params}


@pytest.mark.parametrize("status", [502, 524])
async def test_one_answer_that_a_gateway_lost_costs_no_bulk_route(tls: TlsFiles, status: int) -> None:
    left = [1, 1]
    store = SlowStore(status=status, times_out=lambda _: bool(left and left.pop()))
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.lists() == {OFFICIAL}


async def test_a_bulk_route_that_times_out_is_asked_for_fewer_products_at_once(tls: TlsFiles) -> None:
    store = SlowStore(times_out=lambda parents: len(parents) > 3)
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.lists() == {OFFICIAL}


async def test_a_product_that_breaks_the_bulk_route_is_read_from_its_own_list_and_the_others_are_not(
    tls: TlsFiles,
) -> None:
    store = SlowStore(times_out=lambda parents: 66 in parents)
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS
    assert store.lists() == {OFFICIAL, "/wp-json/wc/v3/products/66/variations"}


async def test_a_list_that_ignores_parent_is_not_asked_for_every_chunk_again(tls: TlsFiles) -> None:
    store = CarelessStore()
    async with (
        listening(store, tls) as url,
        platform_at(url, KeyRing([keys(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        seen = await read(platform, FetchRequest(shop=SHOP, max_batch_products=3))
    assert seen.items().keys() == ITEM_IDS
    # Two chunks of one or two calls each were under way when the first answer came.
    assert len([path for _method, path, params in store.asked if path == ANALYTICS and "parent" in params]) <= 4


async def test_a_route_that_two_chunks_find_of_no_use_at_once_is_left_for_the_next_one_only(tls: TlsFiles) -> None:
    class Half(ReplayStore):
        waiting = 0

        async def answer(self, request: web.Request) -> web.Response:
            if request.path == "/wp-json/wc/v3/variations" and "parent" in request.query:
                self.waiting += 1
                await until(lambda: self.waiting >= 2)
                return send(recorded("variations-v3-all-404"))
            return await super().answer(request)

    store = Half(has_official=True)
    async with (
        listening(store, tls) as url,
        platform_at(url, KeyRing([keys(KEY, SECRET)]), ca=tls.ca, monotonic=lambda: 0.0) as platform,
    ):
        seen = await read(platform, FetchRequest(shop=SHOP, max_batch_products=10))
    assert seen.items().keys() == ITEM_IDS
    paths = [path for _method, path, _params in store.asked]
    assert ANALYTICS in paths
    assert not [path for path in paths if path.endswith("/variations") and "/products/" in path]


async def test_variations_that_no_list_holds_are_reported_and_never_taken_for_gone(tls: TlsFiles) -> None:
    seen = await _read(HalfHiddenStore(hidden=frozenset({68, 100})), tls)
    assert seen.items().keys() == ITEM_IDS - {"68", "100"}
    assert [(issue.product_id, issue.reason, issue.sample) for issue in seen.issues] == [
        ("66", IssueReason.INCOMPLETE_VARIANTS, "68"),
        ("74", IssueReason.INCOMPLETE_VARIANTS, "100"),
    ]
    whole = {product.id: product.variants_complete for product in seen.products}
    assert [key for key, complete in whole.items() if not complete] == ["66", "74"]
    assert seen.end.emitted_count == 60


async def test_a_variation_missed_by_the_bulk_list_is_read_from_its_product(tls: TlsFiles) -> None:
    class Forgetful(ReplayStore):
        def _of_many(self, params: dict[str, str]) -> list[Row]:
            return [row for row in super()._of_many(params) if row["id"] != 100]

    seen = await _read(Forgetful(), tls)
    assert seen.items().keys() == ITEM_IDS
    assert seen.issues == []


async def test_a_variation_deleted_meanwhile_leaves_its_product_whole(tls: TlsFiles) -> None:
    def delete(store: BusyStore) -> None:
        del store.variations[68]
        store.products[66] = {**store.products[66], "variations": [67, 69]}

    seen = await _read(BusyStore(change=delete), tls)
    assert seen.items().keys() == ITEM_IDS - {"68"}
    assert seen.issues == []
    assert seen.by_id()["66"].variants_complete


async def test_a_variation_added_meanwhile_comes_along(tls: TlsFiles) -> None:
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
class RestlessStore(ReplayStore):
    """Changes once: after it cut its first page of products, and before it counts them."""

    change: Callable[[RestlessStore], None]
    changed: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        reply = await super().answer(request)
        if "offset" in request.query and not self.changed:
            self.changed = True
            self.change(self)
            reply.headers["X-WP-Total"] = str(len(self.products))
        return reply

    def counts(self) -> int:
        """How many calls only counted."""
        return len([method for method, _path, _params in self.asked if method == "HEAD"])


async def test_a_pass_that_saw_all_that_its_last_page_counted_does_not_count_again(tls: TlsFiles) -> None:
    store = RestlessStore(change=lambda _: None)
    seen = await _read(store, tls)
    assert (seen.end.source_count, store.counts()) == (60, 0)


async def test_a_product_restored_while_a_page_was_cut_comes_with_it(tls: TlsFiles) -> None:
    def restore(store: RestlessStore) -> None:
        store.products[51] = {**store.products[52], "id": 51, "date_modified_gmt": "2099-01-01T00:00:00"}

    seen = await _read(RestlessStore(change=restore), tls)
    assert "51" in seen.by_id()
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.warnings) == (61, 61, ())


@dataclass(kw_only=True)
class UnloadableStore(ReplayStore):
    """Counts products that it cannot load: it lists all but them, as WooCommerce does when a plugin is gone."""

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
async def test_a_product_that_is_counted_and_cannot_be_loaded_is_named_and_the_pass_goes_on(
    tls: TlsFiles, unloadable: set[int], places: list[tuple[int, int]]
) -> None:
    store = UnloadableStore(unloadable=frozenset(unloadable))
    ids = sorted(store.products)
    assert [(ids.index(key) + 1) for key in sorted(unloadable)] == [place for place, _ in places]
    seen = await _read(store, tls)
    assert {product.id for product in seen.products} == {str(key) for key in set(ids) - unloadable}
    told = [issue for issue in seen.issues if issue.product_rejected]
    assert [(issue.reason, issue.product_id) for issue in told] == [(IssueReason.SOURCE_ERROR, "")] * len(places)
    for issue, (place, before) in zip(told, places, strict=True):
        assert f"at place {place} of its list" in issue.message
        assert (f"right after product {before})" in issue.message) == (before > 0)
    counts = (seen.end.source_count, seen.end.emitted_count, seen.end.rejected_count)
    assert counts == (60, 60 - len(places), len(places))
    assert len(seen.end.warnings) == 1
    assert seen.end.notes
    assert len(store.asked) < 40 * len(places) + 20


def _hiding(hidden: Callable[[int], bool]) -> UnloadableStore:
    """900 products, of which the store counts all and lists those that are not `hidden`."""
    store = UnloadableStore(unloadable=frozenset())
    template = store.products[16]
    store.products = {key: {**template, "id": key} for key in range(1000, 1900)}
    store.unloadable = frozenset(key for key in store.products if hidden(key))
    return store


async def test_a_store_that_hides_some_products_is_read_and_says_so(tls: TlsFiles) -> None:
    store = _hiding(lambda key: key % 60 == 0 or 1200 <= key < 1250)
    seen = await _read(store, tls)
    assert {int(product.id) for product in seen.products} == store.products.keys() - store.unloadable
    assert seen.end.warnings
    assert seen.end.notes
    assert len(store.asked) < 600


async def test_a_store_that_hides_more_than_a_tenth_of_its_products_is_not_complete(tls: TlsFiles) -> None:
    store = _hiding(lambda key: key % 3 == 0 or 1200 <= key < 1450)
    with pytest.raises(SourceCountMismatch) as incomplete:
        await _read(store, tls)
    delivered = len(store.products) - len(store.unloadable)
    assert incomplete.value.metadata["received"] == str(delivered)
    assert len(store.asked) < 600


async def test_a_store_that_counts_more_than_it_lists_tells_where_and_succeeds(tls: TlsFiles) -> None:
    class Hiding(ReplayStore):
        async def answer(self, request: web.Request) -> web.Response:
            reply = await super().answer(request)
            if request.method == "HEAD" or "offset" in request.query:
                reply.headers["X-WP-Total"] = "61"
            return reply

    seen = await _read(Hiding(), tls)
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.rejected_count) == (61, 60, 1)
    assert "at place 61" in seen.issues[0].message
    assert seen.end.warnings


async def test_a_product_added_at_the_end_is_still_read(tls: TlsFiles) -> None:
    def add(store: RestlessStore) -> None:
        store.products[900] = {**store.products[16], "id": 900}

    seen = await _read(RestlessStore(change=add), tls)
    assert "900" in seen.by_id()
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.warnings) == (61, 61, ())


async def test_a_broken_variation_is_rejected_alone(tls: TlsFiles) -> None:
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


async def test_a_variation_without_id_and_parent_does_not_cost_the_bulk_list(tls: TlsFiles) -> None:
    store = ReplayStore()
    store.variations[68] = {**store.variations[68], "id": None}

    class Nameless(ReplayStore):
        def _of_many(self, params: dict[str, str]) -> list[Row]:
            rows = super()._of_many(params)
            return [{**row, "parent_id": None} if row["id"] is None else row for row in rows]

    seen = await _read(Nameless(variations=store.variations), tls)
    assert seen.items().keys() == ITEM_IDS - {"68"}
    assert {issue.reason for issue in seen.issues} == {IssueReason.MISSING_ID, IssueReason.INCOMPLETE_VARIANTS}
    assert not seen.by_id()["66"].variants_complete
