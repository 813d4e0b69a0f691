"""The truth: the same seed gives the same shop, and changes move dates as the platform moves them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Kind, Platform, ProductRow
from devstore.spec import ShopSpec, VariantRange

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOTH = [
    ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=80),
    ShopSpec(platform=Platform.WOOCOMMERCE, domain="store.example", products=80),
]


def catalog(platform: Platform, products: int = 60) -> Catalog:
    spec = ShopSpec(platform=platform, domain="x.example", products=products)
    return Catalog(spec, clock=lambda: NOON)


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.platform.value)
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


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.platform.value)
def test_the_index_says_the_same_as_the_products(spec: ShopSpec) -> None:
    truth = Catalog(spec)
    rows = [(row.id, row.kind, row.status, row.updated, list(row.variant_ids)) for row in truth.rows()]
    built = [ProductRow.of(product) for product in truth.products()]
    assert rows == [(row.id, row.kind, row.status, row.updated, list(row.variant_ids)) for row in built]


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.platform.value)
def test_the_item_count_is_the_number_of_sellable_items(spec: ShopSpec) -> None:
    truth = Catalog(spec)
    items = list(truth.sellable_items())
    assert truth.item_count == len(items) == len({item.item_id for item in items})


def test_an_empty_shop_is_a_shop() -> None:
    truth = catalog(Platform.SHOPIFY, products=0)
    assert (len(truth), list(truth.sellable_items())) == (0, [])


def test_exact_variant_counts_can_be_asked_for() -> None:
    shape = VariantRange(least=10, most=10)
    spec = ShopSpec(platform=Platform.SHOPIFY, domain="x.example", products=9, variants=shape, edge_cases=False)
    assert {len(product.variants) for product in Catalog(spec).products()} == {10}


@pytest.mark.parametrize(("name", "count"), [("variants-600", 600), ("variants-250", 250), ("variants-100", 100)])
def test_shopify_shops_hold_products_of_many_variants(name: str, count: int) -> None:
    product = catalog(Platform.SHOPIFY).edge_case(name)
    assert len({variant.options for variant in product.variants}) == count


def test_woocommerce_shops_hold_every_awkward_product() -> None:
    truth = catalog(Platform.WOOCOMMERCE)
    assert len(truth.edge_case("variations-130").variants) == 130
    assert truth.edge_case("variations-0").variants == ()
    assert truth.edge_case("grouped").kind is Kind.GROUPED
    assert truth.edge_case("no-price").price == ""
    assert truth.edge_case("duplicate-sku-1").sku == truth.edge_case("duplicate-sku-2").sku
    assert truth.edge_case("parent-stock").variants[0].shares_stock


def test_the_oracle_shows_what_the_platform_shows() -> None:
    truth = catalog(Platform.WOOCOMMERCE)
    items = {item.item_id: item for item in truth.sellable_items()}
    heir = truth.edge_case("inherited-sku")
    shelf = truth.edge_case("parent-stock")
    assert items[str(heir.variants[0].id)].sku == heir.sku
    assert items[str(shelf.variants[0].id)].stock == 17
    assert items[str(truth.edge_case("no-price").id)].price is None
    assert items[str(truth.edge_case("zero-price").id)].price == Decimal(0)
    assert str(truth.edge_case("trashed").id) not in items
    grouped = truth.edge_case("grouped")
    assert items[str(grouped.id)].price == Decimal(truth.lowest_price(grouped))


def test_a_variants_change_moves_the_variant_and_its_product() -> None:
    truth = catalog(Platform.SHOPIFY)
    first, second = truth.edge_case("compare-at").variants
    truth.update_variant(first.id, price="1.00")
    product = truth.edge_case("compare-at")
    assert product.updated == product.variants[0].updated == NOON
    assert product.variants[1] == second


def test_a_products_change_moves_the_product_alone() -> None:
    truth = catalog(Platform.WOOCOMMERCE)
    before = truth.edge_case("inherited-sku")
    truth.update_product(before.id, title="Other")
    after = truth.edge_case("inherited-sku")
    assert (after.updated, after.variants) == (NOON, before.variants)


def test_a_write_past_the_platform_moves_no_date() -> None:
    truth = catalog(Platform.WOOCOMMERCE)
    before = truth.edge_case("sale")
    after = truth.update_product(before.id, touch=False, price="1")
    assert (after.price, after.updated) == ("1", before.updated)


def test_ids_of_deleted_variants_are_not_used_again() -> None:
    truth = catalog(Platform.SHOPIFY)
    product = truth.add_product(title="New")
    added = truth.add_variant(product.id, sku="A")
    truth.delete_variant(added.id)
    again = truth.add_variant(product.id, sku="B")
    assert again.id > added.id
    assert truth.variant(added.id) is None


def test_a_deleted_product_is_gone_with_its_variants() -> None:
    truth = catalog(Platform.SHOPIFY)
    product = truth.edge_case("variants-100")
    count = truth.variant_count
    truth.delete_product(product.id)
    assert truth.product(product.id) is None
    assert truth.variant(product.variants[0].id) is None
    assert truth.variant_count == count - 100
