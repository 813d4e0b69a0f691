"""Passes over a BigCommerce store: stock without dates, long variant lists, rate limits and errors."""

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
from devstore.faults import ORIGINAL_REPLY
from tests import tls
from tests.integration.connector_svc.bigcommerce.bigcommerce_store import SHOP, START_TIME, OpenStore, StoreFactory


@dataclass(slots=True)
class TruncateVariantList:
    """The variant list of one product counts all of them and returns two."""

    product_id: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith(f"/products/{self.product_id}/variants"):
            return None
        reply = await request[ORIGINAL_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        return web.json_response(body | {"data": body["data"][:2]})


@dataclass(slots=True)
class RemoveProductId:
    """One product of a page has no id."""

    place: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "include" not in request.query:
            return None
        reply = await request[ORIGINAL_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        del body["data"][self.place]["id"]
        return web.json_response(body)


async def test_an_undated_stock_change_comes_with_the_next_incremental_pass(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        row = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 1)
        shop.catalog.update_variant(row.variant_ids[0], stock=4711)
        found = await shop.fetch(after=START_TIME)
        assert found.products == {}
        level = found.levels[str(row.variant_ids[0])]
        assert (level.product_id, level.stock_quantity, level.available) == (str(row.id), 4711, True)
        assert set(found.levels) == {item.item_id for item in shop.catalog.sellable_items()}


async def test_an_incremental_pass_lists_every_product_so_that_deletions_can_be_detected(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=30) as shop:
        deleted, changed = [row.id for row in shop.catalog.rows()][3:5]
        shop.catalog.delete_product(deleted)
        shop.catalog.update_product(changed, title="Changed")
        found = await shop.fetch(after=START_TIME)
        assert set(found.products) == {str(changed)}
        assert sorted(found.listed, key=int) == [str(row.id) for row in shop.catalog.rows()]
        assert (found.end.all_listed, found.end.warnings, found.end.source_count) == (True, (), 1)


async def test_a_full_pass_lists_no_ids_since_it_delivers_all_products(open_store: StoreFactory) -> None:
    async with open_store(products=5, edge_cases=False) as shop:
        found = await shop.fetch()
        assert (found.listed, found.levels, found.end.all_listed) == ([], {}, False)


async def test_variants_that_are_not_included_are_requested(open_store: StoreFactory) -> None:
    async with open_store(products=40, included_variants=250) as shop:
        large = {
            name: str(shop.catalog.edge_case(name).id) for name in ("variants-600", "variants-251", "variants-250")
        }
        found = await shop.fetch()
        assert [len(found.products[number].variants) for number in large.values()] == [600, 251, 250]
        assert all(product.variants_complete for product in found.products.values())
        # Three pages and two; none for the product whose variants were all included.
        assert shop.calls()["product_variants"] == 5


async def test_an_incremental_pass_reads_the_stock_of_all_600_variants(open_store: StoreFactory) -> None:
    async with open_store(products=40) as shop:
        found = await shop.fetch(after=START_TIME)
        assert len([level for level in found.levels.values() if _is_of(shop, level, "variants-600")]) == 600


def _is_of(shop: OpenStore, level: StockLevel, name: str) -> bool:
    return level.product_id == str(shop.catalog.edge_case(name).id)


async def test_a_product_that_stays_short_of_variants_is_reported_as_incomplete(open_store: StoreFactory) -> None:
    async with open_store(products=10, edge_cases=False, included_variants=2) as shop:
        row = next(row for row in shop.catalog.rows() if len(row.variant_ids) > 2)
        only = shop.catalog.product(row.id)
        assert only is not None
        shop.store.add_fault(SHOP.domain, TruncateVariantList(row.id))
        found = await shop.fetch()
        product = found.products[str(row.id)]
        assert not product.variants_complete
        issues = [issue for batch in found.batches for issue in batch.issues]
        assert {(issue.product_id, issue.reason) for issue in issues} == {
            (str(row.id), IssueReason.INCOMPLETE_VARIANTS)
        }


async def test_a_used_up_rate_limit_window_is_waited_for_without_a_429(open_store: StoreFactory) -> None:
    async with open_store(products=60, throttle=True, quota=6, quota_seconds=0.6) as shop:
        found = await shop.fetch()
        assert len(found.products) == 60
        assert {wait.reason for wait in found.waits} == {WaitReason.THROTTLED}
        assert shop.store.requests(SHOP.domain).by_status == {200: shop.store.requests(SHOP.domain).calls}


async def test_a_429_is_waited_for_as_long_as_it_says(open_store: StoreFactory) -> None:
    async with open_store(products=5, edge_cases=False) as shop:
        headers = {"X-Rate-Limit-Requests-Left": "0", "X-Rate-Limit-Time-Reset-Ms": "300"}
        shop.store.fail_next(SHOP.domain, 1, status=429, headers=headers)
        found = await shop.fetch()
        assert len(found.products) == 5
        assert found.waits[0].reason is WaitReason.THROTTLED


async def test_one_request_returns_250_products_with_variants_and_images(open_store: StoreFactory) -> None:
    """With include=options it would be 25 times as many; a page needs one count of variants and one of stock."""
    async with open_store(products=500, edge_cases=False) as shop:
        found = await shop.fetch()
        assert len(found.products) == 500
        assert shop.calls() == {"store": 2, "products": 4, "variants": 3, "brands": 1, "inventory": 5}
        assert all(product.vendor for product in found.products.values())
        assert any(product.options for product in found.products.values())


async def test_an_incremental_pass_needs_no_more_requests_than_a_full_one(open_store: StoreFactory) -> None:
    async with open_store(products=500, edge_cases=False) as shop:
        await shop.fetch()
        full = shop.store.requests(SHOP.domain).calls
        await shop.fetch(after=START_TIME)
        assert shop.store.requests(SHOP.domain).calls - full <= full


async def test_a_wrong_token_is_unauthorized(open_store: StoreFactory) -> None:
    async with open_store(products=1, edge_cases=False) as shop:
        shop.credentials.token = shop.credentials.renewed = "wrong"
        with pytest.raises(SourceUnauthorized):
            await shop.fetch()


async def test_a_renewed_token_is_fetched_once(open_store: StoreFactory) -> None:
    async with open_store(products=5, edge_cases=False) as shop:
        shop.credentials.token = "old"
        assert len((await shop.fetch()).products) == 5
        assert shop.store.requests(SHOP.domain).by_status[401] == 1


async def test_pages_that_are_too_large_are_requested_in_smaller_ones(open_store: StoreFactory) -> None:
    async with open_store(products=60, edge_cases=False, max_body=64 * 1024) as shop:
        found = await shop.fetch()
        assert set(found.products) == {str(row.id) for row in shop.catalog.rows()}
        assert shop.calls()["products"] > 5


async def test_a_product_that_is_too_large_alone_is_rejected_and_the_rest_is_read(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=40, max_body=100 * 1024) as shop:
        found = await shop.fetch()
        rejected = {
            issue.product_id for batch in found.batches for issue in batch.issues if issue.product_rejected
        }
        large = {str(shop.catalog.edge_case(f"variants-{count}").id) for count in (600, 251, 250)}
        assert rejected == large
        assert set(found.products) == {str(row.id) for row in shop.catalog.rows()} - large
        assert shop.calls()["products"] < 40


async def test_a_product_without_an_id_is_reported_and_nothing_is_deleted(open_store: StoreFactory) -> None:
    async with open_store(products=8, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, RemoveProductId(3))
        full, incremental = await shop.fetch(), await shop.fetch(after=START_TIME)
        assert (len(full.products), full.end.rejected_count) == (7, 1)
        for found in (full, incremental):
            (issue,) = [issue for batch in found.batches for issue in batch.issues]
            assert (issue.reason, issue.product_rejected) == (IssueReason.MISSING_ID, True)
            assert found.end.warnings
            assert not found.end.all_listed


async def test_a_missing_scope_is_named(open_store: StoreFactory) -> None:
    async with open_store(products=1, edge_cases=False) as shop:
        shop.store.fail_next(SHOP.domain, 1, status=403, body='{"status": 403}')
        with pytest.raises(SourceForbidden, match="store_v2_information_read_only"):
            await shop.fetch()


async def test_an_unknown_store_is_not_found(open_store: StoreFactory, tmp_path: Path) -> None:
    async with open_store(products=1, edge_cases=False) as shop:
        other = Shop("bigcommerce", "store-zzz.mybigcommerce.com")
        endpoints = Endpoints.of({other.domain: shop.store.base_url(SHOP.domain)})
        async with open_http(HttpConfig(endpoints=endpoints, tls=tls.client_context(shop.store.ca_file))) as http:
            with pytest.raises(SourceNotFound):
                await BigCommercePlatform(http, shop.credentials, utc_now).check(other)


async def test_a_reply_of_another_store_is_refused(open_store: StoreFactory) -> None:
    async with open_store(products=1, edge_cases=False) as shop:
        shop.store.fail_next(SHOP.domain, 1, status=200, body='{"id": "other", "currency": "USD"}')
        with pytest.raises(SourceResponseInvalid, match="another store"):
            await shop.platform.check(SHOP)


def test_stores_are_called_at_the_platforms_host_unless_an_endpoint_is_configured() -> None:
    assert str(Endpoints().base_url(SHOP.domain, "api.bigcommerce.com")) == "https://api.bigcommerce.com"
    moved = Endpoints.of({SHOP.domain: "http://localhost:1/x"})
    assert str(moved.base_url(SHOP.domain, "api.bigcommerce.com")) == "http://localhost:1/x"
