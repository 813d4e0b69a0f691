"""A sync of a shop's stored catalog: its states, progress, waits and lease, and the command that starts it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

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


MAX_QUEUE_POSITION = 1_000
"""A sync with this position has so many syncs before it, or more."""
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
class BlockedDeletion:
    """A deletion that the deletion guard has stopped, until two full passes in a row agree on it."""

    digest: bytes | None = None
    """Hash of the ids in order, see `domain.deletion_guard`; None: of an incremental pass, with which no pass
    agrees."""
    count: int = 0
    """How many ids."""


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
    queue_position: int | None = None
    """Syncs of the same platform that are claimed before this one, at most `MAX_QUEUE_POSITION`, when it was read;
    it changes without a new revision. None: not PENDING."""


@dataclass(frozen=True, slots=True)
class SyncPosition:
    """The last sync of a page, after which the next page begins."""

    created_at: datetime
    sync_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write for a sync: valid while the stored epoch and sequence number are these."""

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
    traceparent: str = ""
    """The span that created the sync, see `StartSyncCommand.traceparent`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelledSync:
    """A sync that was cancelled because its shop is deleted: it is not stored any more."""

    sync: Sync
    checkpoint: bytes
    """Names the platform's job, if there is one; empty: nothing was stored."""


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
    """INCREMENTAL becomes FULL for a shop without a watermark, or with a deletion that a full pass must agree
    with."""
    overlap: timedelta
    """How far before the watermark an incremental pass begins."""
    trigger: SyncTrigger = SyncTrigger.REQUEST
    principal: str = ""
    """The caller; empty while callers are not authenticated."""
    request_id: str = ""
    """Idempotency key of the principal; empty: the request cannot be repeated."""
    allow_mass_delete: bool = False
    correlation_id: str = ""
    traceparent: str = ""
    """The span that creates the sync (W3C Trace Context): its execution continues the trace. Empty: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordCounts:
    """What a sync did with the records it saw; seen = created + updated + unchanged."""

    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0

    @property
    def has_changed(self) -> bool:
        """Whether any record differed from what was stored."""
        return bool(self.created or self.updated or self.deleted)

    def __add__(self, other: RecordCounts) -> RecordCounts:
        return RecordCounts(
            seen=self.seen + other.seen,
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            deleted=self.deleted + other.deleted,
            rejected=self.rejected + other.rejected,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Counts so far, and estimates."""

    products: RecordCounts = RecordCounts()
    items: RecordCounts = RecordCounts()
    estimated_product_count: int | None = None
    estimated_item_count: int | None = None
    items_per_second: float | None = None
    """None when the sync is not storing anything."""
    issue_count: int = 0
    checked_products: int = 0
    """Products of which an incremental pass checked only the id, the stock or the price."""

    @property
    def has_read(self) -> bool:
        """Whether the sync has seen any product."""
        return bool(self.products.seen or self.products.rejected or self.checked_products)

    @property
    def has_changed(self) -> bool:
        """Whether the sync has found any change."""
        return self.products.has_changed or self.items.has_changed

    def remaining(self) -> timedelta | None:
        """Return the time left at the present rate; None when it is unknown."""
        share = self._share_done()
        if not self.items_per_second or not share or not self.items.seen:
            return None
        items_left = self.items.seen / share - self.items.seen
        return timedelta(seconds=items_left / self.items_per_second)

    def of_succeeded(self) -> Progress:
        """Return the progress of a sync that has succeeded: counts replace the estimates that there were."""
        return replace(
            self,
            estimated_product_count=None if self.estimated_product_count is None else self.products.seen,
            estimated_item_count=None if self.estimated_item_count is None else self.items.seen,
        )

    def _share_done(self) -> float | None:
        if self.estimated_item_count:
            return min(1.0, (self.items.seen + self.items.rejected) / self.estimated_item_count)
        if self.estimated_product_count:
            return min(1.0, (self.products.seen + self.products.rejected) / self.estimated_product_count)
        return None


class WaitReason(Enum):
    """Why a running sync waits; the names are those of the contract."""

    UNSPECIFIED = "UNSPECIFIED"
    """Stored by a newer release, and unknown to this one."""
    THROTTLED = "THROTTLED"
    """The platform's rate limit."""
    PLATFORM_JOB = "PLATFORM_JOB"
    """A job of the platform, such as a bulk export."""
    SOURCE_UNREACHABLE = "SOURCE_UNREACHABLE"
    """The platform does not answer."""
    TOKEN_SERVICE = "TOKEN_SERVICE"
    """The Token Service does not answer."""
    CONNECTOR = "CONNECTOR"
    """connector_svc does not answer."""
    STORAGE = "STORAGE"
    """The database does not store the next batch in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A wait of a sync: its reason and its expected end."""

    reason: WaitReason
    until: datetime
    """UTC."""
    message: str = ""
    done_count: int | None = None
    total_count: int | None = None


class RateMeter:
    """Measures items per second over a window of the last seconds.

    So a wait lowers the rate, and a resumed sync does not report an inflated one.
    """

    def __init__(self, window: timedelta = timedelta(seconds=10)) -> None:
        self._window = window.total_seconds()
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)

    def start(self, at: float) -> None:
        """Start measuring at `at`, in seconds of a monotonic clock."""
        self._marks.clear()
        self._marks.append((at, 0))

    def add(self, at: float, items: int) -> float | None:
        """Count items that are done at `at` and return the rate; None while it is unknown."""
        self._marks.append((at, items))
        while len(self._marks) > 2 and self._marks[1][0] < at - self._window:
            self._marks.popleft()
        elapsed = at - self._marks[0][0]
        # The window begins at the first mark: the items of that mark were done before.
        done = sum(count for _, count in self._marks) - self._marks[0][1]
        return done / elapsed if elapsed > 0 else None
