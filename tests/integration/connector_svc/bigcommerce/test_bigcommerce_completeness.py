"""A pass is complete, or it says what is missing: rows left out, replies cut, products asked for by id."""

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
from devstore.faults import HONEST_REPLY
from tests.integration.connector_svc.bigcommerce.bigcommerce_store import BEGINNING, SHOP, Open, Opens


@dataclass(slots=True)
class CutReplies:
    """The next replies are whole HTTP with status 200, and half of their JSON."""

    times: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query or self.times <= 0:
            return None
        self.times -= 1
        reply = await request[HONEST_REPLY]()
        assert isinstance(reply.body, bytes)
        return web.Response(body=reply.body[: len(reply.body) // 2], content_type="application/json")


@dataclass(slots=True)
class ChangedWhileReading:
    """Deletes a product and edits another, of those that `spared` does not name, at each list of products."""

    shop: Open
    spared: set[int]

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" in request.query:
            left = [row.id for row in self.shop.catalog.rows() if row.id not in self.spared]
            if len(left) > 1:
                self.shop.catalog.delete_product(left[0])
                self.shop.catalog.update_product(left[-1], title="Edited")
        return None


@dataclass(slots=True)
class CurrencyOnce:
    """The store's currency changes with the first list of products."""

    shop: Open

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" in request.query:
            self.shop.switches.currency = "CAD"
        return None


@dataclass(slots=True)
class LeftOutOnce:
    """The next list of products leaves its first row out and counts it."""

    times: int = 1

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query or self.times <= 0:
            return None
        self.times -= 1
        reply = await request[HONEST_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        return web.json_response(body | {"data": body["data"][1:]})


def ids_of(shop: Open) -> list[str]:
    return [str(row.id) for row in shop.catalog.rows()]


async def test_a_page_with_fewer_rows_than_it_counts_is_asked_for_again(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        shop.store.add_fault(SHOP.domain, LeftOutOnce())
        found = await shop.fetch()
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.end.warnings == ()


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_a_product_that_is_counted_and_never_listed_is_named_and_nothing_is_taken_for_deleted(
    opens: Opens, place: int
) -> None:
    async with opens(products=20, specials=False) as shop:
        hidden = [row.id for row in shop.catalog.rows()][place]
        shop.switches.hidden_products = {hidden}
        full, incremental = await shop.fetch(), await shop.fetch(after=BEGINNING)
        assert set(full.products) == set(ids_of(shop)) - {str(hidden)}
        assert set(incremental.listed) == set(ids_of(shop)) - {str(hidden)}
        for found in (full, incremental):
            (issue,) = found.issues
            assert (issue.reason, issue.product_rejected) == (IssueReason.SOURCE_ERROR, True)
            assert "does not list" in found.end.warnings[0]
            assert "does not list" in found.end.notes[0]
            assert not found.end.all_listed
        assert (full.end.source_count, full.end.emitted_count, full.end.rejected_count) == (20, 19, 1)


async def test_going_on_behind_a_product_that_is_not_listed_counts_it_once(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        shop.switches.hidden_products = {[row.id for row in shop.catalog.rows()][7]}
        whole = await shop.fetch(most=2)
        for batch in whole.batches[:-1]:
            assert (await shop.fetch(most=2, checkpoint=batch.checkpoint)).end == whole.end


async def test_a_product_that_is_listed_without_its_variants_alone_is_named_by_its_id(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        bare = [row.id for row in shop.catalog.rows()][7]
        shop.switches.bare_products = {bare}
        found = await shop.fetch()
        (issue,) = found.issues
        assert (issue.product_id, issue.product_rejected) == (str(bare), True)
        assert found.end.warnings


async def test_what_is_deleted_while_we_read_hides_no_product_that_never_came(opens: Opens) -> None:
    """The count at the end has slack for every product that came and is gone since."""
    async with opens(products=30, specials=False) as shop:
        rows = [row.id for row in shop.catalog.rows()]
        shop.switches.hidden_products = {rows[20]}
        shop.store.add_fault(SHOP.domain, ChangedWhileReading(shop, spared=set(rows[10:])))
        found = await shop.fetch()
        assert set(map(str, rows[10:])) - {str(rows[20])} <= set(found.products)
        assert found.end.warnings


@pytest.mark.parametrize("seed", range(20))
async def test_a_store_that_leaves_rows_out_at_random_is_read_whole_or_says_what_is_missing(
    opens: Opens, seed: int
) -> None:
    """One row of ten is left out, by every list, while other products are deleted and edited."""
    async with opens(products=40, specials=False, seed=seed) as shop:
        rows = [row.id for row in shop.catalog.rows()]
        shop.switches.random.seed(seed)
        shop.switches.dropped_rows = 0.1
        shop.store.add_fault(SHOP.domain, ChangedWhileReading(shop, spared=set(rows[15:])))
        found = await shop.fetch()
        assert set(map(str, rows[15:])) <= set(found.products) or found.end.warnings


async def test_a_reply_that_is_cut_is_asked_for_again(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        shop.store.add_fault(SHOP.domain, CutReplies(2))
        assert sorted((await shop.fetch()).products) == sorted(ids_of(shop))


async def test_variants_that_are_gone_when_they_are_asked_for_make_their_product_incomplete(opens: Opens) -> None:
    """A 404 of one product's variants is no missing store."""
    async with opens(products=10, specials=False, included_variants=1) as shop:
        whole = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 1)

        async def gone(request: web.Request) -> web.StreamResponse | None:
            is_it = request.path.endswith(f"/products/{whole.id}/variants")
            return web.json_response({"status": 404}, status=404) if is_it else None

        shop.store.add_fault(SHOP.domain, gone)
        found = await shop.fetch()
        assert len(found.products) == 10
        assert not found.products[str(whole.id)].variants_complete
        assert {issue.reason for issue in found.issues} == {IssueReason.INCOMPLETE_VARIANTS}


async def test_products_by_id_are_read_whole_and_those_the_store_does_not_have_are_deleted(opens: Opens) -> None:
    async with opens(products=250, specials=False) as shop:
        wanted = ids_of(shop)[::2]
        gone = wanted[3:6]
        for number in gone:
            shop.catalog.delete_product(int(number))
        found = await shop.fetch(ids=tuple(reversed(wanted)))
        assert set(found.products) == set(wanted) - set(gone)
        assert found.deleted == set(gone)
        items = {item.item_id: item.stock for item in shop.catalog.sellable_items()}
        assert all(variant.stock_quantity == items[number] for number, variant in found.variants.items())
        assert (found.end.source_count, found.end.emitted_count) == (len(found.products), len(found.products))
        assert all(product.vendor for product in found.products.values())
        assert all(batch.checkpoint == b"" for batch in found.batches)
        # Two chunks, and the missing ones again.
        assert shop.calls()["products"] == 3


async def test_an_id_that_is_counted_and_does_not_come_is_neither_read_nor_deleted(opens: Opens) -> None:
    async with opens(products=6, specials=False) as shop:
        hidden, live, gone = ids_of(shop)[:3]
        shop.switches.hidden_products = {int(hidden)}
        shop.catalog.delete_product(int(gone))
        found = await shop.fetch(ids=(hidden, live, gone))
        assert set(found.products) == {live}
        assert found.deleted == set()


async def test_an_id_that_one_answer_leaves_out_is_asked_for_once_more(opens: Opens) -> None:
    async with opens(products=6, specials=False) as shop:
        shop.store.add_fault(SHOP.domain, LeftOutOnce())
        found = await shop.fetch(ids=tuple(ids_of(shop)))
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.deleted == set()


async def test_what_no_product_can_have_as_its_id_is_not_asked_for_and_deleted(opens: Opens) -> None:
    async with opens(products=3, specials=False) as shop:
        strange = ("x", "007", "-1", "1.5", "0", "9" * 30, "٣", "1,2")
        found = await shop.fetch(ids=(*strange, ids_of(shop)[0]))
        assert set(found.products) == {ids_of(shop)[0]}
        assert found.deleted == set(strange)
        assert shop.calls()["products"] == 1


async def test_products_by_id_that_are_too_large_together_are_asked_for_in_halves(opens: Opens) -> None:
    async with opens(products=60, specials=False, max_body=64 * 1024) as shop:
        found = await shop.fetch(ids=tuple(ids_of(shop)))
        assert sorted(found.products) == sorted(ids_of(shop))
        assert found.deleted == set()


async def test_a_currency_that_changes_while_the_store_is_read_fails_the_pass(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        shop.store.add_fault(SHOP.domain, CurrencyOnce(shop))
        with pytest.raises(SourceCurrencyChanged) as caught:
            await shop.fetch()
        assert (caught.value.metadata["expected"], caught.value.metadata["received"]) == ("USD", "CAD")


async def test_a_currency_that_changed_before_a_resume_is_told_by_the_header_alone(
    opens: Opens,
) -> None:
    async with opens(products=20, specials=False) as shop:
        checkpoint = (await shop.fetch(most=5)).batches[0].checkpoint
        shop.switches.currency = "CAD"
        request = FetchRequest(shop=SHOP, checkpoint=checkpoint)
        async with aclosing(shop.platform.fetch(request, on_wait=lambda _: None)) as events:
            header = await anext(events)
            assert isinstance(header, Header)
            assert header.shop_info.currency_code == "CAD"
            with pytest.raises(SourceCurrencyChanged):
                await anext(events)


async def test_streams_of_one_store_share_its_window_and_are_never_refused(opens: Opens) -> None:
    async with opens(products=60, throttle=True, quota=10, quota_seconds=0.6) as shop:
        found = await asyncio.gather(*(shop.fetch() for _ in range(5)))
        assert [len(one.products) for one in found] == [60] * 5
        traffic = shop.store.requests(SHOP.domain)
        assert traffic.by_status == {200: traffic.calls}
