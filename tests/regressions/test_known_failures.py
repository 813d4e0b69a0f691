"""Known failures of other connectors that no other test covers."""

from __future__ import annotations

import pytest

from catalog_svc.domain.sync import SyncMode
from devstore.catalog.model import Platform
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.regressions.record_modifier import RecordModifier

SHOPS = ("shopify", "woocommerce-8.2", "woocommerce-10.3")


@pytest.mark.parametrize("platform", SHOPS)
async def test_known_failure_06_a_change_of_only_a_variant_is_detected(opens: Opens, platform: str) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        await shop.succeed()
        variant = next(product for product in shop.catalog.products() if len(product.variants) > 1).variants[0]
        shop.catalog.update_variant(variant.id, sku="00-NEW", price="12.30")
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        item = await shop.item(str(variant.id))
        assert (item["sku"], item["price"]) == ("00-NEW", "12.30")
        assert sync.progress.products.updated == 1
        await shop.check_items()


@pytest.mark.parametrize("mode", [SyncMode.FULL, SyncMode.INCREMENTAL])
@pytest.mark.parametrize("platform", SHOPS)
async def test_known_failure_16_a_variant_that_has_become_invalid_is_not_treated_as_deleted(
    opens: Opens, platform: str, mode: SyncMode
) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        await shop.succeed()
        product = next(product for product in shop.catalog.products() if len(product.variants) > 1)
        invalid, sibling = product.variants[:2]
        shop.catalog.update_variant(sibling.id, sku="CHANGED")
        shop.store.add_fault(shop.domain, invalid_price(shop, invalid.id))
        sync = await shop.succeed(mode)
        assert (sync.progress.items.deleted, sync.progress.products.deleted) == (0, 0)
        assert sync.progress.items.rejected
        assert (await shop.item(str(invalid.id)))["live"]
        assert (await shop.item(str(sibling.id)))["sku"] == "CHANGED"
        await shop.check_items()


def invalid_price(shop: EndToEnd, variant_id: int) -> RecordModifier:
    shopify = shop.catalog.platform is Platform.SHOPIFY
    record_id = f"gid://shopify/ProductVariant/{variant_id}" if shopify else variant_id
    return RecordModifier(record_id, lambda record: record.update(price="abc"), complete_field="price")
