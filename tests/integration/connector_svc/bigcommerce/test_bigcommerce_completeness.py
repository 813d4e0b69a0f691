"""A pass is complete or reports what is missing: omitted rows, truncated replies, products by id."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceCurrencyChanged
from connector_svc.domain.fetch import FetchRequest, Header
from connector_svc.domain.records import IssueReason
from devstore.faults import ORIGINAL_REPLY
from tests.integration.connector_svc.bigcommerce.bigcommerce_store import SHOP, START_TIME, OpenStore, StoreFactory


@dataclass(slots=True)
class TruncateReplies:
    """The next replies are complete HTTP replies with status 200 and half of their JSON."""

    times: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query or self.times <= 0:
            return None
        self.times -= 1
        reply = await request[ORIGINAL_REPLY]()
        assert isinstance(reply.body, bytes)
        return web.Response(body=reply.body[: len(reply.body) // 2], content_type="application/json")


@dataclass(slots=True)
class ChangeProductsDuringPass:
    """Each list of products deletes a product and edits another, except those of `kept_ids`."""

    shop: OpenStore
    kept_ids: set[int]

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" in request.query:
            left = [row.id for row in self.shop.catalog.rows() if row.id not in self.kept_ids]
            if len(left) > 1:
                self.shop.catalog.delete_product(left[0])
                self.shop.catalog.update_product(left[-1], title="Edited")
        return None


@dataclass(slots=True)
class ChangeCurrencyDuringPass:
    """The first list of products changes the store's currency."""

    shop: OpenStore

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" in request.query:
            self.shop.switches.currency = "CAD"
        return None


@dataclass(slots=True)
class OmitFirstRow:
    """The next list of products omits its first row and counts it."""

    times: int = 1

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query or self.times <= 0:
            return None
        self.times -= 1
        reply = await request[ORIGINAL_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        return web.json_response(body | {"data": body["data"][1:]})


def ids_of(shop: OpenStore) -> list[str]:
    return [str(row.id) for row in shop.catalog.rows()]


async def test_a_page_with_fewer_products_than_it_counts_is_requested_again(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, OmitFirstRow())
        found = await shop.fetch()
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.end.warnings == ()


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_a_product_that_is_counted_and_never_listed_is_reported_and_nothing_is_deleted(
    open_store: StoreFactory, place: int
) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        hidden = [row.id for row in shop.catalog.rows()][place]
        shop.switches.hidden_products = {hidden}
        full, incremental = await shop.fetch(), await shop.fetch(after=START_TIME)
        assert set(full.products) == set(ids_of(shop)) - {str(hidden)}
        assert set(incremental.listed) == set(ids_of(shop)) - {str(hidden)}
        for found in (full, incremental):
            (issue,) = found.issues
            assert (issue.reason, issue.product_rejected) == (IssueReason.SOURCE_ERROR, True)
            assert "does not list" in found.end.warnings[0]
            assert "does not list" in found.end.notes[0]
            assert not found.end.all_listed
        assert (full.end.source_count, full.end.emitted_count, full.end.rejected_count) == (20, 19, 1)


async def test_a_resume_after_an_unlisted_product_counts_it_once(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.switches.hidden_products = {[row.id for row in shop.catalog.rows()][7]}
        full = await shop.fetch(max_batch_products=2)
        for batch in full.batches[:-1]:
            assert (await shop.fetch(max_batch_products=2, checkpoint=batch.checkpoint)).end == full.end


async def test_a_product_that_is_listed_only_without_its_variants_is_reported_by_id(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        bare = [row.id for row in shop.catalog.rows()][7]
        shop.switches.bare_products = {bare}
        found = await shop.fetch()
        (issue,) = found.issues
        assert (issue.product_id, issue.product_rejected) == (str(bare), True)
        assert found.end.warnings


async def test_deletions_during_a_pass_do_not_hide_a_missing_product(open_store: StoreFactory) -> None:
    """The final count alone would not reveal a missing product: deleted products lower it."""
    async with open_store(products=30, edge_cases=False) as shop:
        rows = [row.id for row in shop.catalog.rows()]
        shop.switches.hidden_products = {rows[20]}
        shop.store.add_fault(SHOP.domain, ChangeProductsDuringPass(shop, kept_ids=set(rows[10:])))
        found = await shop.fetch()
        assert set(map(str, rows[10:])) - {str(rows[20])} <= set(found.products)
        assert found.end.warnings


@pytest.mark.parametrize("seed", range(20))
async def test_a_store_that_omits_random_rows_is_read_completely_or_reports_what_is_missing(
    open_store: StoreFactory, seed: int
) -> None:
    """Every list omits one row of ten, while other products are deleted and edited."""
    async with open_store(products=40, edge_cases=False, seed=seed) as shop:
        rows = [row.id for row in shop.catalog.rows()]
        shop.switches.random.seed(seed)
        shop.switches.dropped_rows = 0.1
        shop.store.add_fault(SHOP.domain, ChangeProductsDuringPass(shop, kept_ids=set(rows[15:])))
        found = await shop.fetch()
        assert set(map(str, rows[15:])) <= set(found.products) or found.end.warnings


async def test_a_truncated_reply_is_requested_again(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, TruncateReplies(2))
        assert sorted((await shop.fetch()).products) == sorted(ids_of(shop))


async def test_a_404_for_the_variants_makes_their_product_incomplete(open_store: StoreFactory) -> None:
    """A 404 for the variants of one product does not mean that the store is missing."""
    async with open_store(products=10, edge_cases=False, included_variants=1) as shop:
        product = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 1)

        async def not_found(request: web.Request) -> web.StreamResponse | None:
            matches = request.path.endswith(f"/products/{product.id}/variants")
            return web.json_response({"status": 404}, status=404) if matches else None

        shop.store.add_fault(SHOP.domain, not_found)
        found = await shop.fetch()
        assert len(found.products) == 10
        assert not found.products[str(product.id)].variants_complete
        assert {issue.reason for issue in found.issues} == {IssueReason.INCOMPLETE_VARIANTS}


async def test_products_by_id_are_complete_and_those_the_store_does_not_have_are_deleted(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=250, edge_cases=False) as shop:
        wanted = ids_of(shop)[::2]
        deleted = wanted[3:6]
        for number in deleted:
            shop.catalog.delete_product(int(number))
        found = await shop.fetch(ids=tuple(reversed(wanted)))
        assert set(found.products) == set(wanted) - set(deleted)
        assert found.deleted == set(deleted)
        items = {item.item_id: item.stock for item in shop.catalog.sellable_items()}
        assert all(variant.stock_quantity == items[number] for number, variant in found.variants.items())
        assert (found.end.source_count, found.end.emitted_count) == (len(found.products), len(found.products))
        assert all(product.vendor for product in found.products.values())
        assert all(batch.checkpoint == b"" for batch in found.batches)
        # Two requests, and one more for the missing products.
        assert shop.calls()["products"] == 3


async def test_an_id_that_is_counted_and_not_returned_is_neither_read_nor_deleted(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=6, edge_cases=False) as shop:
        hidden, listed, deleted = ids_of(shop)[:3]
        shop.switches.hidden_products = {int(hidden)}
        shop.catalog.delete_product(int(deleted))
        found = await shop.fetch(ids=(hidden, listed, deleted))
        assert set(found.products) == {listed}
        assert found.deleted == set()


async def test_an_id_that_one_response_omits_is_requested_again(open_store: StoreFactory) -> None:
    async with open_store(products=6, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, OmitFirstRow())
        found = await shop.fetch(ids=tuple(ids_of(shop)))
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.deleted == set()


async def test_an_impossible_id_is_deleted_without_a_request(open_store: StoreFactory) -> None:
    async with open_store(products=3, edge_cases=False) as shop:
        strange = ("x", "007", "-1", "1.5", "0", "9" * 30, "٣", "1,2")
        found = await shop.fetch(ids=(*strange, ids_of(shop)[0]))
        assert set(found.products) == {ids_of(shop)[0]}
        assert found.deleted == set(strange)
        assert shop.calls()["products"] == 1


async def test_products_by_id_that_are_too_large_together_are_requested_in_halves(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=60, edge_cases=False, max_body=64 * 1024) as shop:
        found = await shop.fetch(ids=tuple(ids_of(shop)))
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.deleted == set()


async def test_a_currency_change_during_the_pass_fails_it(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, ChangeCurrencyDuringPass(shop))
        with pytest.raises(SourceCurrencyChanged) as caught:
            await shop.fetch()
        assert (caught.value.metadata["expected"], caught.value.metadata["received"]) == ("USD", "CAD")


async def test_a_currency_change_before_a_resume_fails_it_after_the_header(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        checkpoint = (await shop.fetch(max_batch_products=5)).batches[0].checkpoint
        shop.switches.currency = "CAD"
        request = FetchRequest(shop=SHOP, checkpoint=checkpoint)
        async with aclosing(shop.platform.fetch(request, on_wait=lambda _: None)) as events:
            header = await anext(events)
            assert isinstance(header, Header)
            assert header.shop_info.currency_code == "CAD"
            with pytest.raises(SourceCurrencyChanged):
                await anext(events)


async def test_streams_of_one_store_share_its_rate_limit(open_store: StoreFactory) -> None:
    async with open_store(products=60, throttle=True, quota=10, quota_seconds=0.6) as shop:
        found = await asyncio.gather(*(shop.fetch() for _ in range(5)))
        assert [len(one.products) for one in found] == [60] * 5
        traffic = shop.store.requests(SHOP.domain)
        assert traffic.by_status == {200: traffic.calls}
