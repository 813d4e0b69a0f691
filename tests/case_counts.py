"""The number of generated cases that a test tries: many in CI, enough to notice a mistake elsewhere."""

from __future__ import annotations

import os

IN_CI = bool(os.environ.get("CI"))


def case_count(local: int, *, in_ci: int) -> int:
    """Return `in_ci` in CI and `local` elsewhere."""
    return in_ci if IN_CI else local
