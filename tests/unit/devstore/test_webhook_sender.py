"""What the switches do to deliveries, and how the platforms repeat them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devstore.catalog.model import Platform
from devstore.spec import ShopSpec
from devstore.webhooks.sender import DeliveryPolicy, Message, QueuedDelivery, WebhookSender
from tests.fakes.skipping_loop import skipping
from tests.unit.devstore.webhook_shop import BIGCOMMERCE, SHOPIFY, WOO, WebhookShop, webhook_shop
from tests.waiting import until

EVENTS = 300


@pytest.fixture
async def shop(tls_dir: Path) -> AsyncIterator[WebhookShop]:
    async with webhook_shop(SHOPIFY, tls_dir) as running:
        await running.create_shopify("PRODUCTS_UPDATE")
        yield running


async def change_products(shop: WebhookShop, count: int = EVENTS) -> list[int]:
    """Change `count` products while deliveries are held, then send; return the products in their order."""
    shop.sender.change_switches(held=True)
    ids = [row.id for row in shop.catalog.rows()]
    changed = [ids[index % len(ids)] for index in range(count)]
    for number, product_id in enumerate(changed):
        shop.catalog.update_product(product_id, title=f"Title {number}")
    shop.sender.change_switches(held=False)
    await shop.idle()
    return changed


def titles(shop: WebhookShop) -> list[str]:
    """Return the titles that were received."""
    return [str(one.json()["title"]) for one in shop.listener.received]


async def test_by_default_every_delivery_arrives_once(shop: WebhookShop) -> None:
    await change_products(shop)
    assert Counter(titles(shop)) == Counter(f"Title {number}" for number in range(EVENTS))


async def test_held_deliveries_wait(shop: WebhookShop) -> None:
    shop.sender.change_switches(held=True)
    shop.catalog.update_product(next(shop.catalog.rows()).id, title="x")
    assert (shop.sender.waiting, shop.listener.received) == (1, [])
    shop.sender.change_switches(held=False)
    await shop.idle()
    assert titles(shop) == ["x"]


async def test_lost_deliveries_do_not_arrive_and_the_others_do(shop: WebhookShop) -> None:
    shop.sender.change_switches(lost=0.1)
    await change_products(shop)
    lost = shop.sender.log.counts["lost"]
    assert 10 < lost < 60
    assert len(set(titles(shop))) == len(titles(shop)) == EVENTS - lost


async def test_doubled_deliveries_arrive_twice_with_one_id(shop: WebhookShop) -> None:
    shop.sender.change_switches(doubled=0.5)
    await change_products(shop)
    by_id = Counter(one.header("X-Shopify-Webhook-Id") for one in shop.listener.received)
    assert set(by_id.values()) == {1, 2}
    assert len(by_id) == EVENTS
    assert sum(by_id.values()) == EVENTS + shop.sender.log.counts["doubled"]


async def test_shuffled_deliveries_all_arrive_in_another_order(shop: WebhookShop) -> None:
    shop.sender.change_switches(shuffled=True)
    await change_products(shop)
    found = [int(title.removeprefix("Title ")) for title in titles(shop)]
    assert sorted(found) == list(range(EVENTS))
    moved = sum(abs(number - place) > 20 for place, number in enumerate(found))
    assert moved > EVENTS / 2


class Waiting:
    """A sender of deliveries to an address where nothing listens."""

    def __init__(self, policy: DeliveryPolicy) -> None:
        self.results: list[bool] = []
        self.sender = WebhookSender(policy)

    def enqueue(self, key: object = None) -> None:
        self.sender.enqueue(
            QueuedDelivery(
                topic="t",
                url="http://127.0.0.1:9/",
                prepare=lambda: Message(headers={}, body=b""),
                on_result=self.results.append,
                key=key,
            )
        )


@skipping
async def test_a_late_delivery_is_sent_after_its_delay() -> None:
    waiting = Waiting(DeliveryPolicy(concurrency=1, timeout_seconds=5))
    waiting.sender.change_switches(late=1.0, late_seconds=3_600.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting.enqueue()
    while waiting.sender.waiting:
        await asyncio.sleep(1)
    assert loop.time() - began >= 3_600
    assert waiting.results == [False]
    await waiting.sender.close()


@skipping
async def test_late_deliveries_are_sent_at_once_when_their_delay_is_set() -> None:
    waiting = Waiting(DeliveryPolicy(concurrency=1, timeout_seconds=5))
    waiting.sender.change_switches(late=1.0, late_seconds=3_600.0)
    waiting.enqueue()
    await asyncio.sleep(60)
    assert waiting.sender.waiting == 1
    waiting.sender.change_switches(late_seconds=0.0)
    await asyncio.sleep(1)
    assert (waiting.sender.waiting, waiting.results) == (0, [False])
    await waiting.sender.close()


async def test_the_queue_is_bounded() -> None:
    waiting = Waiting(DeliveryPolicy(concurrency=1, timeout_seconds=5))
    waiting.sender.change_switches(held=True)
    for _ in range(10_050):
        waiting.enqueue()
    assert (waiting.sender.waiting, waiting.sender.log.counts["dropped"]) == (10_000, 50)
    await waiting.sender.close()


async def test_shopify_repeats_a_delivery_8_times_and_then_removes_the_subscription(shop: WebhookShop) -> None:
    shop.sender.change_switches(retry_delay_factor=0.0)
    shop.listener.status_of = lambda one: 503
    shop.catalog.update_product(next(shop.catalog.rows()).id, title="x")
    received = await shop.deliveries()
    assert len(received) == 9
    assert len({one.header("X-Shopify-Webhook-Id") for one in received}) == 1
    shop.listener.status_of = lambda one: 200
    shop.catalog.update_product(next(shop.catalog.rows()).id, title="y")
    assert len(await shop.deliveries()) == 9


async def test_a_delivery_that_is_accepted_later_ends_the_retries(shop: WebhookShop) -> None:
    shop.sender.change_switches(retry_delay_factor=0.0)
    statuses = iter([500, 0, 302, 200])
    shop.listener.status_of = lambda one: next(statuses)
    shop.catalog.update_product(next(shop.catalog.rows()).id, title="x")
    assert len(await shop.deliveries()) == 4
    assert shop.sender.log.counts["succeeded"] == 1


async def test_bigcommerce_deactivates_a_hook_after_12_retries(tls_dir: Path) -> None:
    async with webhook_shop(BIGCOMMERCE, tls_dir) as shop:
        number = await shop.create_bigcommerce("store/product/*")
        shop.sender.change_switches(retry_delay_factor=0.0)
        shop.listener.status_of = lambda one: 500
        shop.catalog.add_product()
        assert len(await shop.deliveries()) == 13
        assert (await shop.bigcommerce("GET", f"/{number}")).body["data"]["is_active"] is False


async def test_the_control_api_sets_switches_and_counts_deliveries(tls_dir: Path) -> None:
    async with webhook_shop(WOO, tls_dir) as shop:
        await shop.create_woo("product.created")
        url = f"{shop.store.url}/_control/{shop.spec.domain}/webhooks"

        async def state() -> Any:
            return (await shop.client.send("GET", url)).body

        assert (await shop.client.send("POST", url, json={"held": True, "lost": 0.5})).status == 204
        assert (await shop.client.send("POST", url, json={"lost": 0})).status == 204
        shop.catalog.add_product()
        found = await state()
        assert (found["waiting"], found["switches"]["held"], found["switches"]["lost"]) == (1, True, 0)
        await shop.client.send("POST", url, json={"held": False})
        await shop.idle()
        assert (await state())["counts"]["succeeded"] == 1
        for wrong in ({"lost": 2}, {"loses": 1}, {"held": "yes"}):
            assert (await shop.client.send("POST", url, json=wrong)).status == 400


async def test_churn_sends_webhooks(tls_dir: Path) -> None:
    async with webhook_shop(WOO, tls_dir) as shop:
        await shop.create_woo("product.updated")
        url = f"{shop.store.url}/_control/{shop.spec.domain}/churn"
        await shop.client.send("POST", url, data=json.dumps({"changes_per_second": 500}))
        await until(lambda: shop.sender.log.counts["succeeded"] > 20)
        assert (await shop.client.send("DELETE", url)).status == 200
        assert await shop.deliveries()


async def test_a_feed_sends_none(tls_dir: Path) -> None:
    feed = ShopSpec(platform=Platform.FEED, domain="shop.example", products=1)
    async with webhook_shop(feed, tls_dir) as shop:
        reply = await shop.client.send("GET", f"{shop.store.url}/_control/{feed.domain}/webhooks")
        assert (reply.status, reply.raw) == (404, b"this platform sends no webhooks")
