"""Failures that were observed in other systems, each as an end-to-end test of this one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from catalog_svc.domain.sync import SyncMode, SyncState
from devstore.catalog.model import Kind, Platform
from devstore.faults import FailNext
from devstore.shopify.api import throttled
from devstore.spec import VariantRange
from tests.integration.end_to_end.conftest import PLATFORMS, EndToEnd, Opens, StoreClock
from tests.integration.end_to_end.faults import Truncated

EXACT = {"sku": "00000134000", "price": "7.30", "weight": "0.5"}
TEN_VARIANTS = {"variants": VariantRange(least=10, most=10), "edge_cases": False}


def make_exact(shop: EndToEnd) -> str:
    """Give the last sellable item values that a careless reader damages, and return its id."""
    if shop.catalog.platform.sells_variants_only:
        variant = list(shop.catalog.products())[-1].variants[-1]
        # BigCommerce has no update time of a variant alone: the merchant saves the product.
        if shop.catalog.platform is Platform.BIGCOMMERCE:
            shop.catalog.update_product(variant.product_id)
        return str(shop.catalog.update_variant(variant.id, **EXACT).id)  # type: ignore[arg-type]
    simple = [product for product in shop.catalog.products() if product.kind is Kind.SIMPLE][-1]
    return str(shop.catalog.update_product(simple.id, **EXACT).id)  # type: ignore[arg-type]


async def by_full(shop: EndToEnd) -> str:
    item_id = make_exact(shop)
    await shop.succeed()
    return item_id


async def by_incremental(shop: EndToEnd) -> str:
    await shop.succeed()
    item_id = make_exact(shop)
    await shop.succeed(SyncMode.INCREMENTAL)
    return item_id


async def by_resume(shop: EndToEnd) -> str:
    item_id = make_exact(shop)
    broken = await shop.sync(batch_size=5, stop_after=1)
    assert (await shop.resume(broken)).state is SyncState.SUCCEEDED
    return item_id


@pytest.mark.parametrize("path", [by_full, by_incremental, by_resume])
@pytest.mark.parametrize("platform", ["shopify", "woocommerce-10.3", "feed"])
async def test_leading_zeros_trailing_zeros_and_fractions_survive_every_path(
    opens: Opens, platform: str, path: Callable[[EndToEnd], Awaitable[str]]
) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        item_id = await path(shop)
        row = await shop.item(item_id)
        # The devstore's WooCommerce has no weights.
        expected = EXACT if platform != "woocommerce-10.3" else {"sku": EXACT["sku"], "price": EXACT["price"]}
        assert {name: row[name] for name in expected} == expected
        await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_change_in_the_very_second_of_the_watermark_is_picked_up(opens: Opens, platform: str) -> None:
    clock = StoreClock()
    async with opens(platform, products=12, edge_cases=False, clock=clock) as shop:
        watermark = (await shop.succeed()).shop.watermark
        assert watermark is not None
        clock.at = watermark
        item_id = make_exact(shop)
        changed = await shop.succeed(SyncMode.INCREMENTAL)
        assert (await shop.item(item_id))["sku"] == EXACT["sku"]
        assert changed.progress.products.updated == 1
        # The same at the other end of the window.
        assert changed.shop.watermark is not None
        clock.at = changed.shop.watermark
        new = shop.catalog.add_product(title="In the last second")
        await shop.succeed(SyncMode.INCREMENTAL)
        titles = await shop.world.rows("SELECT title FROM product WHERE product_id = :id", id=str(new.id))
        assert [row["title"] for row in titles] == ["In the last second"]
        await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_truncated_body_with_status_200_loses_nothing(opens: Opens, platform: str) -> None:
    async with opens(platform, products=40, edge_cases=False) as shop:
        await shop.succeed()
        # A feed is two replies: the manifest and the file.
        for number in (1, 2) if platform == "feed" else (1, 2, 3, 4):
            fault = Truncated(frozenset({number, number + 2}))
            shop.store.add_fault(shop.domain, fault)
            sync = await shop.sync(batch_size=10)
            shop.store.clear_faults(shop.domain)
            assert fault.cut
            assert sync.state is SyncState.SUCCEEDED
            assert await deleted(shop) == 0
            await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_one_throttled_answer_fails_nothing(opens: Opens, platform: str) -> None:
    async with opens(platform, products=20, edge_cases=False) as shop:
        status = {"maximumAvailable": 2000.0, "currentlyAvailable": 1990.0, "restoreRate": 100.0}
        throttling = FailNext(times=1, status=200, body=json.dumps(throttled(100, status)))
        if shop.catalog.platform is not Platform.SHOPIFY:
            throttling = FailNext(times=1, status=429, headers={"Retry-After": "1"})
        shop.store.add_fault(shop.domain, throttling)
        sync = await shop.succeed()
        assert (throttling.times, sync.attempt_count) == (0, 1)
        await shop.check_items()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_deleted_products_and_variants_leave_tombstones(opens: Opens, platform: str) -> None:
    async with opens(platform, products=20, edge_cases=False) as shop:
        await shop.succeed()
        product, other = [p for p in shop.catalog.products() if len(p.variants) > 1][:2]
        shop.catalog.delete_product(product.id)
        shop.catalog.delete_variant(other.variants[0].id)
        sync = await shop.succeed()
        assert sync.progress.products.deleted == 1
        assert sync.progress.items.deleted == await deleted(shop) == len(product.variants) + 1
        assert (await shop.item(str(other.variants[0].id)))["live"] is False
        await shop.check_items()


@pytest.mark.parametrize(("platform", "products", "most"), [("shopify", 100, 20), ("woocommerce-10.3", 100, 20)])
async def test_a_slow_shop_needs_few_calls(opens: Opens, platform: str, products: int, most: int) -> None:
    """With 200 ms for each reply the number of calls matters, not the number of variants."""
    async with opens(platform, products=products, latency=0.2, **TEN_VARIANTS) as shop:
        await shop.succeed()
        await shop.check_items()
        assert shop.calls <= most


async def test_an_incremental_bigcommerce_sync_stores_undated_stock_changes_and_deletions(opens: Opens) -> None:
    async with opens("bigcommerce", products=25, edge_cases=False) as shop:
        await shop.succeed()
        rows = list(shop.catalog.rows())
        shop.catalog.update_variant(rows[3].variant_ids[0], stock=4711)
        shop.catalog.delete_product(rows[5].id)
        shop.catalog.add_product()
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        assert sync.progress.products.deleted == 1
        assert sync.progress.products.created == 1
        await shop.check_items()


async def test_price_and_sku_changes_of_only_a_bigcommerce_variant_are_stored(opens: Opens) -> None:
    """BigCommerce updates the time of neither the variant nor its product."""
    async with opens("bigcommerce", products=10, edge_cases=False) as shop:
        await shop.succeed()
        row = next(shop.catalog.rows())
        variant = str(shop.catalog.update_variant(row.variant_ids[0], price="987.65", sku="000042").id)
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        item = await shop.item(variant)
        assert (item["price"], item["sku"]) == ("987.65", "000042")
        assert sync.progress.items.updated == 1
        await shop.check_items()


async def deleted(shop: EndToEnd) -> int:
    return len(await shop.world.rows("SELECT * FROM item WHERE deleted_at IS NOT NULL"))
