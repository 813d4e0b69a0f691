"""What an incremental pass learns of stock that moved without a date."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connector_svc.domain.fetch import FetchRequest, Offer, StockLevel
from connector_svc.platforms.shopify.stock_sweep import ALWAYS_UP_TO, DAILY_UP_TO, is_due, unseen
from devstore.spec import VariantRange
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.shopify.bulk_shop import SHOP, bulk_shop


def earlier() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=5)


def levels(found: Pass) -> dict[str, StockLevel]:
    return {level.variant_id: level for batch in found.batches for level in batch.stock_levels}


async def test_stock_that_moved_without_a_date_is_told_with_the_price() -> None:
    async with bulk_shop(30, edge_cases=False) as shop:
        product = next(shop.catalog.products())
        variant = product.variants[0]
        shop.catalog.update_variant(
            variant.id, touch=False, stock=0, oversell=False, price="7.30", compare_at="9.00", sku="000123"
        )
        found = await shop.fetch(after=earlier())
        truth = {item.item_id: item for item in shop.catalog.sellable_items()}
    told = levels(found)
    assert told.keys() == truth.keys()
    assert {number: level.stock_quantity for number, level in told.items()} == {
        number: item.stock for number, item in truth.items()
    }
    offer = Offer(sku="000123", price=Decimal("7.30"), compare_at_price=Decimal("9.00"))
    assert told[str(variant.id)] == StockLevel(
        product_id=str(product.id), variant_id=str(variant.id), stock_quantity=0, available=False, offer=offer
    )
    assert found.header.notes == ()


async def test_a_sweep_says_the_same_of_a_variant_as_its_product_does() -> None:
    async with bulk_shop(40) as shop:
        told = levels(await shop.fetch(after=earlier()))
        products = (await shop.paged()).products
    for product in products:
        for variant in product.variants:
            level = told[variant.id]
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


async def test_a_sweep_goes_on_from_any_checkpoint() -> None:
    async with bulk_shop(300, edge_cases=False, variants=VariantRange(least=3, most=3)) as shop:
        after = earlier()
        whole = await shop.fetch(after=after)
        assert len(levels(whole)) == 900
        for index, batch in enumerate(whole.batches):
            rest = await shop.fetch(after=after, checkpoint=batch.checkpoint)
            later = [level for one in whole.batches[index + 1 :] for level in one.stock_levels]
            assert [level for one in rest.batches for level in one.stock_levels] == later


async def test_a_full_pass_needs_no_sweep() -> None:
    async with bulk_shop(5, edge_cases=False) as shop:
        assert levels(await shop.fetch()) == {}
        assert shop.asked("VariantStock") == 0


@pytest.mark.parametrize("minutes", [10, 60, 24 * 60])
@pytest.mark.parametrize("variants", [ALWAYS_UP_TO, ALWAYS_UP_TO + 1, DAILY_UP_TO, DAILY_UP_TO + 1])
def test_a_larger_shop_is_swept_once_a_day_and_a_very_large_one_by_full_passes(
    variants: int, minutes: int
) -> None:
    step = timedelta(minutes=minutes)
    begin = datetime(2026, 11, 20, 3, 17, tzinfo=UTC)
    request = FetchRequest(shop=SHOP, updated_after=begin)
    passes = 7 * timedelta(days=1) // step
    due = sum(
        is_due(replace(request, updated_after=begin + step * n), begin + step * (n + 1), variants)
        for n in range(passes)
    )
    expected = passes if variants <= ALWAYS_UP_TO else 7 if variants <= DAILY_UP_TO else 0
    assert due == expected
    assert len(unseen(request, variants)) == (variants > ALWAYS_UP_TO)
