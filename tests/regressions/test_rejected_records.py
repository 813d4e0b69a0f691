"""Each invalid record becomes an issue that names it, and everything else of the shop is stored.

Each test runs a complete sync, from the HTTP server of the shop to the tables.
"""

from __future__ import annotations

import pytest

from catalog_svc.domain.sync import SyncState
from devstore.catalog.model import Platform, Product
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.regressions.invalid_records import PASSWORD, SECRET, SHOPIFY, WOOCOMMERCE, InvalidRecord
from tests.regressions.record_modifier import RecordModifier

RECORDS = {"shopify": SHOPIFY, "woocommerce-8.2": WOOCOMMERCE, "woocommerce-10.3": WOOCOMMERCE}
CASES = [
    pytest.param(platform, record, id=f"{platform}: {name}")
    for platform, records in RECORDS.items()
    for name, record in records.items()
]


@pytest.mark.parametrize(("platform", "record"), CASES)
async def test_an_invalid_record_is_reported_and_everything_else_is_stored(
    opens: Opens, platform: str, record: InvalidRecord
) -> None:
    async with opens(platform, products=14, edge_cases=False) as shop:
        product = next(
            one for one in shop.catalog.products() if (len(one.variants) < 2) == record.of_simple_product
        )
        modifier = record_modifier(shop, product, record)
        shop.store.add_fault(shop.domain, modifier)
        sync = await shop.sync()
        assert (sync.state, sync.error) == (SyncState.SUCCEEDED, None)
        assert modifier.change_count
        await check_issue(shop, product, record)
        await check_stored_items(shop, product, record)


def record_modifier(shop: EndToEnd, product: Product, record: InvalidRecord) -> RecordModifier:
    record_id = product.id if record.is_product else product.variants[0].id
    if shop.catalog.platform is Platform.WOOCOMMERCE:
        return RecordModifier(record_id, record.change, complete_field="sku")
    kind, complete_field = ("Product", "descriptionHtml") if record.is_product else ("ProductVariant", "price")
    return RecordModifier(f"gid://shopify/{kind}/{record_id}", record.change, complete_field)


async def check_issue(shop: EndToEnd, product: Product, record: InvalidRecord) -> None:
    issues = await shop.world.rows("SELECT * FROM sync_issue")
    found = [issue for issue in issues if issue["reason"] == record.reason and issue["field"] == record.field]
    assert len(found) == 1, issues
    (issue,) = found
    product_known = not (record.missing_id and record.is_product)
    item_known = not (record.missing_id or record.is_product)
    assert issue["product_id"] == (str(product.id) if product_known else "")
    assert issue["item_id"] == (str(product.variants[0].id) if item_known else "")
    assert issue["product_rejected"] == (record.is_product and not record.is_stored)
    assert issue["message"]
    assert issue["sample"].startswith(record.sample)
    assert len(issue["sample"]) <= 200
    assert not [secret for secret in (SECRET, PASSWORD) if secret[:10] in str(issues)]


async def check_stored_items(shop: EndToEnd, product: Product, record: InvalidRecord) -> None:
    rows = await shop.world.rows(
        "SELECT item_id, sku, price::text, stock_quantity FROM item WHERE deleted_at IS NULL"
    )
    rejected = rejected_item_ids(product, record)
    assert {tuple(row.values()) for row in rows} == {
        (item.item_id, item.sku, None if item.price is None else str(item.price), item.stock)
        for item in shop.catalog.sellable_items()
        if item.item_id not in rejected
    }


def rejected_item_ids(product: Product, record: InvalidRecord) -> set[str]:
    if record.is_stored:
        return set()
    item_ids = [str(variant.id) for variant in product.variants] or [str(product.id)]
    return set(item_ids if record.is_product else item_ids[:1])
