"""Ports: what the use cases need from the database, the connector and the metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.catalog_reads import Feed, Item, ItemCursor, ItemFilter, Product, ProductFilter
from catalog_svc.domain.records import SyncIssue
from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import PlatformInfo, Shop, ShopChange, ShopDeletion, ShopKey, ShopRef
from catalog_svc.domain.source import MissingProduct, SourceBatch, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.domain.status import LatestSyncs, ShopDetails, ShopFilter, ShopStatus
from catalog_svc.domain.sync import (
    BlockedDeletion,
    CancelledSync,
    ClaimedSync,
    Lease,
    PendingSyncs,
    StartedPass,
    StartSyncCommand,
    Sync,
    SyncError,
    SyncMode,
    SyncPosition,
    SyncState,
    Waiting,
    WaitReason,
)


class Shops(Protocol):
    """Registered shops."""

    async def find(self, ref: ShopRef) -> Shop | None:
        """Return the shop; None if it is not registered, or is being deleted."""
        ...

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        """Return the id of the shop if it is being deleted; None if it is not."""
        ...


class ShopDirectory(Protocol):
    """Registered shops with their connections and schedules; `defaults` are the intervals of shops without own."""

    async def get(self, ref: ShopRef, defaults: ScheduleDefaults) -> ShopDetails | None:
        """Return the shop; None if it is not registered, or is being deleted."""
        ...

    async def page(
        self, which: ShopFilter, *, after: UUID | None, limit: int, defaults: ScheduleDefaults
    ) -> list[ShopDetails]:
        """Return up to `limit` shops with ids above `after`, in order; None: from the first."""
        ...

    async def register(
        self, key: ShopKey, *, merchant_id: str, caller_name: str, defaults: ScheduleDefaults
    ) -> ShopDetails:
        """Register the shop, or return it as it is if it is registered and `merchant_id` is its merchant or empty.

        Raises:
            ShopAlreadyRegistered: the shop is registered, and not for this merchant.
            ShopBeingDeleted: the shop is being deleted.
        """
        ...

    async def update(self, shop: Shop, change: ShopChange, defaults: ScheduleDefaults) -> ShopDetails:
        """Change the fields of the shop and return it. Raises ShopBeingDeleted."""
        ...


class ShopDeletions(Protocol):
    """Deletions of shops."""

    async def find(self, ref: ShopRef) -> ShopDeletion | None:
        """Return the latest deletion of the shop, running or ended; None if there is none."""
        ...

    async def begin(self, shop: Shop) -> tuple[ShopDeletion, CancelledSync | None]:
        """Mark the shop as being deleted: from now on it is neither read nor written.

        Returns:
            The deletion, also if it has begun before, and the active sync of the shop if this call has cancelled
            it.

        Raises:
            ShopNotFound: there is neither the shop nor a deletion of it.
        """
        ...

    async def active(self, *, limit: int) -> list[UUID]:
        """Return the ids of up to `limit` shops whose deletion has not ended, the oldest first."""
        ...

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend the right to purge, for `ttl`; return whether this replica has it, and no other one."""
        ...

    async def release(self) -> None:
        """Let another replica purge at once."""
        ...

    async def purge(self, shop_id: UUID) -> bool:
        """Delete a bounded number of the shop's rows, and count them; return whether the deletion goes on."""
        ...


class Statuses(Protocol):
    """Statuses of shops."""

    async def get(self, shop: Shop, defaults: ScheduleDefaults) -> ShopStatus:
        """Return the status of a registered shop, all of it as of one moment. Raises ShopNotFound."""
        ...


class SyncCommands(Protocol):
    """Creates, cancels and resumes syncs in the database."""

    async def start(self, command: StartSyncCommand) -> Sync:
        """Create a PENDING sync, or return the one that the same request_id created before.

        Raises:
            ShopBeingDeleted: the shop is being deleted.
            SyncAlreadyRunning: the shop has an active sync.
            RequestIdReused: the request_id came before with other parameters.
        """
        ...

    async def cancel(self, sync_id: UUID) -> Sync:
        """Cancel the sync; cancelling a cancelled sync again changes nothing.

        Raises:
            SyncNotFound: there is no such sync.
            SyncNotCancellable: it has succeeded or failed.
        """
        ...

    async def start_due(
        self, due: ScheduledShop, command: StartSyncCommand, plan_next: Callable[[SyncMode], StoredSchedule]
    ) -> Sync | None:
        """Create the sync that is due, and store the next due times, in one transaction.

        Args:
            due: The shop with its schedule as it was read.
            command: What to start.
            plan_next: Returns the schedule with the next due times, after a start of a sync of this mode.

        Returns:
            The PENDING sync; None if another replica has created it, the schedule was changed or the shop was
            deleted.

        Raises:
            SyncAlreadyRunning: the shop has an active sync; its schedule is as it was.
        """
        ...

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str, principal: str = "") -> Sync:
        """Create a sync that continues from the checkpoint of an ended one.

        Raises:
            SyncNotFound: there is no such sync.
            SyncNotResumable: it has no checkpoint, or continuing from it would be wrong.
            SyncAlreadyRunning: the shop has an active sync.
            RequestIdReused: the request_id came before with other parameters.
        """
        ...


class Schedules(Protocol):
    """When shops are synced without a request, and which are due."""

    async def set_defaults(self, defaults: ScheduleDefaults) -> int:
        """Let schedules that were planned under other defaults be planned again; return how many those are."""
        ...

    async def unplanned(self, *, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops whose due times were not planned yet under the present defaults."""
        ...

    async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops that are due, the longest due first.

        Args:
            most_per_platform: Upper bound for each platform; each scheduled sync of the platform that is still
                PENDING counts against it.
            limit: Upper bound for all platforms together.
        """
        ...

    async def postpone(self, shop: Shop, *, delay: timedelta) -> None:
        """Let no sync of the shop be due before `delay` has passed."""
        ...

    async def plan(
        self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule, defaults: ScheduleDefaults
    ) -> None:
        """Store the due times of `new`, unless they have changed since `old` was read."""
        ...


class Syncs(Protocol):
    """Stored syncs."""

    async def get(self, sync_id: UUID) -> Sync:
        """Return the sync. Raises SyncNotFound."""
        ...

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        """Return those of the syncs that exist, by one query."""
        ...

    async def changed_revisions(self, known: Mapping[UUID, int]) -> Mapping[UUID, int | None]:
        """Return the revisions that are not the known ones, by one query; None for a sync that does not exist."""
        ...

    async def queue_positions(self, sync_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """Return how many syncs of the same platform are claimed before each of these, by one query.

        Nothing for syncs that have ended.
        """
        ...

    async def checkpoint(self, sync_id: UUID) -> bytes:
        """Return the checkpoint of the sync's last stored batch; empty if there is none. Raises SyncNotFound."""
        ...

    async def latest(self, shop: Shop) -> LatestSyncs:
        """Return the shop's active and its last finished sync, both from one snapshot of the database."""
        ...

    async def page(
        self, *, shop: Shop | None, states: Sequence[SyncState], before: SyncPosition | None, limit: int
    ) -> list[Sync]:
        """Return up to `limit` syncs older than `before`, newest first.

        Args:
            shop: None: syncs of all shops.
            states: Empty: syncs in any state.
            before: None: from the newest.
            limit: The most syncs to return.
        """
        ...


class Queue(Protocol):
    """The queue of syncs that wait for a worker."""

    async def pending(self) -> list[PendingSyncs]:
        """Return how many syncs no worker has claimed yet, by platform; nothing for platforms without any."""
        ...


class QueueMetrics(Protocol):
    """Gauges of the queue, which is the same for all replicas."""

    def queue_read(self, pending: Sequence[PendingSyncs]) -> None:
        """Set the gauges of these platforms, and those of all others to zero."""
        ...

    def queue_unknown(self) -> None:
        """Remove the gauges: the queue cannot be read."""
        ...


class PlatformJobs(Protocol):
    """Jobs that platforms run for passes, such as a bulk export."""

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        """Cancel the job that the checkpoint names.

        Returns:
            Whether there was a job to cancel.

        Raises:
            SourceFailed: the connector or the platform did not do it.
        """
        ...


class Issues(Protocol):
    """Issues of the records that syncs read."""

    async def page(self, sync_id: UUID, *, after: int, limit: int) -> list[SyncIssue]:
        """Return up to `limit` issues numbered above `after`, in order. Raises SyncNotFound."""
        ...


class Items(Protocol):
    """Stored items."""

    async def get(self, shop: Shop, item_id: str) -> Item | None:
        """Return the item, deleted or not; None if there never was one."""
        ...

    async def page(
        self, shop: Shop, which: ItemFilter, *, after: ItemCursor | None, limit: int
    ) -> tuple[Feed, Sequence[Item]]:
        """Return up to `limit` items after the cursor, and the shop's feed, as of one moment.

        Ordered by position and item id if the filter has a position, else by product id and item id.

        Raises:
            ShopNotFound: the shop was deleted in the meantime.
            TextSearchUnavailable: the filter has a text, which the database cannot search.
        """
        ...


class Products(Protocol):
    """Stored products."""

    async def get(self, shop: Shop, product_id: str) -> Product | None:
        """Return the product, deleted or not; None if there never was one."""
        ...

    async def page(
        self, shop: Shop, which: ProductFilter, *, after: str, limit: int
    ) -> tuple[Feed, Sequence[Product], bool]:
        """Return products above the id `after`, by id, the shop's feed, and whether there are more products.

        There are up to `limit` products; fewer, but at least one, if they are large.

        Raises:
            ShopNotFound: the shop was deleted in the meantime.
            TextSearchUnavailable: the filter has a text, which the database cannot search.
        """
        ...


class Leases(Protocol):
    """The right to run a sync.

    All methods but `claim` and `release` raise LeaseLost once the sync has ended or was claimed again.
    """

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        """Take the leases of up to `limit` claimable syncs, of other platforms than these."""
        ...

    async def renew(self, lease: Lease) -> None: ...

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        """Renew the lease and return where the sync stands: for use after a write whose outcome is unknown."""
        ...

    async def release(self, lease: Lease) -> None:
        """Make the sync claimable at once; does nothing if the lease is lost."""
        ...

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        """Store what the header says about the shop and the pass.

        A currency other than the stored one, or `restart`, turns the pass into a full one from the beginning, and
        resets the shop's watermarks.
        """
        ...

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Store why the sync waits."""
        ...

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Store why the sync waits before another attempt, and reset the attempt.

        A replica that dies after this is not counted as a claim without progress.
        """
        ...

    async def end(
        self,
        lease: Lease,
        state: SyncState,
        error: SyncError | None = None,
        *,
        notes: Sequence[str] = (),
        blocked: BlockedDeletion | None = None,
    ) -> Sync:
        """End the sync, with these notes after those of its header. Ending twice by one epoch is ending once.

        With `blocked`, the deletion because of which the sync failed, the shop's next sync is a full one, which
        may agree with it. Any other sync that has read products is no pass that agrees.
        """
        ...


class Batches(Protocol):
    """Stores batches, each exactly once."""

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        """Store the batch and its checkpoint in one transaction.

        Returns:
            The lease for the next batch, and the sync after this one.

        Raises:
            LeaseLost: the sync has ended or was claimed again.
            MassDeleteBlocked: the deletion guard stopped the batch; nothing was stored.
        """
        ...


class Sweeps(Protocol):
    """Compares the products that a complete pass listed with those that are stored."""

    async def missing(self, lease: Lease, *, after: str, limit: int) -> list[MissingProduct]:
        """Return stored products that the pass did not list, with ids above `after`, ordered by id."""
        ...

    async def unstored(self, lease: Lease, *, after: str, limit: int) -> list[str]:
        """Return ids that the pass listed and that are not stored or stored as deleted, above `after`, in order.

        Ids of products that were rejected, in this sync or in one that it resumed, are left out.
        """
        ...

    async def live_items(self, lease: Lease) -> int:
        """Return how many items of the shop are stored and not deleted."""
        ...

    async def agrees(self, lease: Lease, deletion: BlockedDeletion) -> bool:
        """Return whether the full pass before this one was stopped with the same deletion."""
        ...

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        """Mark some of the products that the pass did not list as deleted.

        Returns:
            The lease for the next write, and the sync after this one; None: nothing was left to mark.

        Raises:
            LeaseLost: the sync has ended or was claimed again.
        """
        ...

    async def finalize(self, lease: Lease) -> None:
        """Delete the ids that the pass listed, and update the planner's statistics if the shop has grown."""
        ...


class ProductSource(Protocol):
    """Reads products from a platform."""

    def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        """Read one pass, or products by id.

        Yields:
            A SourceHeader, then SourceBatch and Waiting in any order, then a SourceEnd. Without a SourceEnd the
            stream has broken off.

        Raises:
            SourceFailed: the pass cannot go on; its `transient` says whether a retry may help.
        """
        ...


class Platforms(Protocol):
    """The platforms that the connector supports."""

    async def find(self, name: str) -> PlatformInfo | None:
        """Return the platform; None if it is not supported. Raises ConnectorUnavailable."""
        ...

    async def names(self) -> list[str]:
        """Return the names of all supported platforms. Raises ConnectorUnavailable."""
        ...


class PurgeableRecords(Protocol):
    """Records that a retention policy deletes.

    Each `purge_...` deletes a bounded number of rows and returns how many; 0: none is left.
    """

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend the right to purge, for `ttl`; return whether this replica has it, and no other one."""
        ...

    async def create_partitions(self) -> None:
        """Create the partitions of the coming months."""
        ...

    async def drop_partitions(self, *, older_than: timedelta) -> int:
        """Drop the partitions all of whose syncs ended longer ago; return how many."""
        ...

    async def purge_unpartitioned(self, *, older_than: timedelta) -> int:
        """Delete old syncs and issues that are in no partition of their own month."""
        ...

    async def purge_requests(self, *, older_than: timedelta) -> int: ...

    async def purge_deletions(self, *, older_than: timedelta) -> int:
        """Delete the reports of deletions of shops that ended longer ago."""
        ...

    async def purge_seen(self) -> int:
        """Delete the product ids that were listed by passes which cannot be resumed any more."""
        ...

    async def purge_deleted(self, *, older_than: timedelta) -> int:
        """Delete items and products that the platforms deleted longer ago."""
        ...


class SyncMetrics(Protocol):
    """Counts what happens to the syncs of this replica."""

    def run_started(self, claimed: ClaimedSync) -> None: ...

    def run_ended(self, claimed: ClaimedSync) -> None:
        """Count the end of a run, for whatever reason, and with it of its wait."""
        ...

    def wait_started(self, lease: Lease, platform: str, reason: WaitReason) -> None:
        """Count a wait of a run; it replaces the wait that the run was in."""
        ...

    def wait_ended(self, lease: Lease) -> None:
        """Count the end of the run's wait, if it was in one."""
        ...

    def batch_stored(self, platform: str, batch: SourceBatch, seconds: float) -> None:
        """Count a committed batch.

        Args:
            platform: The name of the shop's platform.
            batch: The batch.
            seconds: From the call that stores it to its commit, retries included.
        """
        ...

    def sync_ended(self, sync: Sync) -> None:
        """Count a sync that this replica has ended."""
        ...

    def lease_lost(self) -> None:
        """Count a write that was refused since the sync has ended or was claimed again."""

    def database_failed(self) -> None:
        """Count an operation that was given up because the database was unavailable."""
