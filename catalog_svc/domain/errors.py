"""Errors that callers of the catalog receive; each has a reason of the contract's enum ErrorReason.

    Failure
    ├── InvalidRequest (catalogsync_common)
    ├── RequestIdReused
    ├── ShopNotFound, SyncNotFound, ProductNotFound, ItemNotFound
    ├── ShopAlreadyRegistered, ShopBeingDeleted
    ├── SyncAlreadyRunning
    ├── RevisionInFuture, PositionExpired, ChangePositionExpired
    ├── TextSearchUnavailable
    ├── LimitExceeded (catalogsync_common)
    │   └── TooManyWatchers
    ├── StorageUnavailable
    │   └── QueryTooExpensive
    ├── SyncNotCancellable, SyncNotResumable
    ├── AuditAlreadyRunning
    ├── AnalyzerNotEnabled
    └── SourceFailed            ends or interrupts a sync: ConnectorUnavailable, SourceIncomplete,
                                SourceCountMismatch, SourceCurrencyChanged, MassDeleteBlocked, SyncStalled, and
                                every reason that the connector itself gives

LeaseLost is not a Failure: no caller receives it, since the new owner continues the sync.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from uuid import UUID

from catalogsync_common.failure import Failure, LimitExceeded, Resource

from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.sync import BlockedDeletion

SYNC_TYPE = "catalogsync.catalog.v1.Sync"
SHOP_TYPE = "catalogsync.catalog.v1.Shop"
PRODUCT_TYPE = "catalogsync.catalog.v1.Product"
DECIDED_BY_PERSON = "PERSON"
"""Metadata `decided_by` of MASS_DELETE_BLOCKED: nothing more is deleted until a sync has allow_mass_delete."""
DECIDED_BY_FULL_SYNC = "FULL_SYNC"
"""The next full sync may agree."""

ITEM_TYPE = "catalogsync.catalog.v1.Item"


class RequestIdReused(Failure):
    """The request_id was used before with other parameters."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} was used before with other parameters",
            metadata={"request_id": request_id},
        )


class ShopNotFound(Failure):
    """The shop is not registered, or was deleted."""

    reason = "SHOP_NOT_FOUND"

    def __init__(self, ref: ShopRef) -> None:
        if isinstance(ref, ShopKey):
            message = f"shop {ref} is not registered"
            metadata = {"platform": ref.platform, "domain": ref.domain}
        else:
            message, metadata = f"there is no shop with the id {ref}", {"shop_id": str(ref)}
        super().__init__(message, metadata=metadata, resource=Resource(type=SHOP_TYPE, name=str(ref)))


class ShopAlreadyRegistered(Failure):
    """The shop is registered, and not for the merchant of the call."""

    reason = "SHOP_ALREADY_REGISTERED"

    def __init__(self, shop: Shop) -> None:
        owner = "for another merchant" if shop.merchant_id else "without a merchant; UpdateShop sets one"
        super().__init__(
            f"shop {shop.key} is registered already, {owner}",
            metadata={"shop_id": str(shop.shop_id)},
            resource=Resource(type=SHOP_TYPE, name=str(shop.shop_id)),
        )


class ShopBeingDeleted(Failure):
    """The shop is being deleted: it can be registered again after the end."""

    reason = "SHOP_BEING_DELETED"

    def __init__(self, shop_id: UUID) -> None:
        super().__init__(
            f"shop {shop_id} is being deleted; DeleteShop shows the progress",
            metadata={"shop_id": str(shop_id)},
            resource=Resource(type=SHOP_TYPE, name=str(shop_id)),
        )


class SyncNotFound(Failure):
    """There is no such sync."""

    reason = "SYNC_NOT_FOUND"

    def __init__(self, sync_id: UUID) -> None:
        super().__init__(
            f"sync {sync_id} does not exist",
            metadata={"sync_id": str(sync_id)},
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class ProductNotFound(Failure):
    """The shop has no such product."""

    reason = "PRODUCT_NOT_FOUND"

    def __init__(self, key: ShopKey, product_id: str) -> None:
        super().__init__(
            f"shop {key} has no product {product_id!r}",
            metadata={"product_id": product_id},
            resource=Resource(type=PRODUCT_TYPE, name=product_id),
        )


class ItemNotFound(Failure):
    """The shop has no such item."""

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
    """The client has seen a revision that this database has never had."""

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


class PositionExpired(Failure):
    """Changes after the client's position may be gone, or the position is of another incarnation of the shop."""

    reason = "POSITION_EXPIRED"

    def __init__(self, *, position: int, floor: int, incarnation: UUID) -> None:
        super().__init__(
            f"the position or page is not within the changes that the shop still has, from {floor} to {position}; "
            "list again without a position, and drop what is not listed",
            metadata={"position": str(position), "floor": str(floor), "incarnation": str(incarnation)},
        )


class ChangePositionExpired(Failure):
    """Events after the client's position may be gone, or the position is of another database."""

    reason = "POSITION_EXPIRED"

    def __init__(self) -> None:
        super().__init__(
            "the position is older than the changes that are kept, or of another database; call again without a "
            "position: the stream then begins with everything that is stored"
        )


class TextSearchUnavailable(Failure):
    """The database has no index for text search."""

    reason = "TEXT_SEARCH_UNAVAILABLE"

    def __init__(self, missing: str) -> None:
        super().__init__(f"the database cannot search texts: {missing}; filter otherwise")


class TooManyWatchers(LimitExceeded):
    """This replica has the maximum number of watchers, in total or of one shop."""

    reason = "TOO_MANY_WATCHERS"

    def __init__(self, limit: int, *, of_shop: bool = False) -> None:
        whose = "the shop has its maximum" if of_shop else "this server has its maximum"
        super().__init__(
            f"{whose} of {limit} watchers{' on this server' if of_shop else ''}; try again",
            kind="shop_watchers" if of_shop else "watchers",
            limit=str(limit),
        )


class StorageCause(Enum):
    """Why the database failed. Operators find the cause in the log; callers learn only that it is unavailable."""

    UNREACHABLE = "unreachable"
    """No connection: refused, broken, or the server is starting or stopping."""
    REFUSED = "refused"
    """The server refuses the connection: wrong password, no such database, no encryption."""
    READ_ONLY = "read-only"
    """The server accepts no writes: a standby, or a primary in the middle of a failover."""
    NO_RESOURCES = "no resources"
    """The disk is full, or memory or connections are exhausted."""
    POOL_EXHAUSTED = "pool exhausted"
    """All of this replica's connections are in use."""
    LOCKED = "locked"
    """Another transaction held a lock for too long."""
    CONFLICT = "conflict"
    """A deadlock, or a serialization failure."""
    TOO_SLOW = "too slow"
    """A statement reached its time limit. The database works, but this statement does not finish."""


class StorageUnavailable(Failure):
    """The database is unavailable for a transient cause."""

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
    """A read did not finish within its time limit: a retry would take as long."""

    reason = "QUERY_TOO_EXPENSIVE"

    def __init__(self) -> None:
        super().__init__("the query takes too long; narrow its filter", cause=StorageCause.TOO_SLOW)


class SyncNotCancellable(Failure):
    """The sync has ended already, and was not cancelled."""

    reason = "SYNC_NOT_CANCELLABLE"

    def __init__(self, sync_id: UUID, state: str) -> None:
        super().__init__(
            f"sync {sync_id} has ended already: {state}",
            metadata={"sync_id": str(sync_id), "state": state},
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class SyncNotResumable(Failure):
    """There is nothing to continue from, or continuing would be wrong."""

    reason = "SYNC_NOT_RESUMABLE"

    def __init__(self, sync_id: UUID, state: str, problem: str, *, shop: ShopKey) -> None:
        super().__init__(
            f"sync {sync_id} cannot be resumed: {problem}",
            metadata={
                "sync_id": str(sync_id),
                "state": state,
                "platform": shop.platform,
                "domain": shop.domain,
            },
            resource=Resource(type=SYNC_TYPE, name=str(sync_id)),
        )


class AuditAlreadyRunning(Failure):
    """The shop is being audited."""

    reason = "AUDIT_ALREADY_RUNNING"

    def __init__(self, shop: Shop) -> None:
        super().__init__(
            f"shop {shop.key} is being verified already; call again when that has ended",
            metadata={"shop_id": str(shop.shop_id)},
            resource=Resource(type=SHOP_TYPE, name=str(shop.shop_id)),
        )


class AnalyzerNotEnabled(Failure):
    """The analyzer is not switched on for the shop."""

    reason = "ANALYZER_NOT_ENABLED"

    def __init__(self, *, shop_id: UUID, analyzer: str) -> None:
        super().__init__(
            f"analyzer {analyzer!r} is not switched on for shop {shop_id}: see `analyzers` of UpdateShop",
            metadata={"shop_id": str(shop_id), "analyzer": analyzer},
        )


class SourceFailed(Failure):
    """The source ended the pass; `transient` says whether a retry may help."""

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
    """connector_svc does not answer, or its stream broke."""

    def __init__(self, message: str = "connector_svc does not answer; running syncs retry") -> None:
        super().__init__(reason="CONNECTOR_UNAVAILABLE", message=message, transient=True)


class SourceIncomplete(SourceFailed):
    """The stream ended without its end message."""

    def __init__(self) -> None:
        super().__init__(
            reason="SOURCE_INCOMPLETE",
            message="the source's stream ended without its end message; the pass continues from its checkpoint",
            transient=True,
        )


class SourceCountMismatch(SourceFailed):
    """The number of records that arrived is not the number that the source counted."""

    def __init__(self, *, what: str, expected: int, received: int) -> None:
        super().__init__(
            reason="SOURCE_COUNT_MISMATCH",
            message=f"{expected} {what} announced, {received} received; those are stored, start another sync",
            metadata={"expected": str(expected), "received": str(received)},
            transient=False,
        )


class SourceCurrencyChanged(SourceFailed):
    """The shop's currency changed while its products were read."""

    def __init__(self, *, expected: str, received: str) -> None:
        super().__init__(
            reason="SOURCE_CURRENCY_CHANGED",
            message=f"the shop's currency changed from {expected} to {received}; all its products are read again",
            metadata={"expected": expected, "received": received},
            transient=True,
        )


class SyncStalled(SourceFailed):
    """Several attempts in a row stored nothing."""

    def __init__(self, attempts: int, *, why: str = "see the log for the cause") -> None:
        super().__init__(
            reason="SYNC_STALLED",
            message=f"{attempts} attempts ended without storing anything; {why}",
            metadata={"attempts": str(attempts)},
            transient=False,
        )


class MassDeleteBlocked(SourceFailed):
    """The pass would delete more than the deletion guard allows. What it has deleted before stays deleted."""

    def __init__(
        self, *, would_delete: int, stored: int, deleted: int = 0, blocked: BlockedDeletion | None = None
    ) -> None:
        """Create the error.

        Args:
            would_delete: Items that would be deleted.
            stored: Items when the pass began.
            deleted: Items that the same pass has deleted before.
            blocked: What the next full pass may agree with; None: a person must decide.
        """
        summary = f"{would_delete} of {stored} items would be deleted"
        if deleted:
            summary = f"{deleted} of {stored} items are deleted and {would_delete} more would be"
        super().__init__(
            reason="MASS_DELETE_BLOCKED",
            message=f"{summary}; {_decision_text(blocked)}",
            metadata={
                "would_delete": str(would_delete),
                "stored": str(stored),
                "deleted": str(deleted),
                "decided_by": DECIDED_BY_PERSON if blocked is None else DECIDED_BY_FULL_SYNC,
            },
            transient=False,
        )
        self.blocked = blocked


def _decision_text(blocked: BlockedDeletion | None) -> str:
    person = "start a sync with allow_mass_delete"
    if blocked is None:
        return f"check the shop, and if that is right {person}"
    if blocked.digest is None:
        return f"the next two full syncs delete them if both find the same missing; to delete them now, {person}"
    return f"the next full sync deletes them if it finds the same missing; to delete them now, {person}"


class LeaseLost(Exception):
    """Another replica has claimed the sync, or the sync has ended: the former owner must not write any more."""
