"""Every known failure has tests that pytest collects, and docs/connectors.md says the same as the registers."""

from __future__ import annotations

import pytest

from tests.regressions.experiments import EXPERIMENTS
from tests.regressions.known_failures import KNOWN_FAILURES
from tests.regressions.matrix import collected, page, written
from tests.regressions.quirks import QUIRKS
from tests.regressions.row import Row

ROWS = (*KNOWN_FAILURES, *EXPERIMENTS, *QUIRKS)


@pytest.fixture(scope="session")
def cases() -> tuple[str, ...]:
    return collected()


@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_what_went_wrong_elsewhere_is_tested_here(row: Row, cases: tuple[str, ...]) -> None:
    assert row.tests
    for test in row.tests:
        assert any(case.partition("[")[0] == test for case in cases), test


def test_no_known_failure_is_left_out() -> None:
    assert [row.key for row in KNOWN_FAILURES] == [f"failure-{number:02}" for number in range(1, 23)]


def test_the_page_says_what_the_registers_say(cases: tuple[str, ...]) -> None:
    """Otherwise: python -m tests.regressions.matrix."""
    assert written() == page(cases)
