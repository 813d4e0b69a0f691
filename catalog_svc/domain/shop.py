"""Shops: the stores whose catalogs are synced, and the platforms that host them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ShopKey:
    """The key of a shop on its platform."""

    platform: str
    domain: str
    """Host name in canonical form: lower case, no final dot."""

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"


ShopRef: TypeAlias = UUID | ShopKey
"""How a request names a shop: by its id, or by its key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """A registered shop."""

    shop_id: UUID
    key: ShopKey
    merchant_id: str = ""
    """The id that the caller gives to the owner of the shop; empty: none. One merchant may own many shops."""
    platform_shop_id: str = ""
    """Empty until the first sync has read it, like currency_code and display_name."""
    currency_code: str = ""
    display_name: str = ""
    watermark: datetime | None = None
    """UTC, the platform's clock: the catalog holds every change that the platform had reported by then."""
    full_watermark: datetime | None = None
    """UTC, the platform's clock: the whole catalog was read and compared as it was then."""
    notes: tuple[str, ...] = ()
    """Limitations of the last successful sync, one English sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopProfile:
    """Shop info from the platform."""

    currency_code: str
    platform_shop_id: str
    display_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformInfo:
    """A platform that the connector supports."""

    name: str
    domain_pattern: str
    """Regular expression that a canonical domain matches as a whole."""
    incremental: bool
    """Whether the platform can list what changed since a time."""
