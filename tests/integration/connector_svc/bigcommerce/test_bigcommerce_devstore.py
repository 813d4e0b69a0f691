"""BigCommerce's own quirks, met over a real socket in a store that changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from connector_svc.domain.errors import (
    SourceForbidden,
    SourceNotFound,
    SourceResponseInvalid,
    SourceUnauthorized,
)
from connector_svc.domain.fetch import StockLevel, WaitReason
from connector_svc.domain.records import IssueReason
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import utc_now
from connector_svc.platforms.bigcommerce import BigCommercePlatform
from devstore.faults import HONEST_REPLY
from tests import tls
from tests.integration.connector_svc.bigcommerce.bigcommerce_store import BEGINNING, SHOP, Open, Opens


@dataclass(slots=True)
class ShortLists:
    """One product's own list of variants counts them all and holds two."""

    product_id: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(f"/products/{self.product_id}/variants"):
            return None
        reply = await request[HONEST_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        return web.json_response(body | {"data": body["data"][:2]})


@dataclass(slots=True)
class LostId:
    """One product of a page comes without its id."""

    place: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query:
            return None
        reply = await request[HONEST_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        del body["data"][self.place]["id"]
        return web.json_response(body)


async def test_stock_that_moved_without_a_date_is_told_by_the_next_incremental_pass(opens: Opens) -> None:
    async with opens(products=20, specials=False) as shop:
        row = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 1)
        shop.catalog.update_variant(row.variant_ids[0], stock=4711)
        found = await shop.fetch(after=BEGINNING)
        assert found.products == {}
        level = found.levels[str(row.variant_ids[0])]
        assert (level.product_id, level.stock_quantity, level.available) == (str(row.id), 4711, True)
        assert set(found.levels) == {item.item_id for item in shop.catalog.sellable_items()}


async def test_an_incremental_pass_names_every_product_so_that_deleted_ones_can_be_told(opens: Opens) -> None:
    async with opens(products=30) as shop:
        gone, changed = [row.id for row in shop.catalog.rows()][3:5]
        shop.catalog.delete_product(gone)
        shop.catalog.update_product(changed, title="Changed")
        found = await shop.fetch(after=BEGINNING)
        assert set(found.products) == {str(changed)}
        assert sorted(found.listed, key=int) == [str(row.id) for row in shop.catalog.rows()]
        assert (found.end.all_listed, found.end.warnings, found.end.source_count) == (True, (), 1)


async def test_a_full_pass_lists_nothing_since_it_delivers_everything(opens: Opens) -> None:
    async with opens(products=5, specials=False) as shop:
        found = await shop.fetch()
        assert (found.listed, found.levels, found.end.all_listed) == ([], {}, False)


async def test_variants_that_do_not_come_along_are_asked_for(opens: Opens) -> None:
    async with opens(products=40, included_variants=250) as shop:
        large = {
            name: str(shop.catalog.special(name).id) for name in ("variants-600", "variants-251", "variants-250")
        }
        found = await shop.fetch()
        assert [len(found.products[number].variants) for number in large.values()] == [600, 251, 250]
        assert all(product.variants_complete for product in found.products.values())
        # Three pages and two; nothing for the product that came whole.
        assert shop.calls()["product_variants"] == 5


async def test_the_sweep_sees_the_stock_of_all_600_variants_too(opens: Opens) -> None:
    async with opens(products=40) as shop:
        found = await shop.fetch(after=BEGINNING)
        assert len([level for level in found.levels.values() if _is_of(shop, level, "variants-600")]) == 600


def _is_of(shop: Open, level: StockLevel, name: str) -> bool:
    return level.product_id == str(shop.catalog.special(name).id)


async def test_a_product_that_stays_short_is_told_to_be_incomplete(opens: Opens) -> None:
    async with opens(products=10, specials=False, included_variants=2) as shop:
        whole = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 2)
        only = shop.catalog.product(whole.id)
        assert only is not None
        shop.store.add_fault(SHOP.domain, ShortLists(whole.id))
        found = await shop.fetch()
        product = found.products[str(whole.id)]
        assert not product.variants_complete
        issues = [issue for batch in found.batches for issue in batch.issues]
        assert {(issue.product_id, issue.reason) for issue in issues} == {
            (str(whole.id), IssueReason.INCOMPLETE_VARIANTS)
        }


async def test_a_window_that_is_used_up_is_waited_out_without_a_single_refusal(opens: Opens) -> None:
    async with opens(products=60, throttle=True, quota=6, quota_seconds=0.6) as shop:
        found = await shop.fetch()
        assert len(found.products) == 60
        assert {wait.reason for wait in found.waits} == {WaitReason.THROTTLED}
        assert shop.store.requests(SHOP.domain).by_status == {200: shop.store.requests(SHOP.domain).calls}


async def test_a_refusal_is_waited_out_for_as_long_as_it_says(opens: Opens) -> None:
    async with opens(products=5, specials=False) as shop:
        headers = {"X-Rate-Limit-Requests-Left": "0", "X-Rate-Limit-Time-Reset-Ms": "300"}
        shop.store.fail_next(SHOP.domain, 1, status=429, headers=headers)
        found = await shop.fetch()
        assert len(found.products) == 5
        assert found.waits[0].reason is WaitReason.THROTTLED


async def test_one_call_brings_250_products_with_their_variants_and_images(opens: Opens) -> None:
    """With include=options it would be 25 times as many; a page costs one count of variants and its stock."""
    async with opens(products=500, specials=False) as shop:
        found = await shop.fetch()
        assert len(found.products) == 500
        assert shop.calls() == {"store": 2, "products": 4, "variants": 3, "brands": 1, "inventory": 5}
        assert all(product.vendor for product in found.products.values())
        assert any(product.options for product in found.products.values())


async def test_an_incremental_pass_costs_no_more_calls_than_a_full_one(opens: Opens) -> None:
    async with opens(products=500, specials=False) as shop:
        await shop.fetch()
        full = shop.store.requests(SHOP.domain).calls
        await shop.fetch(after=BEGINNING)
        assert shop.store.requests(SHOP.domain).calls - full <= full


async def test_a_wrong_token_is_told(opens: Opens) -> None:
    async with opens(products=1, specials=False) as shop:
        shop.key.token = shop.key.renewed = "wrong"
        with pytest.raises(SourceUnauthorized):
            await shop.fetch()


async def test_a_token_that_was_renewed_meanwhile_is_fetched_once(opens: Opens) -> None:
    async with opens(products=5, specials=False) as shop:
        shop.key.token = "old"
        assert len((await shop.fetch()).products) == 5
        assert shop.store.requests(SHOP.domain).by_status[401] == 1


async def test_pages_too_large_to_take_are_asked_for_in_smaller_ones(opens: Opens) -> None:
    async with opens(products=60, specials=False, max_body=64 * 1024) as shop:
        found = await shop.fetch()
        assert set(found.products) == {str(row.id) for row in shop.catalog.rows()}
        assert shop.calls()["products"] > 5


async def test_a_product_that_cannot_be_taken_alone_is_rejected_and_the_rest_is_read_as_before(
    opens: Opens,
) -> None:
    async with opens(products=40, max_body=100 * 1024) as shop:
        found = await shop.fetch()
        aside = {issue.product_id for batch in found.batches for issue in batch.issues if issue.product_rejected}
        large = {str(shop.catalog.special(f"variants-{count}").id) for count in (600, 251, 250)}
        assert aside == large
        assert set(found.products) == {str(row.id) for row in shop.catalog.rows()} - large
        assert shop.calls()["products"] < 40


async def test_a_product_without_an_id_is_told_and_nothing_is_taken_for_gone(opens: Opens) -> None:
    async with opens(products=8, specials=False) as shop:
        shop.store.add_fault(SHOP.domain, LostId(3))
        full, incremental = await shop.fetch(), await shop.fetch(after=BEGINNING)
        assert (len(full.products), full.end.rejected_count) == (7, 1)
        for found in (full, incremental):
            (issue,) = [issue for batch in found.batches for issue in batch.issues]
            assert (issue.reason, issue.product_rejected) == (IssueReason.MISSING_ID, True)
            assert found.end.warnings
            assert not found.end.all_listed


async def test_a_missing_scope_is_named(opens: Opens) -> None:
    async with opens(products=1, specials=False) as shop:
        shop.store.fail_next(SHOP.domain, 1, status=403, body='{"status": 403}')
        with pytest.raises(SourceForbidden, match="store_v2_information_read_only"):
            await shop.fetch()


async def test_a_store_that_is_not_there_is_told(opens: Opens, tmp_path: Path) -> None:
    async with opens(products=1, specials=False) as shop:
        other = Shop("bigcommerce", "store-zzz.mybigcommerce.com")
        endpoints = Endpoints.of({other.domain: shop.store.base_url(SHOP.domain)})
        async with open_http(HttpConfig(endpoints=endpoints, tls=tls.context(shop.store.ca_file))) as http:
            with pytest.raises(SourceNotFound):
                await BigCommercePlatform(http, shop.key, utc_now).check(other)


async def test_another_stores_answer_is_not_believed(opens: Opens) -> None:
    async with opens(products=1, specials=False) as shop:
        shop.store.fail_next(SHOP.domain, 1, status=200, body='{"id": "other", "currency": "USD"}')
        with pytest.raises(SourceResponseInvalid, match="another store"):
            await shop.platform.check(SHOP)


def test_stores_are_called_at_the_platforms_host_unless_the_operator_says_otherwise() -> None:
    assert str(Endpoints().base_url(SHOP.domain, "api.bigcommerce.com")) == "https://api.bigcommerce.com"
    moved = Endpoints.of({SHOP.domain: "http://localhost:1/x"})
    assert str(moved.base_url(SHOP.domain, "api.bigcommerce.com")) == "http://localhost:1/x"
