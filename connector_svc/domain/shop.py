"""Shops: their identity, their canonical domain, and what a platform reports about them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalogsync_common.failure import InvalidRequest


@dataclass(frozen=True, slots=True)
class Shop:
    """One store on one platform."""

    platform: str
    """Name of a registered platform, such as "shopify"."""
    domain: str
    """Canonical host name, as `canonical_domain` returns it: lower case, without a final dot."""

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopInfo:
    """What a platform reports about a store that can be read."""

    currency_code: str
    """ISO 4217."""
    platform_shop_id: str = ""
    """The platform's own id of the store."""
    display_name: str = ""
    served_api_version: str = ""
    """The API version that answered."""
    product_count: int | None = None
    variant_count: int | None = None
    granted_scopes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is limited or could work better, for an operator."""


def canonical_domain(raw: str, pattern: str, example: str, *, field: str = "shop.domain") -> str:
    """Return `raw` in lower case and without one final dot.

    Whitespace and line ends are rejected, not trimmed: none of our own components sends a domain with one.

    Args:
        raw: The domain from a request.
        pattern: The regular expression of the platform that the whole domain must match.
        example: A domain that matches; the error shows it instead of the pattern. The error never shows `raw`,
            which may be a pasted URL with a password.
        field: The field of the request, for the error.

    Raises:
        InvalidRequest: The domain is missing or does not match `pattern`.
    """
    domain = raw.lower().removesuffix(".")
    if not raw.isascii() or not re.fullmatch(pattern, domain):
        expected = f"the shop's host name, such as {example!r}"
        text = f"must be {expected}, without scheme, port and path" if raw else f"is required: {expected}"
        raise InvalidRequest.of(field, text)
    return domain
