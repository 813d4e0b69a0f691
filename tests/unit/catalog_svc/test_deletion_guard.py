"""The deletion guard limits the deletions of one pass, for the smallest shops too, and says who may allow more."""

from __future__ import annotations

import pytest

from catalog_svc.domain.deletion_guard import DeletionDigest, PassDeletion, max_deletions
from catalog_svc.domain.sync import BlockedDeletion

SIZES = range(20_000)


def deletion(would_delete: int, stored: int, deleted: int = 0) -> PassDeletion:
    return PassDeletion(would_delete=would_delete, stored=stored, deleted=deleted)


@pytest.mark.parametrize(
    ("stored", "most"),
    [
        (0, 0),
        (1, 0),
        (2, 1),
        (5, 4),
        (6, 3),
        (7, 3),
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
def test_a_pass_may_delete_all_but_one_or_half_or_a_hundred_or_a_tenth(stored: int, most: int) -> None:
    assert max_deletions(stored) == most
    assert deletion(most, stored).is_allowed
    assert not deletion(most + 1, stored).is_allowed


def test_no_pass_empties_a_shop() -> None:
    assert all(max_deletions(stored) < stored for stored in SIZES if stored)


def test_no_pass_deletes_more_than_half_of_more_than_five_items() -> None:
    assert all(max_deletions(stored) <= stored / 2 for stored in SIZES if stored > 5)


def test_a_larger_shop_may_never_delete_less_from_six_items_on() -> None:
    allowed = [max_deletions(stored) for stored in SIZES if stored > 5]
    assert allowed == sorted(allowed)


def test_a_person_decides_about_large_shops_and_full_passes_about_all_others() -> None:
    for stored in SIZES:
        too_many = deletion(max_deletions(stored) + 1, stored)
        assert too_many.needs_person is (stored > 1_000)
        assert not deletion(max_deletions(stored), stored).needs_person


def test_earlier_deletions_of_the_pass_count_and_are_reported_separately() -> None:
    assert deletion(60, 1_000, deleted=40).is_allowed
    blocked = deletion(61, 1_000, deleted=40)
    assert not blocked.is_allowed
    error = blocked.error(BlockedDeletion())
    assert error.message.startswith("40 of 1000 items are deleted and 61 more would be;")
    assert error.metadata == {"would_delete": "61", "stored": "1000", "deleted": "40", "decided_by": "FULL_SYNC"}


def test_a_pass_that_deletes_nothing_more_is_never_stopped() -> None:
    assert deletion(0, 1_000, deleted=400).is_allowed
    assert deletion(0, 0).is_allowed


@pytest.mark.parametrize(
    ("blocked", "decided_by", "words"),
    [
        (
            BlockedDeletion(digest=b"1", count=1),
            "FULL_SYNC",
            "the next full sync deletes them if it finds the same",
        ),
        (BlockedDeletion(), "FULL_SYNC", "the next two full syncs delete them if both find the same"),
        (None, "PERSON", "check the shop"),
    ],
)
def test_the_message_says_what_would_be_deleted_who_decides_and_what_a_person_can_do(
    blocked: BlockedDeletion | None, decided_by: str, words: str
) -> None:
    error = deletion(100, 100).error(blocked)
    assert error.message.startswith(f"100 of 100 items would be deleted; {words}")
    assert "allow_mass_delete" in error.message
    assert error.metadata["decided_by"] == decided_by


def digest_of(*ids: str, kind: str = "products") -> BlockedDeletion:
    digest = DeletionDigest("items" if kind == "items" else "products")
    for each in ids:
        digest.add([each])
    return digest.blocked()


def test_only_the_same_ids_of_the_same_kind_have_the_same_digest() -> None:
    assert digest_of("1", "2").count == 2
    assert digest_of("1", "2") == digest_of("1", "2")
    others = [digest_of("1"), digest_of("12"), digest_of("1", "3"), digest_of("1", "2", "3"), digest_of()]
    others.append(digest_of("1", "2", kind="items"))
    assert digest_of("1", "2") not in others
