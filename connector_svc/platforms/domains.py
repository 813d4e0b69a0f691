"""The one form of a shop's domain that the system works with."""

from __future__ import annotations

import re

from catalogsync_common.failure import InvalidRequest


def canonical_domain(raw: str, pattern: str, example: str) -> str:
    """`raw` in lower case, without one final dot. Raises InvalidRequest unless it matches `pattern` whole.

    `example` is told instead of the pattern. What was given is not: somebody may have pasted an address with a
    password. Blanks and line ends are refused, not trimmed: a domain with one was not made by anything of ours.
    """
    domain = raw.lower().removesuffix(".")
    if not raw.isascii() or not re.fullmatch(pattern, domain):
        wanted = f"the shop's host name, such as {example!r}"
        text = f"must be {wanted}, without scheme, port and path" if raw else f"is required: {wanted}"
        raise InvalidRequest.of("shop.domain", text)
    return domain
