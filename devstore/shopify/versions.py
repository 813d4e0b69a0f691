"""Which API version answers a request for which."""

from __future__ import annotations

import re

SUPPORTED = ("2026-01", "2026-04", "2026-07", "2026-10")
_STABLE = re.compile(r"\d{4}-(01|04|07|10)")


def served_version(asked: str) -> str | None:
    """The version that really answers: an older one falls forward, a future one does not exist (None)."""
    if asked in SUPPORTED or asked == "unstable":
        return asked
    if _STABLE.fullmatch(asked) and asked < SUPPORTED[0]:
        return SUPPORTED[0]
    return None
