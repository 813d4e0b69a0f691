"""Every entry of the registers names tests that exist, and docs/connectors.md is up to date with the registers."""

from __future__ import annotations

import pytest

from tests.regressions.connectors_page import ENTRIES, generated_part, stored_part
from tests.regressions.entry import CORE, Entry, NotCollected, collect_cases, node_ids, node_of, platform_of
from tests.regressions.known_failures import KNOWN_FAILURES


@pytest.fixture(scope="session")
def cases() -> tuple[str, ...]:
    return collect_cases(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.key for entry in ENTRIES])
def test_each_named_test_exists(entry: Entry, cases: tuple[str, ...]) -> None:
    assert entry.tests
    for test in entry.tests:
        assert any(node_of(case) == test for case in cases), test


def test_no_known_failure_is_missing() -> None:
    assert [entry.key for entry in KNOWN_FAILURES] == [f"failure-{number:02}" for number in range(1, 23)]


def test_the_page_is_up_to_date(cases: tuple[str, ...]) -> None:
    """If it fails: python -m tests.regressions.connectors_page."""
    assert stored_part() == generated_part(cases)


def test_a_test_that_does_not_exist_is_an_error() -> None:
    entry = Entry("failure-99", "", "", node_ids("regressions/test_connectors_page", "that_nobody_wrote"))
    with pytest.raises(NotCollected):
        collect_cases([entry])


@pytest.mark.parametrize(
    ("case", "platform"),
    [
        ("tests/contract/platforms/test_platform_pass.py::test_a[woocommerce-8.2]", "WooCommerce"),
        ("tests/integration/connector_svc/feed/test_feed_pass.py::test_a", "Custom feed"),
        ("tests/unit/connector_svc/test_shopify_queries.py::test_a[Products]", "Shopify"),
        ("tests/integration/end_to_end/test_experiments.py::test_a_bigcommerce_variant", "BigCommerce"),
        ("tests/integration/catalog_svc/test_batches.py::test_a", CORE),
    ],
)
def test_a_case_counts_for_the_platform_of_its_parameters_path_or_name(case: str, platform: str) -> None:
    assert platform_of(case) == platform
