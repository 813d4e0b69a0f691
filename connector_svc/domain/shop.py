"""Which store is read."""

from __future__ import annotations

from dataclasses import dataclass


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
