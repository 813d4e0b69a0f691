"""Shops: the stores whose catalogs are synced, and the platforms that host them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ShopKey:
    """The key of a shop on its platform."""

    platform: str
    domain: str
    """Host name in canonical form: lower case, no final dot."""

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"


_MAX_NAMED_DOMAINS: Final = 3

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
    """Its name on the platform."""
    caller_name: str = ""
    """The name that the caller has given to the shop; empty: none."""
    watermark: datetime | None = None
    """UTC, the platform's clock: the catalog holds every change that the platform had reported by then."""
    full_watermark: datetime | None = None
    """UTC, the platform's clock: the whole catalog was read and compared as it was then."""
    notes: tuple[str, ...] = ()
    """Limitations of the last successful sync, one English sentence each."""

    @property
    def name(self) -> str:
        """The caller's name, else the platform's."""
        return self.caller_name or self.display_name


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopProfile:
    """Shop info from the platform."""

    currency_code: str
    platform_shop_id: str
    display_name: str


class ShopField(Enum):
    """What a caller decides about a shop; the values are the paths of the contract's field mask."""

    MERCHANT_ID = "merchant_id"
    DISPLAY_NAME = "display_name"
    INCREMENTAL_INTERVAL = "incremental_interval"
    FULL_INTERVAL = "full_interval"
    PAUSED = "paused"
    ANALYZERS = "analyzers"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopChange:
    """A change of some fields of a shop; the other fields stay as they are, whatever their value here."""

    fields: frozenset[ShopField]
    merchant_id: str = ""
    display_name: str = ""
    """Empty: the platform's name."""
    incremental_every: timedelta | None = None
    """None: the server's default. Zero: no scheduled syncs."""
    full_every: timedelta | None = None
    paused: bool = False
    analyzers: tuple[str, ...] = ()
    """The analyzers that are switched on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopDeletion:
    """The deletion of a shop, and how many rows of it are deleted so far."""

    shop: Shop
    """What is known of the shop after the deletion: its ids, its key and its merchant."""
    started_at: datetime
    ended_at: datetime | None = None
    """When the last row was deleted; None while the deletion runs."""
    products: int = 0
    items: int = 0
    syncs: int = 0
    issues: int = 0


def same_store_note(domains: Sequence[str]) -> str:
    """Return the note of a sync whose shop is the same store as these other registered shops."""
    named, more = ", ".join(domains[:_MAX_NAMED_DOMAINS]), len(domains) - _MAX_NAMED_DOMAINS
    others = f"{named} and {more} more" if more > 0 else named
    return (
        f"The shop is the same store as {others}: its products are synced and counted once for each domain. "
        "Delete the shops that are not needed."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformInfo:
    """A platform that the connector supports."""

    name: str
    domain_pattern: str
    """Regular expression that a canonical domain matches as a whole."""
    incremental: bool
    """Whether the platform can list what changed since a time."""
    webhooks: bool = False
    """Whether the connector can create webhooks on the platform."""
