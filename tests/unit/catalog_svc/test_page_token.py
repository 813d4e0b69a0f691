"""A page token continues where the last page ended, with the same filters only; nobody else can write one."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.failure import InvalidRequest
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.domain.catalog_reads import ItemFilter, named_conditions
from catalog_svc.rpc.page_tokens import PageTokens, PositionNumber, PositionText

FILTERS: dict[str, object] = {"list": "items", "shop": "shopify:a.myshopify.com"}


KEY = b"k" * 32
TOKENS = PageTokens(KEY)


def forged(position: object) -> str:
    """Return an authentic token with a valid fingerprint and an arbitrary position."""
    raw = json.loads(decoded(TOKENS.encode(("1", "1"), filters=FILTERS))[16:])
    return authentic(json.dumps([*raw[:2], position]).encode())


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def authentic(encoded: bytes) -> str:
    """Return a token with this content, authenticated with the key."""
    mac = hashlib.blake2b(encoded, key=KEY, digest_size=16).digest()
    return base64.urlsafe_b64encode(mac + encoded).decode().rstrip("=")


@given(st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text("abc")))
def test_a_decoded_token_has_the_encoded_position(position: tuple[str, str]) -> None:
    token = TOKENS.encode(position, filters=FILTERS)
    assert TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionText, PositionText]) == position


def test_an_empty_token_is_the_first_page() -> None:
    assert TOKENS.decode("", filters=FILTERS, kind=tuple[PositionNumber]) is None


def test_uuids_and_numbers_keep_their_type() -> None:
    token = TOKENS.encode((UUID(int=5),), filters=FILTERS)
    assert TOKENS.decode(token, filters=FILTERS, kind=tuple[UUID]) == (UUID(int=5),)
    token = TOKENS.encode((2**63 - 1,), filters=FILTERS)
    assert TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionNumber]) == (2**63 - 1,)


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
        TOKENS.decode(forged(position), filters=FILTERS, kind=kind)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(st.text())
def test_any_text_is_a_valid_or_an_invalid_token(text: str) -> None:
    with suppress(InvalidRequest):
        TOKENS.decode(text, filters=FILTERS, kind=tuple[PositionText, PositionText])


@given(st.binary())
def test_any_bytes_are_a_valid_or_an_invalid_token(raw: bytes) -> None:
    token = base64.urlsafe_b64encode(raw).decode()
    with suppress(InvalidRequest):
        TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionNumber])


def test_deep_nesting_is_an_invalid_token() -> None:
    token = authentic(b"[" * 5_000)
    with pytest.raises(InvalidRequest):
        TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionNumber])


def test_a_token_that_is_changed_in_any_bit_is_rejected() -> None:
    raw = decoded(TOKENS.encode((1,), filters=FILTERS))
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidRequest):
            TOKENS.decode(base64.urlsafe_b64encode(changed).decode(), filters=FILTERS, kind=tuple[PositionNumber])


def test_a_token_of_another_key_is_rejected() -> None:
    token = PageTokens(b"x" * 32).encode((1,), filters=FILTERS)
    with pytest.raises(InvalidRequest, match="start at the first page"):
        TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionNumber])


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PageTokens(b"short")


def test_a_token_of_other_filters_is_rejected() -> None:
    token = TOKENS.encode((1,), filters=FILTERS)
    with pytest.raises(InvalidRequest, match="other filters"):
        TOKENS.decode(token, filters={**FILTERS, "sku": "x"}, kind=tuple[PositionNumber])


def test_the_order_of_filters_does_not_matter() -> None:
    token = TOKENS.encode((1,), filters=FILTERS)
    backwards = dict(reversed(FILTERS.items()))
    assert TOKENS.decode(token, filters=backwards, kind=tuple[PositionNumber]) == (1,)


def test_a_filter_that_is_not_set_is_not_part_of_a_token() -> None:
    """So a release with one more filter accepts the tokens of the release before."""
    assert named_conditions(ItemFilter()) == {}
    named = named_conditions(ItemFilter(sku="x", after_position=7, include_deleted=True))
    assert named == {"sku": "x", "after_position": 7, "include_deleted": True}


def test_a_token_of_another_version_says_what_to_do() -> None:
    token = authentic(json.dumps([99, "x", [1]]).encode())
    with pytest.raises(InvalidRequest, match="start at the first page"):
        TOKENS.decode(token, filters=FILTERS, kind=tuple[PositionNumber])
