"""Syncs store a shop's catalog completely and exactly while clients watch, and the stored items can be queried."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.conftest import System
from tests.waiting import TIMEOUT_SECONDS

FULL_SHOPS = [
    ("shopify", "demo.myshopify.com"),
    ("woocommerce", "new.example"),
    ("woocommerce", "old.example"),
]
EMPTY_SHOPS = [("shopify", "empty.myshopify.com"), ("woocommerce", "empty.example")]


async def truth(system: System, domain: str) -> dict[str, dict[str, Any]]:
    """Return the items that the devstore sells, by item id."""
    trusted = ssl.create_default_context(cafile=system.ca_file)
    url = f"{system.devstore}/_control/{domain}/truth"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=trusted) as reply:
        rows = [json.loads(line) for line in (await reply.text()).splitlines()]
    return {row["item_id"]: row for row in rows}


@pytest.mark.parametrize(("platform", "domain"), FULL_SHOPS)
@pytest.mark.smoke
async def test_every_item_is_stored_once_with_its_price_stock_and_sku(
    system: System, platform: str, domain: str
) -> None:
    sync = await system.sync(platform, domain)
    assert sync.state == pb.Sync.STATE_SUCCEEDED, sync.error.message
    expected = await truth(system, domain)
    items = await system.items(platform, domain)
    assert Counter(item.item_id for item in items) == Counter(expected.keys())
    for item in items:
        row = expected[item.item_id]
        price = Decimal(item.price.amount) if item.HasField("price") else None
        stock = item.stock_quantity if item.HasField("stock_quantity") else None
        expected_price = None if row["price"] is None else Decimal(row["price"])
        assert (item.item_id, price, stock, item.sku) == (item.item_id, expected_price, row["stock"], row["sku"])
        assert item.product_id == row["product_id"]


@pytest.mark.parametrize(("platform", "domain"), EMPTY_SHOPS)
async def test_a_sync_of_a_shop_without_products_succeeds_with_zero_items(
    system: System, platform: str, domain: str
) -> None:
    sync = await system.sync(platform, domain)
    assert (sync.state, sync.progress.items.seen_count) == (pb.Sync.STATE_SUCCEEDED, 0)


@pytest.mark.parametrize(
    ("platform", "domain", "variants"),
    [
        ("shopify", "demo.myshopify.com", 600),
        ("woocommerce", "new.example", 130),
        ("woocommerce", "old.example", 130),
    ],
)
async def test_a_product_with_more_variants_than_a_page_is_complete(
    system: System, platform: str, domain: str, variants: int
) -> None:
    await system.sync(platform, domain)
    per_product = Counter(item.product_id for item in await system.items(platform, domain))
    assert max(per_product.values()) == variants


@pytest.mark.smoke
async def test_a_second_sync_finds_everything_unchanged(system: System) -> None:
    await system.sync("woocommerce", "new.example")
    again = await system.sync("woocommerce", "new.example")
    products = again.progress.products
    assert products.unchanged_count == products.seen_count > 0
    assert (products.created_count, products.updated_count) == (0, 0)


@pytest.mark.smoke
async def test_all_watchers_see_increasing_revisions_and_the_same_final_revision(system: System) -> None:
    started = await system.start("shopify", "demo.myshopify.com")
    watches = await asyncio.gather(*(system.watch(started.sync_id) for _ in range(5)))
    for messages in watches:
        revisions = [m.sync.revision for m in messages if not m.heartbeat]
        assert revisions == sorted(set(revisions))
        assert messages[-1].sync.state == pb.Sync.STATE_SUCCEEDED
    assert len({messages[-1].sync.revision for messages in watches}) == 1


@pytest.mark.smoke
async def test_a_cancelled_sync_ends_for_its_watchers_at_once(system: System) -> None:
    started = await system.start("woocommerce", "silent.example")
    watching = system.catalog.WatchSync(pb.WatchSyncRequest(sync_id=started.sync_id))
    states: list[pb.Sync.State.ValueType] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for message in watching:
            states.append(message.sync.state)
            if message.sync.state == pb.Sync.STATE_RUNNING and states.count(pb.Sync.STATE_RUNNING) == 1:
                answer = await system.catalog.CancelSync(pb.CancelSyncRequest(sync_id=started.sync_id))
                assert answer.sync.state == pb.Sync.STATE_CANCELLED
    assert states[-1] == pb.Sync.STATE_CANCELLED
    again = await system.start("woocommerce", "silent.example")
    assert (await system.watch(again.sync_id))[-1].sync.state == pb.Sync.STATE_FAILED


@pytest.mark.smoke
async def test_the_status_of_a_shop_agrees_with_its_items(system: System) -> None:
    sync = await system.sync("woocommerce", "old.example")
    shop = pb.ShopRef(platform="woocommerce", domain="OLD.example.")
    status = await system.catalog.GetStatus(pb.GetStatusRequest(shop=shop))
    items = await system.items("woocommerce", "old.example")
    assert status.item_count == len(items)
    assert status.item_with_image_count == sum(bool(item.image_url) for item in items)
    assert status.last_finished_sync.sync_id == sync.sync_id
    assert not status.HasField("active_sync")
    assert status.connection.state == pb.ConnectionHealth.STATE_HEALTHY
    assert status.shop.currency_code == "EUR"
    assert status.HasField("fresh_as_of_time")


@pytest.mark.smoke
async def test_items_are_found_by_sku_product_text_and_id(system: System) -> None:
    await system.sync("woocommerce", "new.example")
    everything = await system.items("woocommerce", "new.example")
    one = next(item for item in everything if item.sku.startswith("0") and len(item.sku) > 1)
    assert one.item_id in {i.item_id for i in await system.items("woocommerce", "new.example", sku=one.sku)}
    of_product = await system.items("woocommerce", "new.example", product_id=one.product_id)
    assert {i.product_id for i in of_product} == {one.product_id}
    by_text = await system.items("woocommerce", "new.example", text=one.product_title[:8].upper())
    assert one.item_id in {i.item_id for i in by_text}
    shop = pb.ShopRef(platform="woocommerce", domain="new.example")
    got = await system.catalog.GetItem(pb.GetItemRequest(shop=shop, item_id=one.item_id))
    assert got.item == one


@pytest.mark.smoke
async def test_syncs_are_listed_newest_first_across_pages(system: System) -> None:
    for _ in range(3):
        await system.sync("shopify", "empty.myshopify.com")
    shop = pb.ShopRef(platform="shopify", domain="empty.myshopify.com")
    listed: list[str] = []
    token = ""
    while True:
        page = await system.catalog.ListSyncs(pb.ListSyncsRequest(shop=shop, page_size=2, page_token=token))
        listed.extend(sync.sync_id for sync in page.syncs)
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(listed, reverse=True)
    assert len(set(listed)) == len(listed) >= 3


async def test_the_logs_of_both_services_contain_the_correlation_id(system: System) -> None:
    request = pb.StartSyncRequest(shop=pb.ShopRef(platform="shopify", domain="empty.myshopify.com"))
    call = system.catalog.StartSync(request, metadata=(("x-correlation-id", "merchant-42"),))
    sync = (await call).sync
    assert sync.correlation_id == "merchant-42"
    await system.watch(sync.sync_id)
    for service in ("catalog_svc", "connector_svc"):
        assert "merchant-42" in (system.logs / f"{service}.log").read_text()
