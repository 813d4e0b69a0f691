"""Products that a request names by id."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.shopify.bulk_shop import DOMAIN, NEVER_BULK, BulkShop, bulk_shop


@pytest.fixture
async def shop() -> AsyncIterator[BulkShop]:
    async with bulk_shop(60, policy=NEVER_BULK) as running:
        yield running


def deleted(found: Pass) -> list[str]:
    return [product_id for batch in found.batches for product_id in batch.deleted_product_ids]


def ids_of(shop: BulkShop) -> list[str]:
    return [str(product.id) for product in shop.catalog.products()]


async def test_requested_products_are_delivered_completely_and_nothing_else_is(shop: BulkShop) -> None:
    large = str(shop.catalog.edge_case("variants-600").id)
    requested = (large, ids_of(shop)[40], ids_of(shop)[3])
    found = await shop.fetch(ids=requested)
    expected = {product.id: product for product in (await shop.paged()).products}
    assert found.products == [expected[product_id] for product_id in requested]
    assert len(found.products[0].variants) == 600
    assert (deleted(found), found.issues) == ([], [])
    assert (found.end.source_count, found.end.emitted_count) == (3, 3)


async def test_deleted_products_and_invalid_ids_are_reported_as_deleted(shop: BulkShop) -> None:
    deleted_id, existing_id = ids_of(shop)[2:4]
    shop.catalog.delete_product(int(deleted_id))
    invalid_ids = ("abc", "12 or 13", "0017", "9" * 40, "gid://shopify/Product/7")
    found = await shop.fetch(ids=(deleted_id, *invalid_ids, existing_id))
    assert found.ids == [existing_id]
    assert deleted(found) == [deleted_id, *invalid_ids]


async def test_a_product_is_not_reported_as_deleted_after_a_single_null(shop: BulkShop) -> None:
    shop.store.shopify(DOMAIN).quirks.null_nodes = 0.1
    requested = tuple(ids_of(shop))
    for seed in range(5):
        shop.store.shopify(DOMAIN).quirks.random.seed(seed)
        found = await shop.fetch(ids=requested)
        assert len(deleted(found)) <= 2
        assert {*found.ids, *deleted(found)} == set(requested)


async def test_nulls_are_requested_again_in_a_call_of_their_own(shop: BulkShop) -> None:
    deleted_id, existing_id = ids_of(shop)[2:4]
    shop.catalog.delete_product(int(deleted_id))
    requested: list[list[str]] = []

    async def record_ids(request: web.Request) -> None:
        variables = (await request.json())["variables"]
        requested.extend([variables["ids"]] if "ids" in variables else [])

    shop.store.add_fault(DOMAIN, record_ids)
    await shop.fetch(ids=(deleted_id, existing_id))
    assert [[gid.rpartition("/")[2] for gid in ids] for ids in requested] == [
        [deleted_id, existing_id],
        [deleted_id],
    ]


async def test_a_product_that_shopify_fails_to_deliver_is_neither_delivered_nor_deleted(shop: BulkShop) -> None:
    failing, existing = ids_of(shop)[2:4]

    async def fail(request: web.Request) -> web.StreamResponse | None:
        variables = (await request.json())["variables"]
        if not any(str(gid).endswith(failing) for gid in (*variables.get("ids", ()), variables.get("id", ""))):
            return None
        failure = {"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}
        return web.json_response(failure, headers={"X-Shopify-API-Version": "2026-10"})

    shop.store.add_fault(DOMAIN, fail)
    found = await shop.fetch(ids=(failing, existing))
    assert (found.ids, deleted(found), found.issues) == ([existing], [], [])
    assert found.end.emitted_count == 1


async def test_ids_that_are_charged_one_by_one_are_read_in_smaller_calls(shop: BulkShop) -> None:
    shop.store.shopify(DOMAIN).quirks.nodes_charged_per_id = True
    requested = tuple(ids_of(shop))
    found = await shop.fetch(ids=requested)
    assert found.ids == list(requested)
    assert shop.call_count("ProductsById") > 1
