"""The one form of a shop's domain that the system works with."""

from __future__ import annotations

import re

from servicekit.failure import InvalidRequest


def canonical_domain(raw: str, pattern: str) -> str:
    """`raw` in lower case, without one final dot. Raises InvalidRequest unless it matches `pattern` whole.

    Blanks and line ends are refused, not trimmed: a domain that holds one was not made by anything of ours.
    """
    domain = raw.lower().removesuffix(".")
    if not raw.isascii() or not re.fullmatch(pattern, domain):
        raise InvalidRequest.of("shop.domain", f"must be the shop's host name, matching {pattern}")
    return domain
