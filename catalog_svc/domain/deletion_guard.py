"""The deletion guard limits how many items one pass may delete: a mistake would delete them for every client at
once.

| Live items before the pass | One pass may delete |
|---|---|
| up to 10 | 5 |
| up to 200 | half of them |
| up to 1,000 | 100 |
| more | a tenth of them |

Half protects small shops from an empty or truncated response, and lets a merchant remove a whole range of
products. Five is the minimum, since a shop of a few items may replace most of them in one day, and the next pass
restores five items at once. Larger shops rarely lose more than a tenth between two passes.
"""

from __future__ import annotations

from catalog_svc.domain.errors import MassDeleteBlocked

ALWAYS_ALLOWED = 5
"""Items that one pass may delete from any shop."""
_LARGE_ALLOWED = 100
"""Items that one pass may delete from a shop with at least twice as many."""
_LARGE_SHARE_PERCENT = 10


def max_deletions(stored: int) -> int:
    """Return how many of `stored` live items one pass may delete without `allow_mass_delete`."""
    small = max(ALWAYS_ALLOWED, stored // 2)
    large = max(_LARGE_ALLOWED, stored * _LARGE_SHARE_PERCENT // 100)
    return min(small, large)


def check_deletion_guard(*, would_delete: int, stored: int, deleted: int = 0) -> None:
    """Raise if a pass would delete too many items.

    Args:
        would_delete: Live items that the pass would delete now.
        stored: Live items when the pass began, including those that it has deleted since.
        deleted: Items that the same pass has deleted already: many small steps count as one deletion.

    Raises:
        MassDeleteBlocked: All deletions of the pass together exceed `max_deletions(stored)`.
    """
    if would_delete and deleted + would_delete > max_deletions(stored):
        raise MassDeleteBlocked(would_delete=would_delete, stored=stored, deleted=deleted)
