"""Refreshes: products that are read again by their ids, outside of any sync, since they may have changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Final
from uuid import UUID

from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import SyncMode

MAX_PENDING_PRODUCTS: Final = 10_000
"""Products of one shop that may wait for a refresh, or for the end of the pass in which they were refreshed. More
are read by a sync."""
MAX_UNDECIDED_READS: Final = 3
"""After so many reads in which the platform did not say whether a product exists, it is left to the next sync."""
COALESCING_DELAY: Final = timedelta(milliseconds=300)
"""From a request to the read: requests that come within it cost one read together."""
UNDECIDED_DELAY: Final = timedelta(seconds=5)
"""Until products are read again about which the platform did not say whether they exist."""
_FIRST_BACKOFF: Final = timedelta(seconds=1)
_MAX_BACKOFF: Final = timedelta(minutes=10)
_MAX_DOUBLINGS: Final = 10


class RefreshReason(Enum):
    """Why a product is read again."""

    WEBHOOK = "WEBHOOK"
    """A webhook of the platform named it."""
    AUDIT = "AUDIT"
    """An audit found that the stored product differs."""


class IngestOutcome(Enum):
    """What became of a webhook delivery."""

    ACCEPTED = "ACCEPTED"
    """Its products will be read again."""
    PING = "PING"
    """The platform tries the address; there is nothing to do."""
    IGNORED = "IGNORED"
    """It concerns no product that is stored, or a shop that is not registered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookDelivery:
    """A webhook delivery as the platform sent it."""

    platform: str
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Names and values, in the order in which they came."""
    domain: str = ""
    """The shop's domain, if the caller knows it by the address of the delivery; empty: unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedWebhook:
    """A delivery whose signature is right, and which products it concerns."""

    shop: ShopKey | None
    """The shop that has signed it; None: an unsigned ping that names no shop."""
    is_ping: bool = False
    topic: str = ""
    product_ids: tuple[str, ...] = ()
    variant_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """What IngestWebhook did."""

    outcome: IngestOutcome
    product_count: int = 0
    """Products that will be read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshRequest:
    """Products of one shop to read again."""

    reason: RefreshReason
    product_ids: tuple[str, ...] = ()
    variant_ids: tuple[str, ...] = ()
    """Variants whose product is not known to the caller; those that are not stored are ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshReceipt:
    """What became of a request."""

    product_count: int = 0
    """Products that will be read again; 0: none is known."""
    needs_sync: bool = False
    """Whether too many products wait already, so that a sync reads them instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedRefresh:
    """A shop with products to refresh, claimed by one replica."""

    shop_id: UUID
    platform: str
    claim_id: UUID
    failure_count: int = 0
    """Reads that have failed in a row."""
    wanted_sync: SyncMode | None = None
    """A sync that must be started, since refreshes are not enough."""
    wanted_count: int = 0
    """How often it was requested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshClaim:
    """Products of a claimed shop, which one replica reads."""

    shop: Shop
    claim_id: UUID
    """The reader: what it has read of a product is stored only while it is the product's reader."""
    incarnation: UUID
    """Of the shop's positions. A shop that was registered again, or restored, has another one."""
    product_ids: tuple[str, ...]
    connection_reason: str = ""
    """Why the last sync failed; empty: it did not."""
    has_active_sync: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshResult:
    """What a refresh changed."""

    stored: int = 0
    """Products that were written, or found unchanged."""
    changed: int = 0
    """Of these, products that were created or changed."""
    deleted: int = 0
    """Products that became tombstones."""
    dropped: int = 0
    """Products that were read and not written: a sync wrote them meanwhile, and they are read again."""

    def __add__(self, other: RefreshResult) -> RefreshResult:
        return RefreshResult(
            stored=self.stored + other.stored,
            changed=self.changed + other.changed,
            deleted=self.deleted + other.deleted,
            dropped=self.dropped + other.dropped,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingRefreshes:
    """Products that wait for a refresh."""

    count: int = 0
    oldest_age: timedelta = timedelta()
    """Since the oldest of them was requested."""


def backoff(failure_count: int, *, retry_after: timedelta | None = None) -> timedelta:
    """Return how long a shop waits after this many failed reads in a row.

    Args:
        failure_count: At least 1.
        retry_after: What the platform demands; None: nothing.
    """
    delay = min(_MAX_BACKOFF, _FIRST_BACKOFF * (1 << min(failure_count - 1, _MAX_DOUBLINGS)))
    return max(delay, retry_after or timedelta())


def products_per_read(failure_count: int, *, maximum: int) -> int:
    """Return how many products to read at a time: fewer after each failure, to isolate what a read fails on."""
    return max(1, maximum >> min(failure_count, maximum.bit_length()))
