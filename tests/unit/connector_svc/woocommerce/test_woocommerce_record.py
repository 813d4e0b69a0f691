"""One record's fault stays with that record."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_svc.domain.records import IssueReason
from connector_svc.platforms.woocommerce.family import NO_FAMILY, Family
from connector_svc.platforms.woocommerce.parse import Parsed, Parser
from connector_svc.platforms.woocommerce.record import RecordReader, Records
from connector_svc.platforms.woocommerce.wire import ProductRow, VariationRow
from tests.contract.woocommerce.replay import recorded_products, recorded_variations
from tests.unit.connector_svc.woocommerce.listing import row

PRODUCTS = RecordReader(ProductRow)
VARIATIONS = RecordReader(VariationRow)
PARSER = Parser("kg")


def _parse(records: Records[ProductRow], family: Family = NO_FAMILY) -> list[Parsed]:
    return [PARSER.parse(record, family, records.blemishes.get(record.id or 0, ())) for record in records.items]


def _one(**changes: Any) -> Parsed:
    (parsed,) = _parse(PRODUCTS.read(json.dumps([row(7, **changes)]).encode()))
    return parsed


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"price": "abc"}, IssueReason.INVALID_PRICE, "price"),
        ({"price": "-1"}, IssueReason.INVALID_PRICE, "price"),
        ({"price": "12,50"}, IssueReason.INVALID_PRICE, "price"),
        ({"price": "NaN"}, IssueReason.INVALID_PRICE, "price"),
        ({"price": None}, IssueReason.INVALID_PRICE, "price"),
        ({"sale_price": "5", "regular_price": "x"}, IssueReason.INVALID_PRICE, "regular_price"),
        ({"stock_quantity": "many"}, IssueReason.INVALID_FIELD, "stock_quantity"),
        ({"stock_quantity": 10**30}, IssueReason.INVALID_FIELD, "stock_quantity"),
        ({"variations": "none"}, IssueReason.INVALID_FIELD, "variations"),
        ({"id": None}, IssueReason.MISSING_ID, "id"),
        ({"id": 0}, IssueReason.MISSING_ID, "id"),
        ({"status": "trash"}, IssueReason.INVALID_FIELD, "status"),
    ],
)
def test_a_vital_field_that_makes_no_sense_sets_the_product_aside(
    changes: dict[str, Any], reason: IssueReason, field: str
) -> None:
    parsed = _one(**changes)
    assert parsed.product is None
    (issue,) = parsed.issues
    assert (issue.reason, issue.field, issue.product_rejected) == (reason, field, True)
    assert issue.message


@pytest.mark.parametrize("field", ["id", "name", "type", "status", "sku", "price", "stock_status", "variations"])
def test_a_vital_field_that_is_missing_is_not_guessed(field: str) -> None:
    sent = row(7)
    del sent[field]
    (parsed,) = _parse(PRODUCTS.read(json.dumps([sent]).encode()))
    assert parsed.product is None
    reason = IssueReason.MISSING_ID if field == "id" else IssueReason.MISSING_FIELD
    assert [(issue.reason, issue.field) for issue in parsed.issues] == [(reason, field)]


def test_its_neighbours_are_untouched() -> None:
    sent = [row(1), row(2, price="abc"), "nonsense", row(3, stock_quantity="many"), row(4)]
    parsed = _parse(PRODUCTS.read(json.dumps(sent).encode()))
    assert [one.product.id for one in parsed if one.product] == ["1", "4"]
    assert sum(issue.product_rejected for one in parsed for issue in one.issues) == 3


@pytest.mark.parametrize("field", ["images", "tags", "weight", "date_modified_gmt", "permalink", "attributes"])
def test_a_decorative_field_that_makes_no_sense_is_left_empty_and_reported(field: str) -> None:
    parsed = _one(**{field: {"odd": [None]}})
    assert parsed.product is not None
    assert [(issue.field, issue.product_rejected) for issue in parsed.issues] == [(field, False)]


def test_numbers_where_texts_belong_keep_their_digits() -> None:
    sent = json.dumps([row(7)]).replace('"10.00"', "19.90").replace('"SKU-7"', "123").encode()
    (parsed,) = _parse(PRODUCTS.read(sent))
    assert parsed.product is not None
    (variant,) = parsed.product.variants
    assert (str(variant.price), variant.sku) == ("19.90", "123")


def test_half_units_of_stock_are_rounded_down_and_reported() -> None:
    parsed = _one(manage_stock=True, stock_quantity=2.5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity == 2
    assert [issue.field for issue in parsed.issues] == ["stock_quantity"]


def test_a_number_left_from_when_stock_was_counted_is_no_stock() -> None:
    parsed = _one(manage_stock=False, stock_quantity=5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity is None


def test_a_list_with_gaps_that_php_made_an_object_is_a_list() -> None:
    (record,) = PRODUCTS.read(json.dumps([row(7, type="variable", variations={"0": 8, "2": 9})]).encode()).items
    assert isinstance(record, ProductRow)
    assert record.child_ids() == (8, 9)


def test_a_broken_variation_is_rejected_alone() -> None:
    sent = [{**row(8), "price": "abc"}, row(9), {**row(10), "sku": [1]}]
    children = VARIATIONS.read(json.dumps(sent).encode()).items
    (parent,) = PRODUCTS.read(json.dumps([row(7, type="variable", variations=[8, 9, 10])]).encode()).items
    parsed = PARSER.parse(parent, Family(children=children))
    assert parsed.product is not None
    assert [variant.id for variant in parsed.product.variants] == ["9"]
    assert not parsed.product.variants_complete
    assert [(issue.variant_id, issue.product_id, issue.product_rejected) for issue in parsed.issues] == [
        ("8", "7", False),
        ("10", "7", False),
    ]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_ALL_PRODUCTS = list(recorded_products().values())
_ALL_VARIATIONS = list(recorded_variations().values())


@st.composite
def _mutated(draw: st.DrawFn, genuine: list[dict[str, Any]]) -> Any:
    """A recorded row with some values changed, deep inside too, or taken away."""
    sent = copy.deepcopy(draw(st.sampled_from(genuine)))
    for _ in range(draw(st.integers(0, 4))):
        holder: Any = sent
        while True:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            inner = holder[key]
            if not (isinstance(inner, dict | list) and inner and draw(st.booleans())):
                break
            holder = inner
        if isinstance(holder, dict) and len(holder) > 1 and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(_JSON)
    return sent


@settings(max_examples=60, deadline=None)
@given(st.lists(_mutated(_ALL_PRODUCTS), max_size=5), st.lists(_mutated(_ALL_VARIATIONS), max_size=5))
def test_mutated_records_end_as_products_or_issues_and_never_as_a_crash(
    sent: list[Any], children: list[Any]
) -> None:
    records = PRODUCTS.read(json.dumps(sent).encode())
    read = VARIATIONS.read(json.dumps(children).encode())
    assert len(records.items) == len(sent)
    assert len(read.items) == len(children)
    for parsed in _parse(records, Family(children=read.items, blemishes=read.blemishes)):
        rejected = [issue for issue in parsed.issues if issue.product_rejected]
        assert len(rejected) == (parsed.product is None)
        if (
            parsed.product is not None
            and parsed.product.variants_complete
            and parsed.product.product_type == "variable"
        ):
            assert len(parsed.product.variants) == len(children)


@pytest.mark.parametrize("status", ["instock", "onbackorder", "preorder", "ships-in-two-weeks"])
def test_whatever_is_not_out_of_stock_can_be_bought(status: str) -> None:
    parsed = _one(stock_status=status)
    assert parsed.product is not None
    assert parsed.product.variants[0].available
    assert parsed.issues == ()


@pytest.mark.parametrize(
    ("changes", "available"),
    [
        ({"stock_status": "outofstock"}, False),
        ({"purchasable": False}, False),
        ({"purchasable": False, "type": "external"}, True),
        ({"purchasable": False, "type": "grouped"}, True),
        ({"purchasable": "yes"}, True),
    ],
)
def test_what_the_store_does_not_sell_is_not_available(changes: dict[str, Any], available: bool) -> None:
    parsed = _one(**changes)
    assert parsed.product is not None
    assert parsed.product.variants[0].available is available


def test_an_issue_of_a_stock_that_is_not_whole_says_what_is_stored() -> None:
    parsed = _one(manage_stock=True, stock_quantity=2.5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity == 2
    (issue,) = parsed.issues
    assert issue.message == '"stock_quantity" is 2.5, no whole number; 2 is stored.'
