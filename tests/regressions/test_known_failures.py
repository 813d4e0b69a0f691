"""Known failures about other connectors that no other test of ours shows to be impossible."""

from __future__ import annotations

import pytest

from catalog_svc.domain.sync import SyncMode
from devstore.catalog.model import Platform
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.regressions.tampering import Tampering

SHOPS = ("shopify", "woocommerce-8.2", "woocommerce-10.3")


@pytest.mark.parametrize("platform", SHOPS)
async def test_known_failure_06_a_change_of_a_variant_alone_is_seen(opens: Opens, platform: str) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        await shop.succeed()
        variant = next(product for product in shop.catalog.products() if len(product.variants) > 1).variants[0]
        shop.catalog.update_variant(variant.id, sku="00-NEW", price="12.30")
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        item = await shop.item(str(variant.id))
        assert (item["sku"], item["price"]) == ("00-NEW", "12.30")
        assert sync.progress.products.updated == 1
        await shop.check_truth()


@pytest.mark.parametrize("mode", [SyncMode.FULL, SyncMode.INCREMENTAL])
@pytest.mark.parametrize("platform", SHOPS)
async def test_known_failure_16_a_variant_that_cannot_be_read_any_more_is_not_taken_for_gone(
    opens: Opens, platform: str, mode: SyncMode
) -> None:
    async with opens(platform, products=12, edge_cases=False) as shop:
        await shop.succeed()
        product = next(product for product in shop.catalog.products() if len(product.variants) > 1)
        broken, sibling = product.variants[:2]
        shop.catalog.update_variant(sibling.id, sku="CHANGED")
        shop.store.add_fault(shop.domain, price_breaks(shop, broken.id))
        sync = await shop.succeed(mode)
        assert (sync.progress.items.deleted, sync.progress.products.deleted) == (0, 0)
        assert sync.progress.items.rejected
        assert (await shop.item(str(broken.id)))["live"]
        assert (await shop.item(str(sibling.id)))["sku"] == "CHANGED"
        await shop.check_truth()


def price_breaks(shop: EndToEnd, variant_id: int) -> Tampering:
    shopify = shop.catalog.platform is Platform.SHOPIFY
    record_id = f"gid://shopify/ProductVariant/{variant_id}" if shopify else variant_id
    return Tampering(record_id, lambda record: record.update(price="abc"), whole="price")
