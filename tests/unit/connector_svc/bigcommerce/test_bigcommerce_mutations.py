"""A mutated record of BigCommerce becomes a product with the values that were sent, or an issue."""

from __future__ import annotations

from typing import Any

import pytest

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH
from connector_svc.platforms.bigcommerce.record_salvage import RejectedRecord, decode_products
from tests.unit.connector_svc.bigcommerce.sample_rows import PARSER, product_row, variant_row
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded

VALID_ROWS = [
    product_row(
        number,
        variants=[variant_row(number * 10 + place, number, price=12.5 + place) for place in range(number % 3 + 1)],
        inventory_tracking=("none", "product", "variant")[number % 3],
    )
    for number in range(1, 13)
]


def check(rows: list[Any], place: int) -> None:
    body = encoded({"data": rows, "meta": {"pagination": {"total": len(rows)}}})
    page, sent_rows = decode_products(body), sent(body)["data"]
    assert len(page.items) == len(sent_rows)
    for index, (record, row) in enumerate(zip(page.items, sent_rows, strict=True)):
        found = PARSER.parse(record)
        for issue in found.issues:
            assert issue.message
            assert is_text(issue.sample + issue.field + issue.message)
            assert len(issue.sample) <= SAMPLE_LENGTH
        assert sum(issue.product_rejected for issue in found.issues) == (found.product is None)
        assert isinstance(record, RejectedRecord) == (found.product is None)
        if found.product is not None:
            check_product(found.product, row, {issue.field for issue in found.issues})
        if index != place:
            assert found.product is not None
            assert not found.issues


def check_product(product: Product, row: dict[str, Any], faulty_fields: set[str]) -> None:
    assert (product.id, product.title) == (str(row["id"]), row["name"])
    assert product.description_html == (row.get("description") or "") or "description" in faulty_fields
    duplicates = len(row["variants"]) - len(
        {str(one.get("id")) for one in row["variants"] if isinstance(one, dict)}
    )
    dropped = len(row["variants"]) - len(product.variants)
    assert dropped == 0 or faulty_fields
    assert product.variants_complete or dropped > 0
    assert not product.variants_complete or dropped <= duplicates
    for variant in product.variants:
        same = [one for one in row["variants"] if isinstance(one, dict) and str(one.get("id")) == variant.id]
        assert any(matches(one, variant, row) for one in same)


def matches(row: dict[str, Any], variant: Variant, product: dict[str, Any]) -> bool:
    """Whether `variant` has the values of `row`; of rows that share an id any may be the one."""
    try:
        check_variant(variant, row, product)
    except (AssertionError, KeyError, ArithmeticError, ValueError, TypeError):
        return False
    return True


def check_variant(variant: Variant, row: dict[str, Any], product: dict[str, Any]) -> None:
    assert variant.sku == (row["sku"] or "")
    price = row.get("calculated_price")
    if price is None:
        price = row["price"]
    if price is None:
        price = product.get("calculated_price")
    if price is None:
        price = product["price"]
    check_amount(variant.price, price)
    stock = {"product": product["inventory_level"], "variant": row["inventory_level"]}
    tracking = product.get("inventory_tracking")
    assert variant.stock_quantity == (stock.get(tracking) if isinstance(tracking, str) else None)
    assert not isinstance(variant.stock_quantity, bool)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_record_is_parsed_correctly_or_rejected_alone(round_number: int) -> None:
    campaign.run(round_number, VALID_ROWS, check)
