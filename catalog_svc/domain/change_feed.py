"""The change feed of all shops: which shops have changed items, and which syncs have another state.

Each transaction that changes items of a shop, or the state of a sync, writes an event. A consumer reads the events
in the order of the ids of their transactions, below the horizon: the oldest transaction that may still commit.
Whatever the order in which transactions commit, no event ever appears below a position that was read. A
transaction that stays open holds the horizon: the feed is then late, and complete.

A position is the id after that of the last event that was read, never the horizon itself: after a crash the server
assigns ids again whose transactions it had not written to disk. An event that was committed was written, and all
later ids are above its own.

A consumer starts with a snapshot: all shops that have items, or all syncs that are active. Then it reads the
events after the position at which the snapshot began. Events are purged after their retention period, and the
floor rises with them. A cursor is valid while no event after it may have been purged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from catalog_svc.domain.errors import ChangePositionExpired
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncPosition


class ChangeKind(Enum):
    """What a consumer of the change feed follows."""

    SHOPS = "SHOPS"
    """Shops whose items change."""
    SYNCS = "SYNCS"
    """Syncs whose state changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedShop:
    """A shop of which a transaction has changed items, or which was deleted."""

    xid: int
    """Of the transaction; of a shop in the snapshot the position at which the snapshot began."""
    shop: Shop
    feed_position: int
    """The shop's position after the change."""
    recorded_at: datetime | None
    """When the event was written; None: the record is of the snapshot."""
    deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedSync:
    """A sync of which a transaction has changed the state."""

    xid: int
    """Of the transaction; of a sync in the snapshot the position at which the snapshot began."""
    shop: Shop
    sync_id: UUID
    sync: Sync | None
    """As it was when the feed was read; None: it is not stored any more."""


ChangeRecord: TypeAlias = ChangedShop | ChangedSync


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeFilter:
    """Which records a consumer gets; all conditions apply together."""

    kind: ChangeKind
    shop_id: UUID | None = None
    """None: of any shop."""
    domain: str = ""
    """Empty: of any domain."""
    merchant_id: str = ""
    """Empty: of any merchant, or none."""

    def matches(self, record: ChangeRecord) -> bool:
        """Return whether the consumer gets the record. The deletion of a shop is for both kinds."""
        if isinstance(record, ChangedSync):
            is_of_kind = self.kind is ChangeKind.SYNCS
        else:
            is_of_kind = self.kind is ChangeKind.SHOPS or record.deleted
        return is_of_kind and self.matches_shop(record.shop)

    def matches_shop(self, shop: Shop) -> bool:
        """Return whether the consumer gets records of the shop."""
        return (
            self.shop_id in (None, shop.shop_id)
            and self.domain in ("", shop.key.domain)
            and self.merchant_id in ("", shop.merchant_id)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotCursor:
    """Where a consumer continues to read the snapshot."""

    shop_id: UUID | None = None
    """Of shops: those up to this id were read; None: none."""
    sync: SyncPosition | None = None
    """Of syncs, the newest first: those down to this one were read; None: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeCursor:
    """Where a consumer continues to read the change feed."""

    incarnation: UUID
    xid: int
    """All events of transactions below this id were read."""
    snapshot: SnapshotCursor | None = None
    """None: the snapshot was read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeFeed:
    """The events of all shops at one moment."""

    incarnation: UUID
    """Distinguishes the ids of transactions of this database from those of another one."""
    floor: int
    """Events of this transaction and of earlier ones may have been purged."""
    last_xid: int
    """Of the last event that can be read, perhaps purged."""
    horizon: int
    """The oldest transaction that may still commit; events from it on cannot be read yet."""
    delay: timedelta = timedelta()
    """Age of the oldest event that is committed and cannot be read yet; zero: there is none."""

    @property
    def end(self) -> ChangeCursor:
        """The cursor of a consumer that has read all events."""
        return ChangeCursor(incarnation=self.incarnation, xid=self.last_xid + 1)

    @property
    def start(self) -> ChangeCursor:
        """The cursor of a consumer that has read nothing."""
        return replace(self.end, snapshot=SnapshotCursor())

    def check(self, cursor: ChangeCursor) -> None:
        """Check that no event after the cursor was purged.

        Raises:
            ChangePositionExpired: One may have been purged; or the cursor is of another database, or above the
                horizon: the database was restored.
        """
        if cursor.incarnation != self.incarnation or not self.floor < cursor.xid <= self.horizon:
            raise ChangePositionExpired


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangePage:
    """Records of the change feed, in its order."""

    records: Sequence[ChangeRecord]
    begin: ChangeCursor
    """Where the page begins."""
    cursor: ChangeCursor
    """Continues after the page."""
    caught_up: bool
    """Whether there was nothing more to read."""
    delay: timedelta = timedelta()
    """See `ChangeFeed.delay`."""
