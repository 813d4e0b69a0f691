"""Parsing of BigCommerce records: prices, stock, options, images, and salvage of malformed ones."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connector_svc.domain.product import Image, InventoryPolicy, Product, ProductStatus, Variant
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.bigcommerce.inventory import sum_locations
from connector_svc.platforms.bigcommerce.parse import stock_levels
from connector_svc.platforms.bigcommerce.record_salvage import ListedProduct, decode_products
from connector_svc.platforms.bigcommerce.wire import LocationRow
from tests.unit.connector_svc.bigcommerce.sample_rows import PARSER, listed, parsed, product_row, variant_row


def product_of(**changes: Any) -> Product:
    found = parsed(listed(product_row(**changes)))
    assert found.issues == ()
    assert found.product is not None
    return found.product


def variant_of(product: dict[str, Any] | None = None, **changes: Any) -> Variant:
    (variant,) = product_of(**{"variants": [variant_row(**changes)]} | (product or {})).variants
    return variant


@pytest.mark.parametrize(
    "digits", ["19.99", "1234567.89", "0.1", "7.30", "20", "0", "0.0000001", "9007199254740993.07", "0.125"]
)
def test_a_price_keeps_the_digits_of_its_json_number(digits: str) -> None:
    """As a float 9007199254740993.07 would become ...992 and 7.30 would become 7.3."""
    row = product_row(variants=[variant_row(calculated_price=msgspec.Raw(digits.encode()))])
    product = parsed(listed(row)).product
    assert product is not None
    assert f"{product.variants[0].price:f}" == digits


def test_a_price_with_an_exponent_becomes_plain_digits() -> None:
    row = product_row(variants=[variant_row(calculated_price=msgspec.Raw(b"1.5e3"))])
    product = parsed(listed(row)).product
    assert product is not None
    assert str(product.variants[0].price) == "1500"


def test_a_variant_without_a_price_has_the_price_of_its_product() -> None:
    assert variant_of(price=None, calculated_price=None).price == Decimal("8.5")
    assert variant_of({"calculated_price": None}, price=None, calculated_price=None).price == Decimal(10)
    assert variant_of(price=12, calculated_price=None).price == Decimal(12)


def test_compare_at_price_is_the_regular_price_while_the_price_is_lower() -> None:
    assert variant_of(price=None, calculated_price=8.5).compare_at_price == Decimal(10)
    assert variant_of(price=25, calculated_price=20).compare_at_price == Decimal(25)
    assert variant_of(price=25, calculated_price=25).compare_at_price is None


def test_stock_follows_inventory_tracking() -> None:
    assert variant_of({"inventory_tracking": "variant"}, inventory_level=7).stock_quantity == 7
    shared = variant_of({"inventory_tracking": "product", "inventory_level": 9}, inventory_level=0)
    assert (shared.stock_quantity, shared.available) == (9, True)
    untracked = variant_of({"inventory_tracking": "none"}, inventory_level=0)
    assert (untracked.stock_quantity, untracked.available) == (None, True)
    assert untracked.inventory_policy is InventoryPolicy.UNSPECIFIED


@pytest.mark.parametrize(
    ("product", "variant", "available"),
    [
        ({}, {}, True),
        ({}, {"inventory_level": 0}, False),
        ({}, {"purchasing_disabled": True}, False),
        ({"is_visible": False}, {}, False),
        ({"availability": "disabled"}, {}, False),
        ({"availability": "preorder"}, {}, True),
    ],
)
def test_only_what_the_store_would_sell_is_available(
    product: dict[str, Any], variant: dict[str, Any], available: bool
) -> None:
    found = variant_of(product, **variant)
    assert found.available is available


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inventory_tracking": "product", "inventory_level": 3},
        {"inventory_tracking": "none"},
        {"is_visible": False},
        {"price": None, "calculated_price": None, "variants": [variant_row(calculated_price=None)]},
        {
            "variants": [
                variant_row(1),
                variant_row(2, inventory_level=0),
                variant_row(3, purchasing_disabled=True),
            ]
        },
    ],
)
def test_stock_levels_equal_the_stock_of_the_parsed_product(changes: dict[str, Any]) -> None:
    (record,) = decode_products(listed(product_row(**changes))).items
    assert isinstance(record, ListedProduct)
    product = PARSER.parse(record).product
    assert product is not None
    levels = [(level.variant_id, level.stock_quantity, level.available) for level in stock_levels(record)]
    assert levels == [(one.id, one.stock_quantity, one.available) for one in product.variants]
    assert {level.product_id for level in stock_levels(record)} == {product.id}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("availability", "backorder"),
        ("availability", None),
        ("inventory_tracking", "bundle"),
        ("inventory_tracking", 7),
    ],
)
def test_an_unknown_value_makes_variants_unavailable_without_rejecting_the_product(field: str, value: Any) -> None:
    found = parsed(listed(product_row(**{field: value})))
    assert found.product is not None
    assert [variant.available for variant in found.product.variants] == [False]
    (issue,) = found.issues
    assert (issue.reason, issue.field, issue.product_rejected) == (IssueReason.INVALID_FIELD, field, False)


def location(available: int, **changes: Any) -> dict[str, Any]:
    """Return a location as the reference of the Inventory API shows it."""
    return {
        "location_id": 1,
        "available_to_sell": available,
        "total_inventory_onhand": available,
        "location_enabled": True,
        "settings": {"safety_stock": 0, "is_in_stock": True, "warning_level": 0, "bin_picking_number": ""},
    } | changes


STOCK: dict[str, tuple[list[dict[str, Any]], tuple[int, bool, InventoryPolicy]]] = {
    "sum": ([location(4), location(3)], (7, True, InventoryPolicy.UNSPECIFIED)),
    "no stock at any location": ([location(0), location(0)], (0, False, InventoryPolicy.UNSPECIFIED)),
    "disabled": ([location(0), location(5, location_enabled=False)], (0, False, InventoryPolicy.UNSPECIFIED)),
    "safety stock": (
        [location(4, total_inventory_onhand=6, settings={"safety_stock": 2})],
        (4, True, InventoryPolicy.UNSPECIFIED),
    ),
    "below its safety stock": (
        [location(0, total_inventory_onhand=1, settings={"safety_stock": 2})],
        (0, False, InventoryPolicy.UNSPECIFIED),
    ),
    "is_in_stock switched off by the merchant": (
        [location(9, settings={"is_in_stock": False})],
        (9, False, InventoryPolicy.UNSPECIFIED),
    ),
    "sold on backorder": (
        [location(25, total_inventory_onhand=0, settings={"backorder_limit": 25})],
        (0, True, InventoryPolicy.CONTINUE),
    ),
    "backorder limit outside the settings": (
        [location(8, total_inventory_onhand=3, backorder_limit=5)],
        (3, True, InventoryPolicy.CONTINUE),
    ),
    "no backorders": (
        [location(3, settings={"backorder_limit": 0}), location(0, settings={"backorder_limit": 0})],
        (3, True, InventoryPolicy.DENY),
    ),
    "a limit of one location only": (
        [location(3, settings={"backorder_limit": 0}), location(0)],
        (3, True, InventoryPolicy.UNSPECIFIED),
    ),
    "more available to sell than on hand": (
        [location(9, total_inventory_onhand=2)],
        (2, True, InventoryPolicy.UNSPECIFIED),
    ),
    "no location": ([], (0, False, InventoryPolicy.UNSPECIFIED)),
}


@pytest.mark.parametrize("case", STOCK)
def test_stock_is_summed_over_the_locations_that_can_sell_it(case: str) -> None:
    locations, expected = STOCK[case]
    rows = msgspec.json.decode(msgspec.json.encode(locations), type=list[LocationRow])
    found = sum_locations(rows)
    assert (found.quantity, found.sellable, found.policy) == expected


def test_a_hidden_product_is_a_draft() -> None:
    assert product_of(is_visible=False).status is ProductStatus.DRAFT


def test_images_have_no_version_since_their_address_contains_the_time_of_the_upload() -> None:
    # An example of BigCommerce's documentation.
    url = "https://cdn8.bigcommerce.com/s-id30h7ohwf/products/158/images/382/towel__60806.1534344511.1280.1280.jpg?c=2"
    modified = "2018-08-15T14:48:31+00:00"
    assert datetime.fromisoformat(modified).timestamp() == 1534344511
    row = {"id": 382, "url_zoom": url, "date_modified": modified}
    assert product_of(images=[row]).images == (Image(id="382", url=url),)


def test_the_thumbnail_is_the_first_image() -> None:
    assert [image.id for image in product_of().images] == ["1", "2"]


def test_options_are_collected_from_the_variants_in_order() -> None:
    def variant(number: int, label: str) -> dict[str, Any]:
        return variant_row(number, option_values=[{"option_display_name": "Color", "label": label}])

    product = product_of(variants=[variant(1, "Red"), variant(2, "Blue"), variant(3, "Red")])
    assert [(option.name, option.values) for option in product.options] == [("Color", ("Red", "Blue"))]
    assert [variant.title for variant in product.variants] == ["Red", "Blue", "Red"]


FAULTS: dict[str, tuple[dict[str, Any], IssueReason, str]] = {
    "price of letters": ({"calculated_price": "abc"}, IssueReason.INVALID_PRICE, "calculated_price"),
    "negative price": ({"calculated_price": -1}, IssueReason.INVALID_PRICE, "calculated_price"),
    "price that is not a number": ({"calculated_price": "NaN"}, IssueReason.INVALID_PRICE, "calculated_price"),
    "stock of letters": ({"inventory_level": "many"}, IssueReason.INVALID_FIELD, "inventory_level"),
    "no id": ({"id": None}, IssueReason.MISSING_ID, "id"),
    "variant of another product": ({"product_id": 5}, IssueReason.ORPHAN_VARIANT, "product_id"),
    "duplicate id": ({"id": 1}, IssueReason.DUPLICATE_ID, "id"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_invalid_variant_is_dropped_alone(case: str) -> None:
    changes, reason, field = FAULTS[case]
    found = parsed(listed(product_row(variants=[variant_row(1), variant_row(2) | changes, variant_row(3)])))
    assert found.product is not None
    assert [variant.id for variant in found.product.variants] == ["1", "3"]
    assert found.product.variants_complete is (reason is IssueReason.DUPLICATE_ID)
    (issue,) = found.issues
    assert (issue.reason, issue.field, issue.product_rejected) == (reason, field, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "x"}, IssueReason.MISSING_ID),
        ({"name": None}, IssueReason.INVALID_FIELD),
        ({"variants": None}, IssueReason.INVALID_FIELD),
        ({"price": "abc"}, IssueReason.INVALID_PRICE),
    ],
)
def test_an_invalid_product_is_rejected_alone(changes: dict[str, Any], reason: IssueReason) -> None:
    before, invalid, after = decode_products(
        listed(product_row(1), product_row(2, **changes), product_row(3))
    ).items
    assert PARSER.parse(before).issues == PARSER.parse(after).issues == ()
    found = PARSER.parse(invalid)
    assert found.product is None
    (issue,) = found.issues
    assert (issue.reason, issue.product_rejected) == (reason, True)


def test_a_malformed_droppable_field_is_left_out_with_an_issue() -> None:
    images = [{"id": "x"}, {"id": 5, "url_zoom": "https://cdn.example/5.png"}]
    found = parsed(listed(product_row(date_created="yesterday", images=images)))
    assert found.product is not None
    assert found.product.created_at is None
    assert [image.id for image in found.product.images] == ["5"]
    assert {issue.field for issue in found.issues} == {"date_created", "images"}


def test_invalid_utf_8_rejects_one_record() -> None:
    text = listed(product_row(1), product_row(2, name="cafX")).replace(b"cafX", b"caf\xe9")
    valid, invalid = decode_products(text).items
    assert PARSER.parse(valid).product is not None
    assert PARSER.parse(invalid).issues[0].field == "name"
