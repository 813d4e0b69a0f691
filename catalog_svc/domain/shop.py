"""The stores whose catalogs we keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ShopKey:
    """How callers name a shop."""

    platform: str
    domain: str
    """Canonical: lower case, no final dot."""

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """A registered shop."""

    merchant_id: UUID
    shop_id: UUID
    key: ShopKey
    platform_shop_id: str = ""
    """Empty until the first sync has read it, like the next two."""
    currency_code: str = ""
    display_name: str = ""
    watermark: datetime | None = None
    """UTC, the platform's clock: the catalog holds every change that the platform had reported by then."""
    full_watermark: datetime | None = None
    """UTC, the platform's clock: the whole catalog was read and compared as it was then."""
    notes: tuple[str, ...] = ()
    """What the last successful sync could not see or decide, a sentence for people each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopProfile:
    """What the platform tells about a shop."""

    currency_code: str
    platform_shop_id: str
    display_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformInfo:
    """A platform that the connector supports."""

    name: str
    domain_pattern: str
    """A canonical domain matches it whole."""
    incremental: bool
