"""A page token goes on where the page ended, in the same list, and nothing else is taken for one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_svc.rpc import page_token
from servicekit.failure import InvalidRequest


@given(st.tuples(st.text(), st.text()))
def test_a_position_survives(position: tuple[str, str]) -> None:
    token = page_token.encode(position, filters="f")
    assert page_token.decode(token, filters="f", kind=tuple[str, str]) == position


def test_no_token_is_the_first_page() -> None:
    assert page_token.decode("", filters="f", kind=tuple[int]) is None


def test_a_token_belongs_to_its_filters() -> None:
    token = page_token.encode((1,), filters="f")
    with pytest.raises(InvalidRequest, match="other filters"):
        page_token.decode(token, filters="g", kind=tuple[int])


def test_a_token_of_another_kind_of_list_is_refused() -> None:
    token = page_token.encode(("x",), filters="f")
    with pytest.raises(InvalidRequest):
        page_token.decode(token, filters="f", kind=tuple[UUID])


@given(st.text(min_size=1))
def test_whatever_a_client_invents_is_refused_politely(token: str) -> None:
    with pytest.raises(InvalidRequest):
        page_token.decode(token, filters="f", kind=tuple[int])
