"""The correlation id is accepted if well-formed, otherwise replaced, and passed on."""

from __future__ import annotations

import re

import pytest
from catalogsync_common.call_context import (
    accept_correlation_id,
    correlated,
    correlation_id,
    outgoing_metadata,
    outgoing_timeout,
    set_deadline,
)

NEW_ID = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("given", ["a", "7f3c.bff_1-x", "A" * 64])
def test_a_well_formed_id_is_kept(given: str) -> None:
    assert accept_correlation_id(given) == given


@pytest.mark.parametrize("given", [None, "", "a b", "a\n", "x" * 65, "é", b"bytes", 'a"b'])
def test_a_malformed_id_is_replaced(given: str | bytes | None) -> None:
    assert NEW_ID.fullmatch(accept_correlation_id(given))


def test_the_id_is_set_within_its_block_and_passed_on() -> None:
    with correlated("outer"):
        with correlated("inner"):
            assert outgoing_metadata() == (("x-correlation-id", "inner"),)
        assert correlation_id.get() == "outer"
    assert correlation_id.get() == ""


def test_outside_of_any_block_a_new_id_is_passed_on() -> None:
    ((name, value),) = outgoing_metadata()
    assert name == "x-correlation-id"
    assert NEW_ID.fullmatch(value)


@pytest.mark.parametrize(("remaining", "expected"), [(None, 5), (60, 5), (2, 2), (-1, 0)])
def test_an_outgoing_call_has_no_more_time_than_the_current_one(remaining: float | None, expected: float) -> None:
    with set_deadline(remaining):
        assert outgoing_timeout(5) == pytest.approx(expected, abs=1)
