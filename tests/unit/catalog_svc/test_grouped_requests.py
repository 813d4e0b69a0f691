"""Requests of one shop that come while some are being stored are stored together, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.refresh import PendingRefreshes, RefreshReason, RefreshReceipt, RefreshRequest
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.usecases.grouped_requests import GroupedRequests
from tests.waiting import let_tasks_run

SHOP = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "demo.myshopify.com"))
OTHER = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "other.myshopify.com"))


class SlowRequests:
    """`RefreshRequests` that are stored when the test says so."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.begun: list[tuple[Shop, tuple[str, ...]]] = []
        self.stored: list[tuple[str, ...]] = []
        self.failures: list[Exception] = []
        self.needs_sync = False

    async def add(self, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        self.begun.append((shop, request.product_ids))
        await self.free.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.stored.append(request.product_ids + request.variant_ids)
        return RefreshReceipt(product_count=len(request.product_ids), needs_sync=self.needs_sync)

    async def pending(self) -> PendingRefreshes:
        raise NotImplementedError


def request(*product_ids: str, variants: tuple[str, ...] = ()) -> RefreshRequest:
    return RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=product_ids, variant_ids=variants)


@pytest.fixture
async def slow() -> SlowRequests:
    return SlowRequests()


async def test_requests_that_come_while_some_are_stored_are_one_transaction(slow: SlowRequests) -> None:
    grouped = GroupedRequests(slow)
    first = asyncio.create_task(grouped.add(SHOP, request("1")))
    await let_tasks_run()
    others = [asyncio.create_task(grouped.add(SHOP, request(str(n), "7"))) for n in range(2, 5)]
    await let_tasks_run()
    assert slow.begun == [(SHOP, ("1",))]
    assert not any(task.done() for task in others)
    slow.free.set()
    assert (await first).product_count == 1
    assert [(await task).product_count for task in others] == [2, 2, 2]
    assert slow.stored == [("1",), ("2", "7", "3", "4")]


async def test_a_request_is_stored_when_it_returns_and_a_third_one_is_not_stored_with_the_first_two(
    slow: SlowRequests,
) -> None:
    grouped = GroupedRequests(slow)
    slow.free.set()
    for n in range(3):
        await grouped.add(SHOP, request(str(n)))
        assert slow.stored[-1] == (str(n),)


async def test_shops_do_not_wait_for_each_other(slow: SlowRequests) -> None:
    grouped = GroupedRequests(slow)
    tasks = [asyncio.create_task(grouped.add(shop, request("1"))) for shop in (SHOP, OTHER)]
    await let_tasks_run()
    assert slow.begun == [(SHOP, ("1",)), (OTHER, ("1",))]
    slow.free.set()
    await asyncio.gather(*tasks)


async def test_variants_whose_products_only_the_database_knows_are_stored_on_their_own(slow: SlowRequests) -> None:
    grouped = GroupedRequests(slow)
    tasks = [asyncio.create_task(grouped.add(SHOP, request("1", variants=("v",)))) for _ in range(2)]
    slow.free.set()
    await asyncio.gather(*tasks)
    assert slow.stored == [("1", "v")] * 2


async def test_a_failure_is_that_of_its_group_and_the_next_group_is_stored(slow: SlowRequests) -> None:
    grouped = GroupedRequests(slow)
    slow.failures.append(ShopNotFound(SHOP.shop_id))
    first = asyncio.create_task(grouped.add(SHOP, request("1")))
    await let_tasks_run()
    second = asyncio.create_task(grouped.add(SHOP, request("2")))
    await let_tasks_run()
    slow.free.set()
    with pytest.raises(ShopNotFound):
        await first
    assert (await second).product_count == 1
    assert slow.stored == [("2",)]


async def test_a_caller_that_is_cancelled_takes_no_other_request_with_it(slow: SlowRequests) -> None:
    grouped = GroupedRequests(slow)
    first, second = (asyncio.create_task(grouped.add(SHOP, request(n))) for n in "12")
    await let_tasks_run()
    first.cancel()
    await let_tasks_run()
    slow.free.set()
    assert (await second).product_count == 1
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    assert slow.stored == [("1", "2")]


async def test_that_too_many_products_wait_is_said_to_all_of_a_group(slow: SlowRequests) -> None:
    slow.needs_sync = True
    grouped = GroupedRequests(slow)
    tasks = [asyncio.create_task(grouped.add(SHOP, request(str(n)))) for n in range(3)]
    slow.free.set()
    assert [(await task).needs_sync for task in tasks] == [True] * 3
