"""What a caller of the catalog can be told; every class carries a reason of the contract's list.

    Failure
    ├── InvalidRequest (catalogsync_common)
    ├── RequestIdReused
    ├── ShopNotFound, SyncNotFound, ItemNotFound
    ├── SyncAlreadyRunning
    ├── RevisionInFuture
    ├── TooManyWatchers, StreamExpired
    ├── StorageUnavailable
    │   └── QueryTooExpensive
    ├── SyncNotCancellable, SyncNotResumable
    └── SourceFailed            ends or interrupts a sync: ConnectorUnavailable, SourceIncomplete,
                                SourceCountMismatch, SourceCurrencyChanged, MassDeleteBlocked, SyncStalled, and
                                every reason that the connector itself gives

LeaseLost is no Failure: nobody is told, the new owner goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from uuid import UUID

from catalogsync_common.failure import Failure, Resource

from catalog_svc.domain.shop import ShopKey

SYNC_TYPE = "catalogsync.catalog.v1.Sync"
SHOP_TYPE = "catalogsync.catalog.v1.Shop"
ITEM_TYPE = "catalogsync.catalog.v1.Item"


class RequestIdReused(Failure):
    """The request_id came before with other parameters."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} was used before with other parameters",
            metadata={"request_id": request_id},
        )


class ShopNotFound(Failure):
    """No sync of this shop was ever started."""

    reason = "SHOP_NOT_FOUND"

    def __init__(self, key: ShopKey) -> None:
        super().__init__(
            f"shop {key} is not known here: no sync of it was ever started",
            metadata={"platform": key.platform, "domain": key.domain},
            resource=Resource(type=SHOP_TYPE, name=str(key)),
        )


class SyncNotFound(Failure):
    """No such sync."""

    reason = "SYNC_NOT_FOUND"

    def __init__(self, sync_id: UUID) -> None:
        super().__init__(
            f"sync {sync_id} does not exist",
            metadata={"sync_id": str(sync_id)},
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class ItemNotFound(Failure):
    """No such item in the shop."""

    reason = "ITEM_NOT_FOUND"

    def __init__(self, key: ShopKey, item_id: str) -> None:
        super().__init__(
            f"shop {key} has no item {item_id!r}",
            metadata={"item_id": item_id},
            resource=Resource(type=ITEM_TYPE, name=item_id),
        )


class SyncAlreadyRunning(Failure):
    """The shop has an active sync."""

    reason = "SYNC_ALREADY_RUNNING"

    def __init__(self, key: ShopKey, sync_id: UUID) -> None:
        super().__init__(
            f"sync {sync_id} of shop {key} is active",
            metadata={"sync_id": str(sync_id)},
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class RevisionInFuture(Failure):
    """The client has seen a revision that this database never had."""

    reason = "REVISION_IN_FUTURE"

    def __init__(self, sync_id: UUID, *, after_revision: int, revision: int) -> None:
        super().__init__(
            f"sync {sync_id} is at revision {revision}, not yet at {after_revision}; watch again from 0",
            metadata={
                "sync_id": str(sync_id),
                "revision": str(revision),
                "after_revision": str(after_revision),
            },
        )


class TooManyWatchers(Failure):
    """This replica follows as many watchers as it may."""

    reason = "TOO_MANY_WATCHERS"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"this server follows {limit} watchers already; try again", metadata={"limit": str(limit)}
        )


class StreamExpired(Failure):
    """A watch came of age."""

    reason = "STREAM_EXPIRED"

    def __init__(self) -> None:
        super().__init__("this watch has lived its time; watch again with the last revision")


class StorageCause(Enum):
    """Why the database did not do its work. Operators read it in the log; callers only learn that it did not."""

    UNREACHABLE = "unreachable"
    """No connection: refused, broken, or the server is starting or stopping."""
    REFUSED = "refused"
    """The server turns the connection away: wrong password, no such database, no encryption."""
    READ_ONLY = "read-only"
    """The server takes no writes: a standby, or a primary in the middle of a failover."""
    NO_RESOURCES = "no resources"
    """The disk is full, or memory or connections are exhausted."""
    POOL_EXHAUSTED = "pool exhausted"
    """All of this replica's connections are in use."""
    LOCKED = "locked"
    """Another transaction held a lock for too long."""
    CONFLICT = "conflict"
    """A deadlock, or a serialization failure."""
    TOO_SLOW = "too slow"
    """A statement reached its time limit. The database works; it is this statement that does not finish."""


class StorageUnavailable(Failure):
    """The database cannot do this now; later it may."""

    reason = "STORAGE_UNAVAILABLE"

    def __init__(
        self,
        message: str = "the database is unavailable; try again",
        *,
        cause: StorageCause = StorageCause.UNREACHABLE,
    ) -> None:
        super().__init__(message)
        self.cause = cause


class QueryTooExpensive(StorageUnavailable):
    """A read did not finish within its time limit: asking again would take as long."""

    reason = "QUERY_TOO_EXPENSIVE"

    def __init__(self) -> None:
        super().__init__("query too expensive: narrow the filter", cause=StorageCause.TOO_SLOW)


class SyncNotCancellable(Failure):
    """The sync has ended otherwise already."""

    reason = "SYNC_NOT_CANCELLABLE"

    def __init__(self, sync_id: UUID, state: str) -> None:
        super().__init__(
            f"sync {sync_id} has ended already: {state}",
            metadata={"sync_id": str(sync_id), "state": state},
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class SyncNotResumable(Failure):
    """There is nothing to go on from, or going on would be wrong."""

    reason = "SYNC_NOT_RESUMABLE"

    def __init__(self, sync_id: UUID, state: str, why: str, *, shop: ShopKey) -> None:
        super().__init__(
            f"sync {sync_id} cannot be resumed: {why}",
            metadata={
                "sync_id": str(sync_id),
                "state": state,
                "platform": shop.platform,
                "domain": shop.domain,
            },
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class SourceFailed(Failure):
    """The source ended the pass; `transient` tells whether trying again may help."""

    def __init__(
        self,
        *,
        reason: str,
        message: str,
        transient: bool,
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, retry_after=retry_after)
        self.reason = reason
        self.transient = transient


class ConnectorUnavailable(SourceFailed):
    """connector_svc does not answer, or its stream broke off."""

    def __init__(self, message: str = "connector_svc does not answer; running syncs retry") -> None:
        super().__init__(reason="CONNECTOR_UNAVAILABLE", message=message, transient=True)


class SourceIncomplete(SourceFailed):
    """The stream ended without its end mark."""

    def __init__(self) -> None:
        super().__init__(
            reason="SOURCE_INCOMPLETE",
            message="the source's stream ended without its end mark; the pass goes on from its checkpoint",
            transient=True,
        )


class SourceCountMismatch(SourceFailed):
    """What arrived is not what the source counted."""

    def __init__(self, *, what: str, expected: int, received: int) -> None:
        super().__init__(
            reason="SOURCE_COUNT_MISMATCH",
            message=f"{expected} {what} announced, {received} arrived; what came is stored, start another sync",
            metadata={"expected": str(expected), "received": str(received)},
            transient=False,
        )


class SourceCurrencyChanged(SourceFailed):
    """The shop's currency changed while its products were read."""

    def __init__(self, *, expected: str, received: str) -> None:
        super().__init__(
            reason="SOURCE_CURRENCY_CHANGED",
            message=f"the shop's currency changed from {expected} to {received}; all its products are read anew",
            metadata={"expected": expected, "received": received},
            transient=True,
        )


class SyncStalled(SourceFailed):
    """Attempt after attempt stored nothing."""

    def __init__(self, attempts: int, *, why: str = "see the log for what stops them") -> None:
        super().__init__(
            reason="SYNC_STALLED",
            message=f"{attempts} attempts ended without storing anything; {why}",
            metadata={"attempts": str(attempts)},
            transient=False,
        )


class MassDeleteBlocked(SourceFailed):
    """More would be deleted than a source's mistake may cost. What the pass has deleted before stays deleted."""

    def __init__(self, *, would_delete: int, stored: int, deleted: int = 0) -> None:
        what = f"{would_delete} of {stored} items would be deleted"
        if deleted:
            what = f"{deleted} of {stored} items are deleted and {would_delete} more would be"
        super().__init__(
            reason="MASS_DELETE_BLOCKED",
            message=f"{what}; look at the shop, and if that is right start a sync with allow_mass_delete",
            metadata={"would_delete": str(would_delete), "stored": str(stored), "deleted": str(deleted)},
            transient=False,
        )


class LeaseLost(Exception):
    """Another replica has taken the sync over, or it has ended: stop, and write nothing more."""
