"""Variations are proven complete against what their product names, while the store is being written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.issue import IssueReason
from devstore.tls import TlsFiles
from tests.contract.woocommerce.expected import ITEM_IDS
from tests.contract.woocommerce.reading import SHOP, KeyRing, Pass, keys, platform_at, read
from tests.contract.woocommerce.recorded import recorded
from tests.contract.woocommerce.replay import KEY, SECRET, ReplayStore, Row, listening, send
from tests.waiting import until

ANALYTICS = "/wp-json/wc-analytics/variations"


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


async def test_a_product_restored_behind_us_ends_the_pass_with_a_warning(tls: TlsFiles) -> None:
    def restore(store: RestlessStore) -> None:
        store.products[51] = {**store.products[52], "id": 51, "date_modified_gmt": "2099-01-01T00:00:00"}

    store = RestlessStore(change=restore)
    seen = await _read(store, tls)
    assert seen.end.emitted_count == 60
    assert seen.end.warnings == ("1 products came up while the pass ran.",)
    assert store.counts() == 3


async def test_a_store_that_counts_more_than_it_lists_fails_the_pass(tls: TlsFiles) -> None:
    class Hiding(ReplayStore):
        async def answer(self, request: web.Request) -> web.Response:
            reply = await super().answer(request)
            if request.method == "HEAD" or "offset" in request.query:
                reply.headers["X-WP-Total"] = "61"
            return reply

    with pytest.raises(SourceCountMismatch) as raised:
        await _read(Hiding(), tls)
    assert raised.value.metadata["expected"] == "61"
    assert raised.value.metadata["received"] == "60"


async def test_a_product_added_at_the_end_is_still_read(tls: TlsFiles) -> None:
    def add(store: RestlessStore) -> None:
        store.products[900] = {**store.products[16], "id": 900}

    seen = await _read(RestlessStore(change=add), tls)
    assert "900" in seen.by_id()
    assert (seen.end.source_count, seen.end.emitted_count, seen.end.warnings) == (61, 61, ())


async def test_a_broken_variation_is_set_aside_alone(tls: TlsFiles) -> None:
    store = ReplayStore()
    store.variations[68] = {**store.variations[68], "price": "abc"}
    store.products[16] = {**store.products[16], "price": "-3"}
    seen = await _read(store, tls)
    assert seen.items().keys() == ITEM_IDS - {"68", "16"}
    assert [(issue.product_id, issue.variant_id, issue.product_set_aside) for issue in seen.issues] == [
        ("16", "", True),
        ("66", "68", False),
    ]
    assert (seen.end.emitted_count, seen.end.set_aside_count) == (59, 1)


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
