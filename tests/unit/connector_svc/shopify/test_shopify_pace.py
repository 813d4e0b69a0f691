from __future__ import annotations

import time

from aiohttp import web

from connector_svc.domain.fetch import WaitReason
from tests.unit.connector_svc.shopify.fake_admin import FakeAdmin, error, graphql
from tests.unit.connector_svc.shopify.nodes_json import Json, product_node
from tests.unit.connector_svc.shopify.shop_reading import reading


def cost(requested: float, available: float, restore: float = 1000, maximum: float = 2000) -> Json:
    status = {"maximumAvailable": maximum, "currentlyAvailable": available, "restoreRate": restore}
    return {"requestedQueryCost": requested, "actualQueryCost": None, "throttleStatus": status}


def throttled(requested: float, available: float) -> web.Response:
    return graphql([error("THROTTLED")], cost=cost(requested, available))


async def test_a_throttled_reply_is_waited_out_and_is_no_failure() -> None:
    admin = FakeAdmin(products=[product_node(1)])
    admin.faults.extend([lambda *_: None, *[lambda *_: throttled(500, 400)] * 7])
    async with reading(admin) as shop:
        begin = time.monotonic()
        found = await shop.read()
        took = time.monotonic() - begin
    assert found.end.emitted_count == 1
    assert len(shop.waits) >= 7
    assert {wait.reason for wait in shop.waits} == {WaitReason.THROTTLED}
    assert 0.7 <= took < 3, "each time (500 - 400) / 1000 s"


async def test_the_next_page_waits_until_its_points_are_there() -> None:
    admin = FakeAdmin(products=[product_node(1)], cost=cost(15, 759))
    async with reading(admin) as shop:
        begin = time.monotonic()
        await shop.read()
        took = time.monotonic() - begin
    assert [wait.reason for wait in shop.waits] == [WaitReason.THROTTLED]
    assert 0.15 <= took < 2, "(959 - 759) / 1000 s before the page, nothing before the count"


async def test_what_the_platform_charges_replaces_what_we_expect() -> None:
    admin = FakeAdmin(products=[product_node(n) for n in range(1, 5)], cost=cost(5, 959 + 1))
    async with reading(admin) as shop:
        admin.on_reply = lambda operation, _, body: (
            body["extensions"].update(cost=cost(5, 12)) if operation == "ProductPage" else None
        )
        await shop.read(batch=1)
    assert shop.waits == []


async def test_without_any_status_nothing_is_waited_for() -> None:
    async with reading(FakeAdmin(products=[product_node(1)])) as shop:
        await shop.read()
    assert shop.waits == []


async def test_a_query_that_never_fits_into_the_bucket_shrinks_instead_of_waiting_for_ever() -> None:
    admin = FakeAdmin(products=[product_node(1)])
    admin.standing_fault = lambda operation, variables: (
        graphql([error("THROTTLED")], cost=cost(900, 500, maximum=500))
        if operation == "ProductPage" and variables["first"] > 100
        else None
    )
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.end.emitted_count == 1
    assert admin.sizes("ProductPage") == [250, 125, 62]
