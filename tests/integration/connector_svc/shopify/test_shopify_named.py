"""Products that a request names by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.shopify.bulk_shop import DOMAIN, NEVER, BulkShop, bulk_shop


@pytest.fixture
async def shop() -> AsyncIterator[BulkShop]:
    async with bulk_shop(60, policy=NEVER) as running:
        yield running


def deleted(found: Pass) -> list[str]:
    return [number for batch in found.batches for number in batch.deleted_product_ids]


def ids_of(shop: BulkShop) -> list[str]:
    return [str(product.id) for product in shop.catalog.products()]


async def test_named_products_come_whole_and_nothing_else_does(shop: BulkShop) -> None:
    large = str(shop.catalog.edge_case("variants-600").id)
    asked = (large, ids_of(shop)[40], ids_of(shop)[3])
    found = await shop.fetch(ids=asked)
    whole = {product.id: product for product in (await shop.paged()).products}
    assert found.products == [whole[number] for number in asked]
    assert len(found.products[0].variants) == 600
    assert (deleted(found), found.issues) == ([], [])
    assert (found.end.source_count, found.end.emitted_count) == (3, 3)


async def test_those_that_are_gone_are_told_and_so_is_what_is_no_id_of_shopify(shop: BulkShop) -> None:
    gone, there = ids_of(shop)[2:4]
    shop.catalog.delete_product(int(gone))
    strange = ("abc", "12 or 13", "0017", "9" * 40, "gid://shopify/Product/7")
    found = await shop.fetch(ids=(gone, *strange, there))
    assert found.ids == [there]
    assert deleted(found) == [gone, *strange]


async def test_a_product_is_not_gone_because_one_answer_says_so(shop: BulkShop) -> None:
    shop.store.shopify(DOMAIN).quirks.null_nodes = 0.1
    asked = tuple(ids_of(shop))
    for seed in range(5):
        shop.store.shopify(DOMAIN).quirks.random.seed(seed)
        found = await shop.fetch(ids=asked)
        assert len(deleted(found)) <= 2
        assert {*found.ids, *deleted(found)} == set(asked)


async def test_nulls_are_asked_for_again_in_a_request_of_their_own(shop: BulkShop) -> None:
    gone, there = ids_of(shop)[2:4]
    shop.catalog.delete_product(int(gone))
    asked: list[list[str]] = []

    async def look(request: web.Request) -> None:
        variables = (await request.json())["variables"]
        asked.extend([variables["ids"]] if "ids" in variables else [])

    shop.store.add_fault(DOMAIN, look)
    await shop.fetch(ids=(gone, there))
    assert [[gid.rpartition("/")[2] for gid in ids] for ids in asked] == [[gone, there], [gone]]


async def test_a_product_that_the_platform_fails_on_is_neither_delivered_nor_gone(shop: BulkShop) -> None:
    bad, good = ids_of(shop)[2:4]

    async def fail(request: web.Request) -> web.StreamResponse | None:
        variables = (await request.json())["variables"]
        if not any(str(gid).endswith(bad) for gid in (*variables.get("ids", ()), variables.get("id", ""))):
            return None
        failure = {"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}
        return web.json_response(failure, headers={"X-Shopify-API-Version": "2026-10"})

    shop.store.add_fault(DOMAIN, fail)
    found = await shop.fetch(ids=(bad, good))
    assert (found.ids, deleted(found), found.issues) == ([good], [], [])
    assert found.end.emitted_count == 1


async def test_ids_that_are_charged_one_by_one_are_read_in_smaller_requests(shop: BulkShop) -> None:
    shop.store.shopify(DOMAIN).quirks.nodes_charged_per_id = True
    asked = tuple(ids_of(shop))
    found = await shop.fetch(ids=asked)
    assert found.ids == list(asked)
    assert shop.asked("ProductsById") > 1
