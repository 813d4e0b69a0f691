"""A mutated WooCommerce row becomes a product with the values that were sent, or an issue."""

from __future__ import annotations

import html
import math
from decimal import Decimal
from typing import Any

import pytest

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH, RecordIssue
from connector_svc.platforms.woocommerce.json_salvage import DecodedRecords, RecordDecoder, decode_json_body
from connector_svc.platforms.woocommerce.parse import ParsedProduct, ProductParser
from connector_svc.platforms.woocommerce.variation_group import VariationGroup
from connector_svc.platforms.woocommerce.wire import ProductRow, SellableRow, VariationRow
from tests.contract.woocommerce.replay import recorded_products, recorded_variations
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded

PARSER = ProductParser("kg")
PRODUCT_NAMES = ProductRow.__struct_fields__
VARIATION_NAMES = VariationRow.__struct_fields__
WRITTEN_NUMBERS = (int, Decimal)


def with_fields(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what the store sends when only the fields `names` are requested."""
    return [{name: row[name] for name in names if name in row} for row in rows]


PRODUCTS = with_fields(list(recorded_products().values()), PRODUCT_NAMES)
VARIATIONS = with_fields(list(recorded_variations().values()), VARIATION_NAMES)
(PARENT,) = RecordDecoder(ProductRow).decode(encoded([row for row in PRODUCTS if row["id"] == 66])).items


def read(rows: list[Any], row_type: type[SellableRow]) -> tuple[DecodedRecords[Any], list[Any]]:
    """Return the body decoded by the connector, and by an independent simple decoder."""
    body = encoded(rows)
    decoded = decode_json_body(body, RecordDecoder(row_type).decode)
    assert not decoded.has_noise
    sent_rows = sent(body)
    assert len(decoded.value.items) == len(sent_rows)
    return decoded.value, sent_rows


def identity(row: dict[str, Any]) -> str:
    """Return the id as text, also for 7.0 and "7"."""
    return str(row.get("id")).removesuffix(".0")


def equals_sent(parsed: str, value: Any) -> bool:
    """Return whether `parsed` is the text sent, or the digits of the number where a plugin sent one."""
    if isinstance(value, str):
        return parsed == value
    return isinstance(value, WRITTEN_NUMBERS) and parsed == format(value)


def check_issues(issues: tuple[RecordIssue, ...]) -> set[str]:
    """Return the fields that the issues name."""
    for issue in issues:
        assert issue.message
        assert is_text(issue.sample + issue.field + issue.message)
        assert len(issue.sample) <= SAMPLE_LENGTH
    return {issue.field for issue in issues}


def check_variant(variant: Variant, row: dict[str, Any], faulty_fields: set[str]) -> None:
    """Check that all fields but `faulty_fields`, which may be empty or rounded, have the values that were sent."""
    assert variant.id == identity(row)
    assert equals_sent(variant.sku, row["sku"])
    check_amount(variant.price, row["price"])
    if variant.compare_at_price is not None:
        check_amount(variant.compare_at_price, row["regular_price"])
    managed = row["manage_stock"] not in (False, 0, "0", "-0", "false")
    assert row["manage_stock"] in (True, False, "parent", "true", "false", "1", "0", "-0")
    stock = row["stock_quantity"]
    if not managed or stock is None:
        assert variant.stock_quantity is None
    else:
        assert not isinstance(stock, bool)
        assert variant.stock_quantity == math.floor(Decimal(stock))
        assert variant.stock_quantity == Decimal(stock) or "stock_quantity" in faulty_fields
    assert equals_sent(variant.barcode, row.get("global_unique_id", "")) or "global_unique_id" in faulty_fields
    if variant.available:
        assert row["status"] == "publish"
        assert row["stock_status"] != "outofstock"


def check_product(product: Product, row: dict[str, Any], faulty_fields: set[str]) -> None:
    assert product.id == identity(row)
    assert equals_sent(product.title, row["name"]) or product.title == html.unescape(row["name"])
    assert equals_sent(product.product_type, row["type"])
    texts = ((product.handle, "slug"), (product.description_html, "description"))
    assert all(equals_sent(text, row.get(name, "")) or name in faulty_fields for text, name in texts)
    images = row.get("images", []) if "images" not in faulty_fields else []
    sent = [(image["src"], (image.get("date_modified_gmt") or "")[:40]) for image in images]
    assert [(image.url, image.version) for image in product.images] == sent or "images" in faulty_fields
    tags = [tag.get("name", "") for tag in row.get("tags", [])] if "tags" not in faulty_fields else []
    assert [html.unescape(str(tag)) for tag in tags] == list(product.tags) or "tags" in faulty_fields
    for variant in product.variants:
        check_variant(variant, row, faulty_fields)


def check_products(rows: list[Any], mutated_index: int) -> None:
    records, sent_rows = read(rows, ProductRow)
    for index, (record, row) in enumerate(zip(records.items, sent_rows, strict=True)):
        parsed: ParsedProduct = PARSER.parse(record, VariationGroup(), records.faults_of(record))
        faulty_fields = check_issues(parsed.issues)
        assert sum(issue.product_rejected for issue in parsed.issues) == (parsed.product is None)
        if parsed.product is not None:
            check_product(parsed.product, row, faulty_fields)
        if index != mutated_index:
            assert parsed.product is not None
            assert not parsed.issues


def check_variations(rows: list[Any], mutated_index: int) -> None:
    records, sent_rows = read(rows, VariationRow)
    parsed = PARSER.parse(PARENT, VariationGroup(variations=records.items, field_faults=records.field_faults))
    assert parsed.product is not None
    variants = {variant.id: variant for variant in parsed.product.variants}
    check_issues(parsed.issues)
    dropped = len(rows) - len(parsed.product.variants)
    assert parsed.product.variants_complete == (dropped == 0)
    assert sum(issue.variant_id not in variants for issue in parsed.issues) >= dropped
    for index, row in enumerate(sent_rows):
        if index != mutated_index:
            assert str(row["id"]) in variants
        elif isinstance(row, dict) and identity(row) in variants:
            check_variation(variants[identity(row)], row, parsed.issues)


def check_variation(variant: Variant, row: dict[str, Any], issues: tuple[RecordIssue, ...]) -> None:
    faulty_fields = {issue.field for issue in issues if issue.variant_id == variant.id}
    check_variant(variant, row, faulty_fields)
    if "attributes" not in faulty_fields:
        sent_options = [
            (str(one.get("name", "")), str(one.get("option", ""))) for one in row.get("attributes", [])
        ]
        assert [(one.name, one.value) for one in variant.options] == [
            tuple(map(html.unescape, one)) for one in sent_options
        ]


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_product_is_correct_or_rejected_and_the_rest_of_its_page_is_not_affected(
    round_number: int,
) -> None:
    campaign.run(round_number, PRODUCTS, check_products)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_variation_is_correct_or_rejected_and_the_rest_of_its_group_is_not_affected(
    round_number: int,
) -> None:
    campaign.run(round_number, VARIATIONS, check_variations)
