"""How a shop stands: what a dashboard shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from catalog_svc.domain.schedule import RETRY_BROKEN_EVERY, ShopSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncError


class ConnectionState(Enum):
    """How well a shop's connection works, as its last syncs tell."""

    UNSPECIFIED = "UNSPECIFIED"
    """No sync has ended yet."""
    HEALTHY = "HEALTHY"
    """The last sync succeeded, or was cancelled."""
    FAILING = "FAILING"
    """The last sync failed for a reason that may pass."""
    BROKEN = "BROKEN"
    """The merchant or an operator must act."""


NEEDS_ACTION = frozenset(
    {
        "CREDENTIALS_NOT_FOUND",
        "SOURCE_UNAUTHORIZED",
        "SOURCE_FORBIDDEN",
        "SOURCE_NOT_FOUND",
        "SOURCE_REDIRECTED",
        "SOURCE_RESPONSE_INVALID",
        "SOURCE_QUERY_REFUSED",
        "SOURCE_ADDRESS_FORBIDDEN",
        "MASS_DELETE_BLOCKED",
    }
)
"""Reasons that do not go away by themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogCounts:
    """Stored and not deleted."""

    products: int
    items: int
    items_with_image: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestSyncs:
    """A shop's active and its last finished sync, as of one moment: no sync is both."""

    active: Sync | None = None
    last_finished: Sync | None = None

    @property
    def connection(self) -> ConnectionState:
        """The verdict."""
        if self.last_finished is None:
            return ConnectionState.UNSPECIFIED
        error = self.connection_error
        if error is None:
            return ConnectionState.HEALTHY
        return ConnectionState.BROKEN if error.reason in NEEDS_ACTION else ConnectionState.FAILING

    @property
    def connection_error(self) -> SyncError | None:
        """What went wrong last; None when healthy."""
        return self.last_finished.error if self.last_finished else None

    def schedule(self, planned: ShopSchedule) -> ShopSchedule:
        """What is in effect, when the intervals alone say `planned`: a broken connection is retried slowly."""
        ended_at = self.last_finished.ended_at if self.last_finished else None
        if self.connection is not ConnectionState.BROKEN or ended_at is None:
            return planned
        return planned.not_before(ended_at + RETRY_BROKEN_EVERY)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopStatus:
    """A shop, its counts and its syncs."""

    shop: Shop
    counts: CatalogCounts
    syncs: LatestSyncs
    schedule: ShopSchedule
    """What is in effect."""
