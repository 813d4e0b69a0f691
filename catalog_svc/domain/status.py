"""Status of a shop, for dashboards: counts, latest syncs, health of the connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from catalog_svc.domain.analysis import AnalysisCounts
from catalog_svc.domain.audit import AuditSummary
from catalog_svc.domain.errors import DECIDED_BY_FULL_SYNC
from catalog_svc.domain.schedule import ShopSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncError
from catalog_svc.domain.webhook_health import WebhookHealth


class ConnectionState(Enum):
    """Health of a shop's connection, from its last syncs."""

    UNSPECIFIED = "UNSPECIFIED"
    """No sync has ended yet."""
    HEALTHY = "HEALTHY"
    """The last sync succeeded, or was cancelled."""
    FAILING = "FAILING"
    """The last sync failed for a transient reason."""
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
"""Error reasons that persist until the merchant or an operator acts."""


def needs_action(error: SyncError) -> bool:
    """Return whether the error persists until a person acts: not if the next full sync decides about it."""
    return error.reason in NEEDS_ACTION and error.metadata.get("decided_by") != DECIDED_BY_FULL_SYNC


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionHealth:
    """Health of a shop's connection, and why it is not healthy."""

    state: ConnectionState = ConnectionState.UNSPECIFIED
    reason: str = ""
    """Reason of the last failure; empty when healthy."""
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogCounts:
    """Numbers of products and items that are stored and not deleted."""

    products: int
    items: int
    items_with_image: int
    analysis: AnalysisCounts | None = None
    """None: the shop has no analyzer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestSyncs:
    """A shop's active and its last finished sync, as of one moment: no sync is both."""

    active: Sync | None = None
    last_finished: Sync | None = None

    @property
    def connection(self) -> ConnectionHealth:
        """Health of the connection: a sync that was cancelled counts as one that did not fail."""
        if self.last_finished is None:
            return ConnectionHealth()
        error = self.last_finished.error
        if error is None:
            return ConnectionHealth(state=ConnectionState.HEALTHY)
        state = ConnectionState.BROKEN if needs_action(error) else ConnectionState.FAILING
        return ConnectionHealth(state=state, reason=error.reason, message=error.message)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopStatus:
    """A shop, its counts and its syncs."""

    shop: Shop
    counts: CatalogCounts
    syncs: LatestSyncs
    schedule: ShopSchedule
    """The schedule in effect."""
    last_audit: AuditSummary | None = None
    """None: no audit of the shop has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopDetails:
    """A shop with its connection, its schedule and its webhooks."""

    shop: Shop
    connection: ConnectionHealth
    schedule: ShopSchedule
    """The schedule in effect."""
    webhooks: WebhookHealth
    same_store_shop_ids: tuple[UUID, ...]
    """Other registered shops with the same platform_shop_id on the same platform."""
    analyzers: tuple[str, ...]
    """The analyzers that are switched on, by name."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopFilter:
    """Conditions of a list of shops; all apply together."""

    merchant_id: str = ""
    """Empty: any, or none."""
    platform: str = ""
    """Empty: any."""
    domain: str = ""
    """Empty: any."""
    connection: ConnectionState | None = None
    """None: any."""


ANY_SHOP: Final = ShopFilter()
"""Without conditions."""
