"""JSON is found behind noise, truncated JSON is never accepted, and an invalid value affects one record only."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_svc.domain.records import IssueReason
from connector_svc.platforms.woocommerce.json_salvage import (
    DecodedRecords,
    NotJson,
    RecordDecoder,
    TruncatedJson,
    decode_json_body,
)
from connector_svc.platforms.woocommerce.parse import ParsedProduct, ProductParser
from connector_svc.platforms.woocommerce.variation_group import EMPTY_GROUP, VariationGroup
from connector_svc.platforms.woocommerce.wire import ProductRow, VariationRow
from tests.contract.woocommerce.replay import recorded_products, recorded_variations
from tests.unit.connector_svc.woocommerce.fake_product_list import row

_DECODE = msgspec.json.Decoder(list[dict[str, int]]).decode
NOTICE = b"<br />\n<b>Warning</b>: Undefined array key [0] in /wp-content/{plugin}.php on line 7<br />\n"
MID_LINE = b"Deprecated: $items[] = {} in /wp-content/plugin.php\n"
LOG_LINE = b"[20-Nov-2026 12:00:00 UTC] PHP Notice: something {odd}\n"


def test_plain_json_has_no_noise() -> None:
    body = decode_json_body(b' [{"id": 1}]\n', _DECODE)
    assert (body.value, body.has_noise) == ([{"id": 1}], False)


@pytest.mark.parametrize(
    "before", [NOTICE, LOG_LINE, MID_LINE, NOTICE * 20], ids=["notice", "log line", "mid-line", "many"]
)
def test_php_notices_before_the_json_are_skipped(before: bytes) -> None:
    body = decode_json_body(before + b'[{"id": 1}]', _DECODE)
    assert (body.value, body.has_noise) == ([{"id": 1}], True)


def test_a_byte_order_mark_is_skipped() -> None:
    assert decode_json_body(b'\xef\xbb\xbf[{"id": 1}]', _DECODE).value == [{"id": 1}]


@pytest.mark.parametrize("length", range(12))
def test_json_truncated_at_any_byte_is_detected(length: int) -> None:
    with pytest.raises(TruncatedJson):
        decode_json_body(b'[{"id": 17}]'[:length], _DECODE)


@pytest.mark.parametrize(
    "body", [b'[{"id": 1, "images": [{"id": 2}]', b'[{"id": 1}, {"images": [{"id": 2}]}', NOTICE + b'[{"id": [{}]']
)
def test_an_inner_list_is_never_taken_for_the_whole(body: bytes) -> None:
    with pytest.raises(TruncatedJson):
        decode_json_body(body, msgspec.json.Decoder(list[dict[str, object]]).decode)


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html><script>var a = [1];</script></html>",
        b'{"id": 1}',
        NOTICE + b'{"id": 1}',
        b"null",
        b"Service unavailable",
    ],
)
def test_anything_else_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJson):
        decode_json_body(body, _DECODE)


PRODUCTS = RecordDecoder(ProductRow)
VARIATIONS = RecordDecoder(VariationRow)
PARSER = ProductParser("kg")


def _parse(records: DecodedRecords[ProductRow], group: VariationGroup = EMPTY_GROUP) -> list[ParsedProduct]:
    return [PARSER.parse(record, group, records.faults_of(record)) for record in records.items]


def _parse_one(**changes: Any) -> ParsedProduct:
    (parsed,) = _parse(PRODUCTS.decode(json.dumps([row(7, **changes)]).encode()))
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
def test_an_invalid_required_field_rejects_the_product(
    changes: dict[str, Any], reason: IssueReason, field: str
) -> None:
    parsed = _parse_one(**changes)
    assert parsed.product is None
    (issue,) = parsed.issues
    assert (issue.reason, issue.field, issue.product_rejected) == (reason, field, True)
    assert issue.message


@pytest.mark.parametrize("field", ["id", "name", "type", "status", "sku", "price", "stock_status", "variations"])
def test_a_missing_required_field_is_not_guessed(field: str) -> None:
    sent = row(7)
    del sent[field]
    (parsed,) = _parse(PRODUCTS.decode(json.dumps([sent]).encode()))
    assert parsed.product is None
    reason = IssueReason.MISSING_ID if field == "id" else IssueReason.MISSING_FIELD
    assert [(issue.reason, issue.field) for issue in parsed.issues] == [(reason, field)]


def test_other_records_of_the_list_are_not_affected() -> None:
    sent = [row(1), row(2, price="abc"), "nonsense", row(3, stock_quantity="many"), row(4)]
    parsed = _parse(PRODUCTS.decode(json.dumps(sent).encode()))
    assert [one.product.id for one in parsed if one.product] == ["1", "4"]
    assert sum(issue.product_rejected for one in parsed for issue in one.issues) == 3


@pytest.mark.parametrize("field", ["images", "tags", "weight", "date_modified_gmt", "permalink", "attributes"])
def test_an_invalid_optional_field_is_left_empty_and_reported(field: str) -> None:
    parsed = _parse_one(**{field: {"odd": [None]}})
    assert parsed.product is not None
    assert [(issue.field, issue.product_rejected) for issue in parsed.issues] == [(field, False)]


def test_numbers_in_place_of_strings_keep_their_digits() -> None:
    sent = json.dumps([row(7)]).replace('"10.00"', "19.90").replace('"SKU-7"', "123").encode()
    (parsed,) = _parse(PRODUCTS.decode(sent))
    assert parsed.product is not None
    (variant,) = parsed.product.variants
    assert (str(variant.price), variant.sku) == ("19.90", "123")


def test_fractional_stock_is_rounded_down_and_reported() -> None:
    parsed = _parse_one(manage_stock=True, stock_quantity=2.5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity == 2
    assert [issue.field for issue in parsed.issues] == ["stock_quantity"]


def test_the_quantity_of_a_product_whose_stock_is_no_longer_managed_is_ignored() -> None:
    parsed = _parse_one(manage_stock=False, stock_quantity=5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity is None


def test_a_list_that_php_encoded_as_an_object_is_decoded_as_a_list() -> None:
    (record,) = PRODUCTS.decode(json.dumps([row(7, type="variable", variations={"0": 8, "2": 9})]).encode()).items
    assert isinstance(record, ProductRow)
    assert record.child_ids() == (8, 9)


def test_an_invalid_variation_is_rejected_alone() -> None:
    sent = [{**row(8), "price": "abc"}, row(9), {**row(10), "sku": [1]}]
    variations = VARIATIONS.decode(json.dumps(sent).encode()).items
    (parent,) = PRODUCTS.decode(json.dumps([row(7, type="variable", variations=[8, 9, 10])]).encode()).items
    parsed = PARSER.parse(parent, VariationGroup(variations=variations))
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
def _mutated(draw: st.DrawFn, recorded: list[dict[str, Any]]) -> Any:
    """Return a recorded row with some values changed, also nested ones, or removed."""
    sent = copy.deepcopy(draw(st.sampled_from(recorded)))
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
def test_mutated_records_become_products_or_issues_and_never_raise(sent: list[Any], variations: list[Any]) -> None:
    records = PRODUCTS.decode(json.dumps(sent).encode())
    decoded = VARIATIONS.decode(json.dumps(variations).encode())
    assert len(records.items) == len(sent)
    assert len(decoded.items) == len(variations)
    for parsed in _parse(records, VariationGroup(variations=decoded.items, field_faults=decoded.field_faults)):
        rejected = [issue for issue in parsed.issues if issue.product_rejected]
        assert len(rejected) == (parsed.product is None)
        if (
            parsed.product is not None
            and parsed.product.variants_complete
            and parsed.product.product_type == "variable"
        ):
            assert len(parsed.product.variants) == len(variations)


@pytest.mark.parametrize("status", ["instock", "onbackorder", "preorder", "ships-in-two-weeks"])
def test_every_stock_status_but_outofstock_is_available(status: str) -> None:
    parsed = _parse_one(stock_status=status)
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
def test_availability_follows_stock_status_and_purchasable(changes: dict[str, Any], available: bool) -> None:
    parsed = _parse_one(**changes)
    assert parsed.product is not None
    assert parsed.product.variants[0].available is available


def test_the_issue_of_a_fractional_stock_says_what_is_stored() -> None:
    parsed = _parse_one(manage_stock=True, stock_quantity=2.5)
    assert parsed.product is not None
    assert parsed.product.variants[0].stock_quantity == 2
    (issue,) = parsed.issues
    assert issue.message == '"stock_quantity" is 2.5, not a whole number; 2 is stored.'
