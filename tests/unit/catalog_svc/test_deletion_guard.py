"""The deletion guard limits the deletions of one pass, for small shops too."""

from __future__ import annotations

import pytest

from catalog_svc.domain.deletion_guard import check_deletion_guard, max_deletions
from catalog_svc.domain.errors import MassDeleteBlocked


@pytest.mark.parametrize(
    ("stored", "most"),
    [
        (0, 5),
        (1, 5),
        (5, 5),
        (6, 5),
        (11, 5),
        (12, 6),
        (100, 50),
        (199, 99),
        (200, 100),
        (201, 100),
        (1_000, 100),
        (1_009, 100),
        (1_010, 101),
        (5_000, 500),
        (1_000_000, 100_000),
    ],
)
def test_a_pass_may_delete_five_items_or_half_or_a_hundred_or_a_tenth(stored: int, most: int) -> None:
    assert max_deletions(stored) == most
    check_deletion_guard(would_delete=most, stored=stored)
    with pytest.raises(MassDeleteBlocked):
        check_deletion_guard(would_delete=most + 1, stored=stored)


def test_no_pass_empties_a_shop_of_more_than_five_items() -> None:
    assert all(max_deletions(stored) < stored for stored in range(6, 20_000))


def test_no_pass_deletes_more_than_half_of_a_shop_of_ten_items_or_more() -> None:
    assert all(max_deletions(stored) <= stored / 2 for stored in range(10, 20_000))


def test_a_larger_shop_may_never_delete_less() -> None:
    allowed = [max_deletions(stored) for stored in range(20_000)]
    assert allowed == sorted(allowed)


def test_earlier_deletions_of_the_pass_count_and_are_reported_separately() -> None:
    check_deletion_guard(would_delete=60, deleted=40, stored=1_000)
    with pytest.raises(MassDeleteBlocked) as blocked:
        check_deletion_guard(would_delete=61, deleted=40, stored=1_000)
    assert blocked.value.message.startswith("40 of 1000 items are deleted and 61 more would be;")
    assert blocked.value.metadata == {"would_delete": "61", "stored": "1000", "deleted": "40"}


def test_a_pass_that_deletes_nothing_more_is_never_stopped() -> None:
    check_deletion_guard(would_delete=0, deleted=400, stored=1_000)


def test_the_message_of_a_first_deletion_names_what_would_be_deleted_and_what_to_do() -> None:
    with pytest.raises(MassDeleteBlocked) as blocked:
        check_deletion_guard(would_delete=100, stored=100)
    assert blocked.value.message.startswith("100 of 100 items would be deleted; check the shop")
    assert "allow_mass_delete" in blocked.value.message
