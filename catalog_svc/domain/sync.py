"""A sync: one run that brings a shop's stored catalog up to date.

What a caller, or a schedule, orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from catalog_svc.domain.progress import Progress, Waiting
from catalog_svc.domain.shop import Shop, ShopKey


class SyncState(Enum):
    """Where a sync is. PENDING -> RUNNING -> SUCCEEDED | FAILED | CANCELLED; PENDING may also end directly."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and not known to this one: neither active nor ended."""
    PENDING = "PENDING"
    """Ordered, not picked up yet."""
    RUNNING = "RUNNING"
    """A replica holds, or held, its lease."""
    SUCCEEDED = "SUCCEEDED"
    """Complete."""
    FAILED = "FAILED"
    """Ended by `Sync.error`; what was stored stays."""
    CANCELLED = "CANCELLED"
    """Ended on request; what was stored stays."""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self in ENDED_STATES


ACTIVE_STATES = frozenset({SyncState.PENDING, SyncState.RUNNING})
ENDED_STATES = frozenset({SyncState.SUCCEEDED, SyncState.FAILED, SyncState.CANCELLED})


class SyncMode(Enum):
    """How much is read."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and not known to this one, which leaves the sync to others."""
    FULL = "FULL"
    """Everything."""
    INCREMENTAL = "INCREMENTAL"
    """What changed since the shop's watermark."""


class SyncTrigger(Enum):
    """Why a sync was started."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and not known to this one, which runs the sync all the same."""
    REQUEST = "REQUEST"
    SCHEDULE = "SCHEDULE"
    RESUME = "RESUME"


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncError:
    """Why a sync failed."""

    reason: str
    """A name of `catalogsync.errors.v1.ErrorReason`, without prefix."""
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sync:
    """A sync as clients see it; every change raises `revision`."""

    sync_id: UUID
    shop: Shop
    state: SyncState
    mode: SyncMode
    trigger: SyncTrigger
    revision: int
    progress: Progress
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt_count: int = 0
    waiting: Waiting | None = None
    error: SyncError | None = None
    parent_sync_id: UUID | None = None
    updated_after: datetime | None = None
    """Lower bound of an incremental pass; None: everything is read."""
    strategy: str = ""
    served_api_version: str = ""
    correlation_id: str = ""
    notes: tuple[str, ...] = ()
    """What the sync could not see or decide, a sentence for people each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write for a sync: valid while the stored epoch and sequence are these."""

    merchant_id: UUID
    shop_id: UUID
    sync_id: UUID
    epoch: int
    """Fencing token: one more at each claim."""
    next_seq: int
    """Number of the next batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedSync:
    """A sync that this replica may run, and where it goes on."""

    lease: Lease
    sync: Sync
    checkpoint: bytes
    updated_after: datetime | None
    """Lower bound of an incremental pass; None: everything."""
    claims_without_progress: int
    """Attempts before this one that heard from their source and then stored nothing; 0 for most."""
    since_progress: timedelta
    """Since something was stored, or since the first claim; by the database's clock."""
    allow_mass_delete: bool = False
    """Whether the sync may delete more than the deletion guard allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedPass:
    """A sync whose source has sent its header, and what its pass is to read."""

    sync: Sync
    checkpoint: bytes
    updated_after: datetime | None
    """Other than was asked for when the shop's currency changed: then everything is read from the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartSyncCommand:
    """A sync to be started."""

    shop: ShopKey
    mode: SyncMode
    """INCREMENTAL becomes FULL for a shop that was never complete."""
    overlap: timedelta
    """How far before the watermark an incremental pass begins."""
    trigger: SyncTrigger = SyncTrigger.REQUEST
    request_id: str = ""
    """Empty: the order cannot be repeated."""
    allow_mass_delete: bool = False
    correlation_id: str = ""
