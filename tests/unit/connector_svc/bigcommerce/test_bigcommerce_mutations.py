"""Whatever is wrong with a record of BigCommerce, it ends as a product that says what was sent, or as an issue."""

from __future__ import annotations

from typing import Any

import pytest

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH
from connector_svc.platforms.bigcommerce.record import Broken, read_products
from tests.unit.connector_svc.bigcommerce.rows import PARSER, product_row, variant_row
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded

GENUINE = [
    product_row(
        number,
        variants=[variant_row(number * 10 + place, number, price=12.5 + place) for place in range(number % 3 + 1)],
        inventory_tracking=("none", "product", "variant")[number % 3],
    )
    for number in range(1, 13)
]


def check(rows: list[Any], place: int) -> None:
    body = encoded({"data": rows, "meta": {"pagination": {"total": len(rows)}}})
    page, said = read_products(body), sent(body)["data"]
    assert len(page.items) == len(said)
    for index, (record, row) in enumerate(zip(page.items, said, strict=True)):
        found = PARSER.parse(record)
        for issue in found.issues:
            assert issue.message
            assert is_text(issue.sample + issue.field + issue.message)
            assert len(issue.sample) <= SAMPLE_LENGTH
        assert sum(issue.product_rejected for issue in found.issues) == (found.product is None)
        assert isinstance(record, Broken) == (found.product is None)
        if found.product is not None:
            check_product(found.product, row, {issue.field for issue in found.issues})
        if index != place:
            assert found.product is not None
            assert not found.issues


def check_product(product: Product, row: dict[str, Any], blamed: set[str]) -> None:
    assert (product.id, product.title) == (str(row["id"]), row["name"])
    assert product.description_html == (row.get("description") or "") or "description" in blamed
    duplicates = len(row["variants"]) - len(
        {str(one.get("id")) for one in row["variants"] if isinstance(one, dict)}
    )
    dropped = len(row["variants"]) - len(product.variants)
    assert dropped == 0 or blamed
    assert product.variants_complete or dropped > 0
    assert not product.variants_complete or dropped <= duplicates
    for variant in product.variants:
        same = [one for one in row["variants"] if isinstance(one, dict) and str(one.get("id")) == variant.id]
        assert any(says(one, variant, row) for one in same)


def says(row: dict[str, Any], variant: Variant, product: dict[str, Any]) -> bool:
    """Of records that share an id any may be the one."""
    try:
        check_variant(variant, row, product)
    except (AssertionError, KeyError, ArithmeticError, ValueError, TypeError):
        return False
    return True


def check_variant(variant: Variant, row: dict[str, Any], product: dict[str, Any]) -> None:
    assert variant.sku == (row["sku"] or "")
    asked = row.get("calculated_price")
    if asked is None:
        asked = row["price"]
    if asked is None:
        asked = product.get("calculated_price")
    if asked is None:
        asked = product["price"]
    check_amount(variant.price, asked)
    stock = {"product": product["inventory_level"], "variant": row["inventory_level"]}
    tracking = product.get("inventory_tracking")
    assert variant.stock_quantity == (stock.get(tracking) if isinstance(tracking, str) else None)
    assert not isinstance(variant.stock_quantity, bool)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_record_stays_true_or_is_rejected_and_its_page_is_untouched(round_number: int) -> None:
    campaign.run(round_number, GENUINE, check)
