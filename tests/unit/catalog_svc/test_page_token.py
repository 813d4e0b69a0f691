"""A page token continues where the last page ended, with the same filters only; any other text is rejected."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.failure import InvalidRequest
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.domain.catalog_reads import ItemFilter, named_conditions
from catalog_svc.rpc.request_validator import PositionNumber, PositionText, decode_page_token, encode_page_token

FILTERS: dict[str, object] = {"list": "items", "shop": "shopify:a.myshopify.com"}


def forged(position: object, **filters: object) -> str:
    """Return a token with a valid fingerprint and an arbitrary position."""
    token = encode_page_token(("1", "1"), filters=filters or FILTERS)
    raw = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps([*raw[:2], position]).encode()).decode().rstrip("=")


@given(st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text("abc")))
def test_a_decoded_token_has_the_encoded_position(position: tuple[str, str]) -> None:
    token = encode_page_token(position, filters=FILTERS)
    assert decode_page_token(token, filters=FILTERS, kind=tuple[PositionText, PositionText]) == position


def test_an_empty_token_is_the_first_page() -> None:
    assert decode_page_token("", filters=FILTERS, kind=tuple[PositionNumber]) is None


def test_uuids_and_numbers_keep_their_type() -> None:
    token = encode_page_token((UUID(int=5),), filters=FILTERS)
    assert decode_page_token(token, filters=FILTERS, kind=tuple[UUID]) == (UUID(int=5),)
    token = encode_page_token((2**63 - 1,), filters=FILTERS)
    assert decode_page_token(token, filters=FILTERS, kind=tuple[PositionNumber]) == (2**63 - 1,)


@pytest.mark.parametrize(
    ("position", "kind"),
    [
        (["a\0b", "c"], tuple[PositionText, PositionText]),
        (["a", "\ud800"], tuple[PositionText, PositionText]),
        (["a"], tuple[PositionText, PositionText]),
        ([1, 2], tuple[PositionText, PositionText]),
        ([2**63], tuple[PositionNumber]),
        ([2**200], tuple[PositionNumber]),
        ([-1], tuple[PositionNumber]),
        ([-(2**70)], tuple[PositionNumber]),
        ([1.5], tuple[PositionNumber]),
        (["no uuid"], tuple[UUID]),
        ({}, tuple[UUID]),
        (None, tuple[UUID]),
    ],
)
def test_a_forged_position_is_an_invalid_page_token(position: object, kind: type[Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_page_token(forged(position), filters=FILTERS, kind=kind)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(st.text())
def test_any_text_is_a_valid_or_an_invalid_token(text: str) -> None:
    with suppress(InvalidRequest):
        decode_page_token(text, filters=FILTERS, kind=tuple[PositionText, PositionText])


@given(st.binary())
def test_any_bytes_are_a_valid_or_an_invalid_token(raw: bytes) -> None:
    token = base64.urlsafe_b64encode(raw).decode()
    with suppress(InvalidRequest):
        decode_page_token(token, filters=FILTERS, kind=tuple[PositionNumber])


def test_deep_nesting_is_an_invalid_token() -> None:
    token = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    with pytest.raises(InvalidRequest):
        decode_page_token(token, filters=FILTERS, kind=tuple[PositionNumber])


def test_a_token_of_other_filters_is_rejected() -> None:
    token = encode_page_token((1,), filters=FILTERS)
    with pytest.raises(InvalidRequest, match="other filters"):
        decode_page_token(token, filters={**FILTERS, "sku": "x"}, kind=tuple[PositionNumber])


def test_the_order_of_filters_does_not_matter() -> None:
    token = encode_page_token((1,), filters=FILTERS)
    backwards = dict(reversed(FILTERS.items()))
    assert decode_page_token(token, filters=backwards, kind=tuple[PositionNumber]) == (1,)


def test_a_filter_that_is_not_set_is_not_part_of_a_token() -> None:
    """So a release with one more filter accepts the tokens of the release before."""
    assert named_conditions(ItemFilter()) == {}
    named = named_conditions(ItemFilter(sku="x", after_position=7, include_deleted=True))
    assert named == {"sku": "x", "after_position": 7, "include_deleted": True}


def test_a_token_of_another_version_says_what_to_do() -> None:
    token = base64.urlsafe_b64encode(json.dumps([99, "x", [1]]).encode()).decode()
    with pytest.raises(InvalidRequest, match="start at the first page"):
        decode_page_token(token, filters=FILTERS, kind=tuple[PositionNumber])
