"""Each broken thing becomes an issue that names it, and everything else of the shop is stored: from its socket to
the tables."""

from __future__ import annotations

import pytest

from catalog_svc.domain.sync import SyncState
from devstore.catalog.model import Platform, Product
from tests.integration.end_to_end.conftest import EndToEnd, Opens
from tests.regressions.broken import PASSWORD, SECRET, SHOPIFY, WOOCOMMERCE, Broken
from tests.regressions.tampering import Tampering

TABLE = {"shopify": SHOPIFY, "woocommerce-8.2": WOOCOMMERCE, "woocommerce-10.3": WOOCOMMERCE}
CASES = [
    pytest.param(platform, broken, id=f"{platform}: {name}")
    for platform, cases in TABLE.items()
    for name, broken in cases.items()
]


@pytest.mark.parametrize(("platform", "broken"), CASES)
async def test_it_is_told_and_everything_else_is_stored(opens: Opens, platform: str, broken: Broken) -> None:
    async with opens(platform, products=14, edge_cases=False) as shop:
        product = next(one for one in shop.catalog.products() if (len(one.variants) < 2) == broken.simple)
        tampering = tampering_of(shop, product, broken)
        shop.store.add_fault(shop.domain, tampering)
        sync = await shop.sync()
        assert (sync.state, sync.error) == (SyncState.SUCCEEDED, None)
        assert tampering.changed
        await check_issue(shop, product, broken)
        await check_rest(shop, product, broken)


def tampering_of(shop: EndToEnd, product: Product, broken: Broken) -> Tampering:
    record_id = product.id if broken.product else product.variants[0].id
    if shop.catalog.platform is Platform.WOOCOMMERCE:
        return Tampering(record_id, broken.change, whole="sku")
    kind, whole = ("Product", "descriptionHtml") if broken.product else ("ProductVariant", "price")
    return Tampering(f"gid://shopify/{kind}/{record_id}", broken.change, whole)


async def check_issue(shop: EndToEnd, product: Product, broken: Broken) -> None:
    issues = await shop.world.rows("SELECT * FROM sync_issue")
    found = [issue for issue in issues if issue["reason"] == broken.reason and issue["field"] == broken.field]
    assert len(found) == 1, issues
    (issue,) = found
    known = not (broken.nameless and broken.product)
    assert issue["product_id"] == (str(product.id) if known else "")
    assert issue["item_id"] == ("" if broken.product or broken.nameless else str(product.variants[0].id))
    assert issue["product_set_aside"] == (broken.product and not broken.stays)
    assert issue["message"]
    assert issue["sample"].startswith(broken.sample)
    assert len(issue["sample"]) <= 200
    assert not [secret for secret in (SECRET, PASSWORD) if secret[:10] in str(issues)]


async def check_rest(shop: EndToEnd, product: Product, broken: Broken) -> None:
    rows = await shop.world.rows(
        "SELECT item_id, sku, price::text, stock_quantity FROM item WHERE deleted_at IS NULL"
    )
    lost = lost_items(product, broken)
    assert {tuple(row.values()) for row in rows} == {
        (item.item_id, item.sku, None if item.price is None else str(item.price), item.stock)
        for item in shop.catalog.sellable_items()
        if item.item_id not in lost
    }


def lost_items(product: Product, broken: Broken) -> set[str]:
    if broken.stays:
        return set()
    every = [str(variant.id) for variant in product.variants] or [str(product.id)]
    return set(every if broken.product else every[:1])
