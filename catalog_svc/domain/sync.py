"""A sync, which updates a shop's stored catalog: its states, its lease, and the command that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from catalog_svc.domain.progress import Progress, Waiting
from catalog_svc.domain.shop import Shop, ShopKey


class SyncState(Enum):
    """State of a sync. PENDING -> RUNNING -> SUCCEEDED | FAILED | CANCELLED; PENDING may also end directly."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and unknown to this one: neither active nor ended."""
    PENDING = "PENDING"
    """Created, not claimed yet."""
    RUNNING = "RUNNING"
    """Claimed; its owner may have died since."""
    SUCCEEDED = "SUCCEEDED"
    """Complete."""
    FAILED = "FAILED"
    """Ended by `Sync.error`; what was stored stays."""
    CANCELLED = "CANCELLED"
    """Ended on request; what was stored stays."""

    @property
    def ended(self) -> bool:
        """Whether the sync will not change any more."""
        return self in ENDED_STATES


ACTIVE_STATES = frozenset({SyncState.PENDING, SyncState.RUNNING})
ENDED_STATES = frozenset({SyncState.SUCCEEDED, SyncState.FAILED, SyncState.CANCELLED})


class SyncMode(Enum):
    """Which products a sync reads."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and unknown to this one, which never claims such a sync."""
    FULL = "FULL"
    """All products."""
    INCREMENTAL = "INCREMENTAL"
    """Products that changed since the shop's watermark."""


class SyncTrigger(Enum):
    """Why a sync was started."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and unknown to this one, which runs the sync all the same."""
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
    """Lower bound of an incremental pass, UTC; None: all products are read."""
    strategy: str = ""
    served_api_version: str = ""
    correlation_id: str = ""
    notes: tuple[str, ...] = ()
    """Limitations of the sync, one English sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write for a sync: valid while the stored epoch and sequence number are these."""

    merchant_id: UUID
    shop_id: UUID
    sync_id: UUID
    epoch: int
    """Fencing token: each claim adds one."""
    next_seq: int
    """Number of the next batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedSync:
    """A sync that this replica has claimed, and where it continues."""

    lease: Lease
    sync: Sync
    checkpoint: bytes
    updated_after: datetime | None
    """Lower bound of an incremental pass, UTC; None: all products are read."""
    claims_without_progress: int
    """Previous attempts that received their source's header and then stored nothing; mostly 0."""
    since_progress: timedelta
    """Time since something was stored, or since the first claim; by the database's clock."""
    allow_mass_delete: bool = False
    """Whether the sync may delete more than the deletion guard allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedPass:
    """A sync whose source has sent its header, and what its pass must read."""

    sync: Sync
    checkpoint: bytes
    updated_after: datetime | None
    """Differs from what was requested when the shop's currency has changed: then all products are read from the
    beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartSyncCommand:
    """Command to start a sync."""

    shop: ShopKey
    mode: SyncMode
    """INCREMENTAL becomes FULL for a shop without a watermark."""
    overlap: timedelta
    """How far before the watermark an incremental pass begins."""
    trigger: SyncTrigger = SyncTrigger.REQUEST
    request_id: str = ""
    """Idempotency key; empty: the request cannot be repeated."""
    allow_mass_delete: bool = False
    correlation_id: str = ""
