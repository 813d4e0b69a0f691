"""The deletion guard: what is deleted by mistake is gone for every client at once.

| Live items before the pass | One pass may delete |
|---|---|
| up to 10 | 5 |
| up to 200 | half of them |
| up to 1,000 | 100 |
| more | a tenth of them |

Half protects small shops from an empty or cut answer, and lets a merchant clear out a shelf. Five are the least,
since a shop of a few items may change most of them on one day, and the next pass brings five items back. Larger
shops rarely lose more than a tenth between two passes.
"""

from __future__ import annotations

from catalog_svc.domain.errors import MassDeleteBlocked

ALWAYS_ALLOWED = 5
"""Items."""
_LARGE_ALLOWED = 100
"""Items, of a shop that has more than twice as many."""
_LARGE_SHARE_PERCENT = 10


def max_deletions(stored: int) -> int:
    """Return how many of `stored` live items one pass may delete unasked."""
    small = max(ALWAYS_ALLOWED, stored // 2)
    large = max(_LARGE_ALLOWED, stored * _LARGE_SHARE_PERCENT // 100)
    return min(small, large)


def min_stored_for(deletions: int) -> int:
    """Return how many live items before the pass allow so many deletions for sure: nobody needs to count more."""
    if deletions <= ALWAYS_ALLOWED:
        return 0
    return 2 * deletions if deletions <= _LARGE_ALLOWED else deletions * 100 // _LARGE_SHARE_PERCENT


def check_deletion_guard(*, would_delete: int, stored: int, deleted: int = 0) -> None:
    """Stop a pass that would delete too much.

    Args:
        would_delete: Live items that the pass would delete now.
        stored: Live items when the pass began, those among them that it has deleted.
        deleted: Items that the same pass has deleted already: many small steps are one deletion.

    Raises:
        MassDeleteBlocked: All deletions of the pass together exceed `max_deletions(stored)`.
    """
    if would_delete and deleted + would_delete > max_deletions(stored):
        raise MassDeleteBlocked(would_delete=would_delete, stored=stored, deleted=deleted)
