from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.domain.fetch import Wait, WaitReason
from connector_svc.platforms.shopify.graphql_response import QueryCost, ThrottleStatus
from connector_svc.platforms.shopify.queries import PASS_START, PRODUCT_COUNT
from connector_svc.platforms.shopify.rate_limiter import RateLimiter
from tests.fakes.skipping_loop import skipping
from tests.unit.connector_svc.shopify.fake_admin import FakeAdmin, error, graphql
from tests.unit.connector_svc.shopify.nodes_json import Json, product_node
from tests.unit.connector_svc.shopify.shop_reading import reading


def cost(requested: float, available: float, restore: float = 1000, maximum: float = 2000) -> Json:
    status = {"maximumAvailable": maximum, "currentlyAvailable": available, "restoreRate": restore}
    return {"requestedQueryCost": requested, "actualQueryCost": None, "throttleStatus": status}


def throttled(requested: float, available: float) -> web.Response:
    return graphql([error("THROTTLED")], cost=cost(requested, available))


async def test_a_throttled_call_is_retried_and_never_fails_the_pass() -> None:
    admin = FakeAdmin(products=[product_node(1)])
    admin.faults.extend([lambda *_: None, *[lambda *_: throttled(500, 400)] * 7])
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.end.emitted_count == 1
    assert len(shop.waits) >= 7
    assert {wait.reason for wait in shop.waits} == {WaitReason.THROTTLED}


async def test_the_next_page_waits_until_its_points_are_available() -> None:
    admin = FakeAdmin(products=[product_node(1)], cost=cost(15, 759))
    async with reading(admin) as shop:
        await shop.read()
    assert [wait.reason for wait in shop.waits] == [WaitReason.THROTTLED]


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def reported(requested: float, available: float) -> QueryCost:
    status = ThrottleStatus(maximum_available=2000, currently_available=available, restore_rate=1000)
    return QueryCost(requested_query_cost=requested, actual_query_cost=None, throttle_status=status)


@skipping
async def test_the_wait_after_throttled_covers_the_missing_points_and_grows_with_each_attempt() -> None:
    waits: list[Wait] = []
    limiter = RateLimiter(lambda: NOON, waits.append)
    for attempt in (1, 2, 3):
        await limiter.wait_after_throttled(reported(500, 400), attempt)
    delays = [(wait.until - NOON) / timedelta(milliseconds=1) for wait in waits]
    assert delays == pytest.approx([100, 150, 200]), "(500 - 400) / 1000 s, and 50 ms for each earlier attempt"
    assert asyncio.get_running_loop().time() == pytest.approx(0.45)


@skipping
async def test_a_call_waits_exactly_until_its_points_are_restored() -> None:
    waits: list[Wait] = []
    limiter = RateLimiter(lambda: NOON, waits.append)
    limiter.release(await limiter.acquire(PASS_START, 1), reported(758, 559))
    limiter.release(await limiter.acquire(PRODUCT_COUNT, 1), None)
    assert waits == []
    begin = asyncio.get_running_loop().time()
    await limiter.acquire(PASS_START, 1)
    missing = 758 + 1 - (559 - PRODUCT_COUNT.estimated_cost(1))
    assert asyncio.get_running_loop().time() - begin == pytest.approx(missing / 1000)
    assert len(waits) == 1


async def test_the_reported_cost_replaces_the_estimate() -> None:
    admin = FakeAdmin(products=[product_node(n) for n in range(1, 5)], cost=cost(5, 959 + 1))
    async with reading(admin) as shop:
        admin.on_reply = lambda operation, _, body: (
            body["extensions"].update(cost=cost(5, 12)) if operation == "ProductPage" else None
        )
        await shop.read(batch=1)
    assert shop.waits == []


async def test_without_a_throttle_status_no_call_waits() -> None:
    async with reading(FakeAdmin(products=[product_node(1)])) as shop:
        await shop.read()
    assert shop.waits == []


async def test_a_query_that_never_fits_into_the_bucket_shrinks_instead_of_waiting_forever() -> None:
    admin = FakeAdmin(products=[product_node(1)])
    admin.permanent_fault = lambda operation, variables: (
        graphql([error("THROTTLED")], cost=cost(900, 500, maximum=500))
        if operation == "ProductPage" and variables["first"] > 100
        else None
    )
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.end.emitted_count == 1
    assert admin.sizes("ProductPage") == [250, 125, 62]
