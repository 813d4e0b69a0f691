"""Which store is read.

The one form of a shop's domain that the system works with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalogsync_common.failure import InvalidRequest


@dataclass(frozen=True, slots=True)
class Shop:
    """One store on one platform."""

    platform: str
    """A registered platform's name: "shopify"."""
    domain: str
    """Canonical host name: lower case, no final dot, checked by the platform's `canonical_domain`."""

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopInfo:
    """What a platform tells about a store we can read."""

    currency_code: str
    """ISO 4217."""
    platform_shop_id: str = ""
    shop_name: str = ""
    served_api_version: str = ""
    product_count: int | None = None
    item_count: int | None = None
    granted_scopes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What works less well than it could, for an operator."""


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
