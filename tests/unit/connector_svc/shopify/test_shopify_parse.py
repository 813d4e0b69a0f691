from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from connector_svc.domain.product import InventoryPolicy, Product, ProductStatus, SelectedOption, Variant
from connector_svc.domain.records import IssueReason
from connector_svc.platforms.shopify.node_decoding import decode_page
from connector_svc.platforms.shopify.parse import Record, to_record
from tests.unit.connector_svc.shopify.nodes_json import Json, image_node, product_node, variant_node


def parse_record(node: Any) -> Record:
    page = {"products": {"nodes": [node], "pageInfo": {"hasNextPage": False}}}
    [found], _ = decode_page(msgspec.Raw(msgspec.json.encode(page)), ())
    return to_record(found)


def parse_valid_product(node: Json) -> Product:
    record = parse_record(node)
    assert record.product is not None
    return record.product


def parse_valid_variant(**changes: Any) -> Variant:
    [variant] = parse_valid_product(with_variants(variant_node(11, **changes))).variants
    return variant


def with_variants(*variants: Any, **changes: Any) -> Json:
    nodes = {"nodes": list(variants), "pageInfo": {"hasNextPage": False}}
    count = {"count": len(variants), "precision": "EXACT"}
    return product_node(1) | {"variants": nodes, "variantsCount": count} | changes


def test_a_product_has_every_field_that_shopify_delivers() -> None:
    product = parse_valid_product(product_node(1, onlineStoreUrl="https://demo.example/p", status="UNLISTED"))
    assert (product.id, product.title, product.handle) == ("1", "Product 1", "product-1")
    assert (product.vendor, product.product_type, product.tags) == ("Maker", "Thing", ("a", "b"))
    assert product.status is ProductStatus.UNLISTED
    assert product.url == "https://demo.example/p"
    assert product.description_html == "<p>Good.</p>"
    assert product.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert product.updated_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert product.variants_complete


def test_a_variant_has_every_field_that_shopify_delivers() -> None:
    variant = parse_valid_variant(
        barcode="0012345678905", compareAtPrice="10.00", inventoryPolicy="CONTINUE", position=3
    )
    assert (variant.id, variant.title, variant.sku) == ("11", "Size 11", "00000011")
    assert (variant.barcode, variant.position, variant.available) == ("0012345678905", 3, True)
    assert variant.inventory_policy is InventoryPolicy.CONTINUE
    assert variant.options == (SelectedOption(name="Size", value="Size 11"),)
    assert variant.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert variant.updated_at == datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["7.30", "0.00", "20.00", "123456789012.345", "1000"])
def test_a_price_keeps_each_digit(text: str) -> None:
    variant = parse_valid_variant(price=text, compareAtPrice=text)
    assert (str(variant.price), str(variant.compare_at_price)) == (text, text)


@pytest.mark.parametrize("text", ["0.5", "0.50", "1.1", "0.1000000000000000055511151231257827", "0"])
def test_a_weight_never_passes_through_a_float(text: str) -> None:
    raw = msgspec.json.encode(with_variants(variant_node(11))).replace(b'"value":0.5', b'"value":' + text.encode())
    page = b'{"products":{"nodes":[' + raw + b'],"pageInfo":{"hasNextPage":false}}}'
    [found], _ = decode_page(msgspec.Raw(page), ())
    product = to_record(found).product
    assert product is not None
    assert str(product.variants[0].weight) == text


@pytest.mark.parametrize(
    ("unit", "symbol"), [("GRAMS", "g"), ("KILOGRAMS", "kg"), ("OUNCES", "oz"), ("POUNDS", "lb")]
)
def test_weight_units_have_short_names(unit: str, symbol: str) -> None:
    weight = {"tracked": True, "measurement": {"weight": {"value": 2, "unit": unit}}}
    variant = parse_valid_variant(inventoryItem=weight)
    assert (variant.weight, variant.weight_unit) == (Decimal(2), symbol)


@pytest.mark.parametrize("weight", [{"value": 2, "unit": "STONE"}, {"value": -1, "unit": "GRAMS"}])
def test_a_variant_with_an_invalid_weight_is_kept_without_it_and_reported(weight: Json) -> None:
    item = {"tracked": True, "measurement": {"weight": weight}}
    record = parse_record(with_variants(variant_node(11, inventoryItem=item)))
    assert record.product is not None
    assert record.product.variants[0].weight is None
    assert record.product.variants_complete
    assert [(issue.reason, issue.field) for issue in record.issues] == [(IssueReason.INVALID_FIELD, "weight")]


def test_stock_that_is_not_tracked_is_unknown_and_may_be_negative_otherwise() -> None:
    assert parse_valid_variant(inventoryItem={"tracked": False, "measurement": None}).stock_quantity is None
    assert parse_valid_variant(inventoryQuantity=-3).stock_quantity == -3
    assert parse_valid_variant(inventoryQuantity=None).stock_quantity is None


def test_the_generated_option_of_a_product_without_options_is_removed() -> None:
    option = {"name": "Title", "value": "Default Title"}
    node = with_variants(
        variant_node(11, title="Default Title", selectedOptions=[option]),
        options=[{"name": "Title", "values": ["Default Title"]}],
    )
    product = parse_valid_product(node)
    assert (product.options, product.variants[0].title, product.variants[0].options) == ((), "", ())


def test_the_image_of_a_variant_comes_from_the_products_media() -> None:
    media = {"nodes": [image_node(5), image_node(6)], "pageInfo": {"hasNextPage": False}}
    own = {"nodes": [{"id": "gid://shopify/MediaImage/6"}]}
    product = parse_valid_product(with_variants(variant_node(11, media=own), variant_node(12), media=media))
    first, second = product.variants
    assert [image.id for image in product.images] == ["5", "6"]
    assert first.image == product.images[1]
    assert second.image is None
    assert (product.images[0].url, product.images[0].alt_text) == ("https://cdn.example/5.png", "front")
    assert (product.images[0].width, product.images[0].height) == (64, 32)


def test_an_image_that_shopify_has_not_processed_is_left_out() -> None:
    media = {"nodes": [image_node(5, image=None)], "pageInfo": {"hasNextPage": False}}
    own = {"nodes": [{"id": "gid://shopify/MediaImage/5"}]}
    record = parse_record(with_variants(variant_node(11, media=own), media=media))
    assert record.product is not None
    assert (record.product.images, record.product.variants[0].image) == ((), None)
    assert not record.needs_reread
    [issue] = record.issues
    assert (issue.product_id, issue.field, issue.sample) == ("1", "image", "gid://shopify/MediaImage/5")
    assert not issue.product_rejected


@pytest.mark.parametrize(
    ("status", "available"), [("ACTIVE", True), ("UNLISTED", True), ("DRAFT", False), ("ARCHIVED", False)]
)
def test_a_product_that_is_not_sellable_is_unavailable_whatever_its_stock(status: str, available: bool) -> None:
    product = parse_valid_product(product_node(1, status=status))
    assert [variant.available for variant in product.variants] == [available]


def test_times_with_an_offset_become_utc() -> None:
    product = parse_valid_product(product_node(1, updatedAt="2026-02-01T01:00:00+02:00"))
    assert product.updated_at == datetime(2026, 1, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "reason", "field", "sample"),
    [
        ({"price": "free"}, IssueReason.INVALID_PRICE, "price", "free"),
        ({"price": "NaN"}, IssueReason.INVALID_PRICE, "price", "NaN"),
        ({"price": "-1.00"}, IssueReason.INVALID_PRICE, "price", "-1.00"),
        ({"price": "1E+999999"}, IssueReason.INVALID_PRICE, "price", "1E+999999"),
        ({"price": None}, IssueReason.INVALID_PRICE, "price", "null"),
        ({"compareAtPrice": "Infinity"}, IssueReason.INVALID_PRICE, "compareAtPrice", "Infinity"),
        ({"inventoryQuantity": "many"}, IssueReason.INVALID_FIELD, "inventoryQuantity", "many"),
        ({"inventoryQuantity": 2**63}, IssueReason.INVALID_FIELD, "inventoryQuantity", str(2**63)),
        ({"inventoryPolicy": "MAYBE"}, IssueReason.INVALID_FIELD, "inventoryPolicy", "MAYBE"),
        ({"updatedAt": "yesterday"}, IssueReason.INVALID_FIELD, "updatedAt", "yesterday"),
        ({"updatedAt": "0001-01-01T00:00:00+14:00"}, IssueReason.INVALID_FIELD, "updatedAt", ""),
        ({"selectedOptions": [{"name": "S"}]}, IssueReason.MISSING_FIELD, "value", ""),
        ({"id": "gid://shopify/Product/11"}, IssueReason.MISSING_ID, "id", "gid://shopify/Product/11"),
    ],
)
def test_an_invalid_variant_is_rejected_alone(changes: Json, reason: IssueReason, field: str, sample: str) -> None:
    record = parse_record(with_variants(variant_node(10), variant_node(11, **changes), variant_node(12)))
    assert record.product is not None
    assert [variant.id for variant in record.product.variants] == ["10", "12"]
    assert not record.product.variants_complete
    [issue] = record.issues
    assert (issue.reason, issue.field, issue.sample) == (reason, field, sample)
    assert (issue.product_id, issue.product_rejected) == ("1", False)
    assert issue.variant_id == ("" if reason is IssueReason.MISSING_ID else "11")
    assert not record.is_miscounted


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"title": None}, IssueReason.INVALID_FIELD, "title"),
        ({"status": "GONE"}, IssueReason.INVALID_FIELD, "status"),
        ({"tags": "a, b"}, IssueReason.INVALID_FIELD, "tags"),
        ({"variants": {"nodes": None}}, IssueReason.INVALID_FIELD, "nodes"),
        ({"id": None}, IssueReason.INVALID_FIELD, "id"),
        ({"id": "gid://shopify/Collection/1"}, IssueReason.MISSING_ID, "id"),
        ({"createdAt": "0001-01-01T00:00:00+14:00"}, IssueReason.INVALID_FIELD, "updatedAt"),
    ],
)
def test_an_invalid_product_is_rejected(changes: Json, reason: IssueReason, field: str) -> None:
    record = parse_record(product_node(1) | changes)
    assert record.product is None
    [issue] = record.issues
    assert (issue.reason, issue.field, issue.product_rejected) == (reason, field, True)


def test_one_invalid_product_does_not_lose_its_page() -> None:
    page = {
        "products": {
            "nodes": [product_node(1), product_node(2, title=7), None, product_node(3)],
            "pageInfo": {"hasNextPage": False},
        }
    }
    found, _ = decode_page(msgspec.Raw(msgspec.json.encode(page)), ())
    records = [to_record(one) for one in found]
    assert [record.product is not None for record in records] == [True, False, False, True]
    assert records[1].issues[0].product_id == "2"


def test_a_duplicate_variant_is_kept_once() -> None:
    record = parse_record(with_variants(variant_node(11), variant_node(11, sku="other"), variantsCount=None))
    assert record.product is not None
    assert [variant.sku for variant in record.product.variants] == ["00000011"]
    assert [issue.reason for issue in record.issues] == [IssueReason.DUPLICATE_ID]
    assert record.received_variants == 1
