"""What BigCommerce does not date arrives nevertheless, from the store to the table."""

from __future__ import annotations

from catalog_svc.domain.sync import SyncMode
from tests.integration.end_to_end.conftest import Opens


async def test_an_incremental_sync_brings_undated_stock_and_what_is_gone(opens: Opens) -> None:
    async with opens("bigcommerce", products=25, edge_cases=False) as shop:
        await shop.succeed()
        rows = list(shop.catalog.rows())
        shop.catalog.update_variant(rows[3].variant_ids[0], stock=4711)
        shop.catalog.delete_product(rows[5].id)
        shop.catalog.add_product()
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        assert sync.progress.products.deleted == 1
        assert sync.progress.products.created == 1
        await shop.check_truth()


async def test_a_price_and_a_sku_changed_on_a_variant_alone_arrive_too(opens: Opens) -> None:
    """The platform dates neither the variant nor its product."""
    async with opens("bigcommerce", products=10, edge_cases=False) as shop:
        await shop.succeed()
        row = next(shop.catalog.rows())
        variant = str(shop.catalog.update_variant(row.variant_ids[0], price="987.65", sku="000042").id)
        sync = await shop.succeed(SyncMode.INCREMENTAL)
        item = await shop.item(variant)
        assert (item["price"], item["sku"]) == ("987.65", "000042")
        assert sync.progress.items.updated == 1
        await shop.check_truth()
