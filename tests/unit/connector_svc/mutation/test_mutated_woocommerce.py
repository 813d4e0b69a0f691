"""Whatever is wrong with a row of WooCommerce, it ends as a product that says what was sent, or as an issue."""

from __future__ import annotations

import html
import math
from decimal import Decimal
from typing import Any

import pytest

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH, RecordIssue
from connector_svc.platforms.woocommerce.body import parse
from connector_svc.platforms.woocommerce.family import Family
from connector_svc.platforms.woocommerce.parse import Parsed, Parser
from connector_svc.platforms.woocommerce.record import RecordReader, Records
from connector_svc.platforms.woocommerce.wire import GoodsRow, ProductRow, VariationRow
from tests.contract.woocommerce.replay import recorded_products, recorded_variations
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded

PARSER = Parser("kg")
PRODUCT_NAMES = ProductRow.__struct_fields__
VARIATION_NAMES = VariationRow.__struct_fields__
WRITTEN_NUMBERS = (int, Decimal)


def asked_for(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the store sends when only `names` are asked for."""
    return [{name: row[name] for name in names if name in row} for row in rows]


PRODUCTS = asked_for(list(recorded_products().values()), PRODUCT_NAMES)
VARIATIONS = asked_for(list(recorded_variations().values()), VARIATION_NAMES)
(PARENT,) = RecordReader(ProductRow).read(encoded([row for row in PRODUCTS if row["id"] == 66])).items


def read(rows: list[Any], kind: type[GoodsRow]) -> tuple[Records[Any], list[Any]]:
    """What the real path makes of the body, and what a simple reading says was sent."""
    body = encoded(rows)
    parsed = parse(body, RecordReader(kind).read)
    assert not parsed.noise
    said = sent(body)
    assert len(parsed.value.items) == len(said)
    return parsed.value, said


def identity(row: dict[str, Any]) -> str:
    """The id as text, also of 7.0 and "7"."""
    return str(row.get("id")).removesuffix(".0")


def is_said(told: str, value: Any) -> bool:
    """The text itself, or the digits of a number where a plugin wrote one."""
    if isinstance(value, str):
        return told == value
    return isinstance(value, WRITTEN_NUMBERS) and told == format(value)


def check_issues(issues: tuple[RecordIssue, ...]) -> set[str]:
    """The fields that they name."""
    for issue in issues:
        assert issue.message
        assert is_text(issue.sample + issue.field + issue.message)
        assert len(issue.sample) <= SAMPLE_LENGTH
    return {issue.field for issue in issues}


def check_goods(variant: Variant, row: dict[str, Any], blamed: set[str]) -> None:
    """`blamed` fields may be empty or rounded; all others say what was sent."""
    assert variant.id == identity(row)
    assert is_said(variant.sku, row["sku"])
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
        assert variant.stock_quantity == Decimal(stock) or "stock_quantity" in blamed
    assert is_said(variant.barcode, row.get("global_unique_id", "")) or "global_unique_id" in blamed
    if variant.available:
        assert row["status"] == "publish"
        assert row["stock_status"] != "outofstock"


def check_product(product: Product, row: dict[str, Any], blamed: set[str]) -> None:
    assert product.id == identity(row)
    assert is_said(product.title, row["name"]) or product.title == html.unescape(row["name"])
    assert is_said(product.product_type, row["type"])
    told = ((product.handle, "slug"), (product.description_html, "description"))
    assert all(is_said(text, row.get(name, "")) or name in blamed for text, name in told)
    images = [image["src"] for image in row.get("images", [])] if "images" not in blamed else []
    assert [image.url for image in product.images] == images or "images" in blamed
    tags = [tag.get("name", "") for tag in row.get("tags", [])] if "tags" not in blamed else []
    assert [html.unescape(str(tag)) for tag in tags] == list(product.tags) or "tags" in blamed
    for variant in product.variants:
        check_goods(variant, row, blamed)


def check_products(rows: list[Any], place: int) -> None:
    records, said = read(rows, ProductRow)
    for index, (record, row) in enumerate(zip(records.items, said, strict=True)):
        blemishes = records.blemishes.get(record.id, ()) if record.id is not None else ()
        parsed: Parsed = PARSER.parse(record, Family(), blemishes)
        blamed = check_issues(parsed.issues)
        assert sum(issue.product_rejected for issue in parsed.issues) == (parsed.product is None)
        if parsed.product is not None:
            check_product(parsed.product, row, blamed)
        if index != place:
            assert parsed.product is not None
            assert not parsed.issues


def check_variations(rows: list[Any], place: int) -> None:
    records, said = read(rows, VariationRow)
    parsed = PARSER.parse(PARENT, Family(children=records.items, blemishes=records.blemishes))
    assert parsed.product is not None
    variants = {variant.id: variant for variant in parsed.product.variants}
    check_issues(parsed.issues)
    dropped = len(rows) - len(parsed.product.variants)
    assert parsed.product.variants_complete == (dropped == 0)
    assert sum(issue.variant_id not in variants for issue in parsed.issues) >= dropped
    for index, row in enumerate(said):
        if index != place:
            assert str(row["id"]) in variants
        elif isinstance(row, dict) and identity(row) in variants:
            check_variation(variants[identity(row)], row, parsed.issues)


def check_variation(variant: Variant, row: dict[str, Any], issues: tuple[RecordIssue, ...]) -> None:
    blamed = {issue.field for issue in issues if issue.variant_id == variant.id}
    check_goods(variant, row, blamed)
    if "attributes" not in blamed:
        said = [(str(one.get("name", "")), str(one.get("option", ""))) for one in row.get("attributes", [])]
        assert [(one.name, one.value) for one in variant.options] == [
            tuple(map(html.unescape, one)) for one in said
        ]


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_row_stays_true_or_is_rejected_and_its_page_is_untouched(round_number: int) -> None:
    campaign.run(round_number, PRODUCTS, check_products)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_variation_stays_true_or_is_rejected_and_its_family_is_untouched(round_number: int) -> None:
    campaign.run(round_number, VARIATIONS, check_variations)
