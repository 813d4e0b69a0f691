"""The deletion guard limits how many items one pass may delete on its own: a mistake would delete them for every
client at once.

| Live items before the pass | One pass may delete | More is decided by |
|---|---|---|
| up to 5 | all but one | a second full pass that agrees |
| up to 200 | half of them | a second full pass that agrees |
| up to 1,000 | 100 | a second full pass that agrees |
| more | a tenth of them | a person, with `allow_mass_delete` |

So no single answer of a platform, empty or truncated, empties a shop, and a merchant who removes a whole range of
products needs no action: the next full pass finds the same products missing, and deletes them. A platform whose
answers are wrong for hours would agree with itself, which must not empty a large shop. Large shops rarely lose
more than a tenth between two passes.

Passes agree if they are full ones of different syncs, in a row, and find exactly the same records missing. An
incremental pass that is stopped agrees with none: the two full passes after it decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from catalog_svc.domain.errors import MassDeleteBlocked
from catalog_svc.domain.sync import BlockedDeletion

_TINY_SHOP_ITEMS = 5
"""A shop of up to so many items may lose all but one in one pass."""
_LARGE_SHOP_ITEMS = 1_000
"""Of a shop with more items a person decides."""
_LARGE_ALLOWED = 100
"""Items that one pass may delete from any shop with at least twice as many."""
_LARGE_SHARE_PERCENT = 10


def max_deletions(stored: int) -> int:
    """Return how many of `stored` live items one pass may delete on its own, without `allow_mass_delete`."""
    if stored <= _TINY_SHOP_ITEMS:
        return max(0, stored - 1)
    return min(stored // 2, max(_LARGE_ALLOWED, stored * _LARGE_SHARE_PERCENT // 100))


@dataclass(frozen=True, kw_only=True, slots=True)
class PassDeletion:
    """What a pass would delete, for the guard to judge."""

    would_delete: int
    """Live items that the pass would delete now."""
    stored: int
    """Live items when the pass began, including those that it has deleted since."""
    deleted: int = 0
    """Items that the same pass has deleted already: many small steps count as one deletion."""

    @property
    def is_allowed(self) -> bool:
        """Whether all deletions of the pass together are within `max_deletions`."""
        return not self.would_delete or self.deleted + self.would_delete <= max_deletions(self.stored)

    @property
    def needs_person(self) -> bool:
        """Whether no second pass can allow it."""
        return not self.is_allowed and self.stored > _LARGE_SHOP_ITEMS

    def error(self, blocked: BlockedDeletion | None) -> MassDeleteBlocked:
        """Return the error of a pass that may not delete this.

        Args:
            blocked: What the next full pass may agree with; None: a person must decide.
        """
        return MassDeleteBlocked(
            would_delete=self.would_delete, stored=self.stored, deleted=self.deleted, blocked=blocked
        )


class DeletionDigest:
    """Hash of the ids that a full pass would delete, added in their order."""

    def __init__(self, kind: Literal["items", "products"]) -> None:
        self._hash = hashlib.blake2b(kind.encode(), digest_size=16)
        self._count = 0

    def add(self, ids: Iterable[str]) -> None:
        """Add the next ids."""
        for each in ids:
            self._hash.update(b"\0" + each.encode())
            self._count += 1

    def blocked(self) -> BlockedDeletion:
        """Return what another pass must find to agree."""
        return BlockedDeletion(digest=self._hash.digest(), count=self._count)
