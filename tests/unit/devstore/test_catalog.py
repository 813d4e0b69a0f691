"""The catalog: the same seed gives the same products, and changes set dates as the platform does."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Kind, Platform, ProductRow
from devstore.spec import ShopSpec, VariantRange

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SPECS = [
    ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=80),
    ShopSpec(platform=Platform.WOOCOMMERCE, domain="store.example", products=80),
]


def catalog(platform: Platform, products: int = 60) -> Catalog:
    spec = ShopSpec(platform=platform, domain="x.example", products=products)
    return Catalog(spec, clock=lambda: NOON)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.platform.value)
def test_the_same_spec_always_serves_the_same_catalog(spec: ShopSpec) -> None:
    assert list(Catalog(spec).products()) == list(Catalog(spec).products())


def test_another_seed_and_another_domain_serve_another_catalog() -> None:
    titles = [
        [product.title for product in Catalog(spec).products()]
        for spec in (
            ShopSpec(platform=Platform.SHOPIFY, domain="a.example", seed=1),
            ShopSpec(platform=Platform.SHOPIFY, domain="a.example", seed=2),
            ShopSpec(platform=Platform.SHOPIFY, domain="b.example", seed=1),
        )
    ]
    assert titles[0] != titles[1]
    assert titles[0] != titles[2]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.platform.value)
def test_the_index_agrees_with_the_products(spec: ShopSpec) -> None:
    shop_catalog = Catalog(spec)
    rows = [(row.id, row.kind, row.status, row.updated, list(row.variant_ids)) for row in shop_catalog.rows()]
    built = [ProductRow.of(product) for product in shop_catalog.products()]
    assert rows == [(row.id, row.kind, row.status, row.updated, list(row.variant_ids)) for row in built]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.platform.value)
def test_the_item_count_is_the_number_of_sellable_items(spec: ShopSpec) -> None:
    shop_catalog = Catalog(spec)
    items = list(shop_catalog.sellable_items())
    assert shop_catalog.item_count == len(items) == len({item.item_id for item in items})


@pytest.mark.parametrize("platform", [Platform.SHOPIFY, Platform.BIGCOMMERCE, Platform.WOOCOMMERCE])
def test_a_replaced_picture_changes_the_date_of_the_product_except_on_woocommerce(platform: Platform) -> None:
    shop_catalog = catalog(platform)
    product = next(product for product in shop_catalog.products() if product.images)
    first = shop_catalog.replace_picture(product.images[0].id)
    second = shop_catalog.replace_picture(product.images[0].id)
    assert product.images[0].changed < first.changed < second.changed
    changed = shop_catalog.product(product.id)
    assert changed is not None
    assert changed.images == (second, *product.images[1:])
    assert (changed.updated == product.updated) is (platform is Platform.WOOCOMMERCE)


def test_a_shop_may_be_empty() -> None:
    shop_catalog = catalog(Platform.SHOPIFY, products=0)
    assert (len(shop_catalog), list(shop_catalog.sellable_items())) == (0, [])


def test_an_exact_variant_count_can_be_requested() -> None:
    shape = VariantRange(least=10, most=10)
    spec = ShopSpec(platform=Platform.SHOPIFY, domain="x.example", products=9, variants=shape, edge_cases=False)
    assert {len(product.variants) for product in Catalog(spec).products()} == {10}


@pytest.mark.parametrize(("name", "count"), [("variants-600", 600), ("variants-250", 250), ("variants-100", 100)])
def test_shopify_shops_have_products_with_many_variants(name: str, count: int) -> None:
    product = catalog(Platform.SHOPIFY).edge_case(name)
    assert len({variant.options for variant in product.variants}) == count


def test_woocommerce_shops_have_every_edge_case() -> None:
    shop_catalog = catalog(Platform.WOOCOMMERCE)
    assert len(shop_catalog.edge_case("variations-130").variants) == 130
    assert shop_catalog.edge_case("variations-0").variants == ()
    assert shop_catalog.edge_case("grouped").kind is Kind.GROUPED
    assert shop_catalog.edge_case("no-price").price == ""
    assert shop_catalog.edge_case("duplicate-sku-1").sku == shop_catalog.edge_case("duplicate-sku-2").sku
    assert shop_catalog.edge_case("parent-stock").variants[0].shares_stock


def test_the_oracle_agrees_with_the_platform() -> None:
    shop_catalog = catalog(Platform.WOOCOMMERCE)
    items = {item.item_id: item for item in shop_catalog.sellable_items()}
    inherited = shop_catalog.edge_case("inherited-sku")
    shared = shop_catalog.edge_case("parent-stock")
    assert items[str(inherited.variants[0].id)].sku == inherited.sku
    assert items[str(shared.variants[0].id)].stock == 17
    assert items[str(shop_catalog.edge_case("no-price").id)].price is None
    assert items[str(shop_catalog.edge_case("zero-price").id)].price == Decimal(0)
    assert str(shop_catalog.edge_case("trashed").id) not in items
    grouped = shop_catalog.edge_case("grouped")
    assert items[str(grouped.id)].price == Decimal(shop_catalog.lowest_price(grouped))


def test_a_variant_change_updates_the_dates_of_the_variant_and_its_product() -> None:
    shop_catalog = catalog(Platform.SHOPIFY)
    first, second = shop_catalog.edge_case("compare-at").variants
    shop_catalog.update_variant(first.id, price="1.00")
    product = shop_catalog.edge_case("compare-at")
    assert product.updated == product.variants[0].updated == NOON
    assert product.variants[1] == second


def test_a_product_change_updates_the_date_of_the_product_alone() -> None:
    shop_catalog = catalog(Platform.WOOCOMMERCE)
    before = shop_catalog.edge_case("inherited-sku")
    shop_catalog.update_product(before.id, title="Other")
    after = shop_catalog.edge_case("inherited-sku")
    assert (after.updated, after.variants) == (NOON, before.variants)


def test_a_write_by_sql_updates_no_date() -> None:
    shop_catalog = catalog(Platform.WOOCOMMERCE)
    before = shop_catalog.edge_case("sale")
    after = shop_catalog.update_product(before.id, touch=False, price="1")
    assert (after.price, after.updated) == ("1", before.updated)


def test_ids_of_deleted_variants_are_not_used_again() -> None:
    shop_catalog = catalog(Platform.SHOPIFY)
    product = shop_catalog.add_product(title="New")
    added = shop_catalog.add_variant(product.id, sku="A")
    shop_catalog.delete_variant(added.id)
    again = shop_catalog.add_variant(product.id, sku="B")
    assert again.id > added.id
    assert shop_catalog.variant(added.id) is None


def test_a_product_is_deleted_with_its_variants() -> None:
    shop_catalog = catalog(Platform.SHOPIFY)
    product = shop_catalog.edge_case("variants-100")
    count = shop_catalog.variant_count
    shop_catalog.delete_product(product.id)
    assert shop_catalog.product(product.id) is None
    assert shop_catalog.variant(product.variants[0].id) is None
    assert shop_catalog.variant_count == count - 100
