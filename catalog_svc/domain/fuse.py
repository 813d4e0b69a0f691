"""The fuse against mass deletions: what is gone by mistake is gone for every client at once."""

from __future__ import annotations

from catalog_svc.domain.errors import MassDeleteBlocked

ALWAYS_ALLOWED = 100
"""Items: a small shop may empty itself."""
ALLOWED_SHARE = 10
"""Per cent of the shop's items."""


def check_fuse(*, would_delete: int, stored: int) -> None:
    """Raises MassDeleteBlocked when more than a tenth of `stored` items, and more than a hundred, would go."""
    if would_delete > max(ALWAYS_ALLOWED, stored * ALLOWED_SHARE // 100):
        raise MassDeleteBlocked(would_delete=would_delete, stored=stored)
