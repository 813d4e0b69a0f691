"""How much tests try that draw their cases: much in CI, enough to notice a mistake elsewhere."""

from __future__ import annotations

import os

IN_CI = bool(os.environ.get("CI"))


def cases(usual: int, *, in_ci: int) -> int:
    """How many to try."""
    return in_ci if IN_CI else usual
