"""Stock changes that do not move the product's date, as an incremental pass reports them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connector_svc.domain.fetch import FetchRequest, Offer, StockLevel
from connector_svc.platforms.shopify.stock_scan import (
    DAILY_MAX_VARIANTS,
    EVERY_PASS_MAX_VARIANTS,
    is_scan_due,
    undetected_change_notes,
)
from devstore.spec import VariantRange
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.shopify.bulk_shop import SHOP, bulk_shop


def earlier() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=5)


def levels(found: Pass) -> dict[str, StockLevel]:
    return {level.variant_id: level for batch in found.batches for level in batch.stock_levels}


async def test_stock_that_changed_without_a_date_is_reported_with_the_price() -> None:
    async with bulk_shop(30, edge_cases=False) as shop:
        product = next(shop.catalog.products())
        variant = product.variants[0]
        shop.catalog.update_variant(
            variant.id, touch=False, stock=0, oversell=False, price="7.30", compare_at="9.00", sku="000123"
        )
        found = await shop.fetch(after=earlier())
        expected_items = {item.item_id: item for item in shop.catalog.sellable_items()}
    reported = levels(found)
    assert reported.keys() == expected_items.keys()
    assert {number: level.stock_quantity for number, level in reported.items()} == {
        number: item.stock for number, item in expected_items.items()
    }
    offer = Offer(sku="000123", price=Decimal("7.30"), compare_at_price=Decimal("9.00"))
    assert reported[str(variant.id)] == StockLevel(
        product_id=str(product.id), variant_id=str(variant.id), stock_quantity=0, available=False, offer=offer
    )
    assert found.header.notes == ()


async def test_a_scan_reports_the_same_for_a_variant_as_its_product() -> None:
    async with bulk_shop(40) as shop:
        reported = levels(await shop.fetch(after=earlier()))
        products = (await shop.paged()).products
    for product in products:
        for variant in product.variants:
            level = reported[variant.id]
            assert level.offer is not None
            assert (
                level.product_id,
                level.stock_quantity,
                level.available,
                level.offer.sku,
                level.offer.price,
            ) == (
                product.id,
                variant.stock_quantity,
                variant.available,
                variant.sku,
                variant.price,
            )


async def test_a_scan_is_resumed_from_any_checkpoint() -> None:
    async with bulk_shop(300, edge_cases=False, variants=VariantRange(least=3, most=3)) as shop:
        after = earlier()
        whole = await shop.fetch(after=after)
        assert len(levels(whole)) == 900
        for index, batch in enumerate(whole.batches):
            rest = await shop.fetch(after=after, checkpoint=batch.checkpoint)
            later = [level for one in whole.batches[index + 1 :] for level in one.stock_levels]
            assert [level for one in rest.batches for level in one.stock_levels] == later


async def test_a_full_pass_does_not_scan() -> None:
    async with bulk_shop(5, edge_cases=False) as shop:
        assert levels(await shop.fetch()) == {}
        assert shop.call_count("VariantStock") == 0


@pytest.mark.parametrize("minutes", [10, 60, 24 * 60])
@pytest.mark.parametrize(
    "variant_count",
    [EVERY_PASS_MAX_VARIANTS, EVERY_PASS_MAX_VARIANTS + 1, DAILY_MAX_VARIANTS, DAILY_MAX_VARIANTS + 1],
)
def test_a_larger_shop_is_scanned_once_a_day_and_a_very_large_one_never(variant_count: int, minutes: int) -> None:
    step = timedelta(minutes=minutes)
    begin = datetime(2026, 11, 20, 3, 17, tzinfo=UTC)
    request = FetchRequest(shop=SHOP, updated_after=begin)
    passes = 7 * timedelta(days=1) // step
    due = sum(
        is_scan_due(replace(request, updated_after=begin + step * n), begin + step * (n + 1), variant_count)
        for n in range(passes)
    )
    expected = (
        passes if variant_count <= EVERY_PASS_MAX_VARIANTS else 7 if variant_count <= DAILY_MAX_VARIANTS else 0
    )
    assert due == expected
    assert len(undetected_change_notes(request, variant_count)) == (variant_count > EVERY_PASS_MAX_VARIANTS)
