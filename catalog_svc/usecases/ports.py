"""Ports of running syncs: what the use cases need from the database, the connector and the metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.schedule import ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import PlatformInfo, Shop, ShopKey
from catalog_svc.domain.source import MissingProduct, SourceBatch, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.domain.status import ANY_SHOP, LatestSyncs, ShopFilter
from catalog_svc.domain.sync import (
    BlockedDeletion,
    ClaimedSync,
    Lease,
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

    async def resume(
        self, sync_id: UUID, *, request_id: str, correlation_id: str, traceparent: str = "", principal: str = ""
    ) -> Sync:
        """Create a sync that continues from the checkpoint of an ended one.

        Raises:
            SyncNotFound: there is no such sync.
            SyncNotResumable: it has no checkpoint, or continuing from it would be wrong.
            SyncAlreadyRunning: the shop has an active sync.
            RequestIdReused: the request_id came before with other parameters.
        """
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
        self,
        *,
        shop: Shop | None,
        states: Sequence[SyncState],
        before: SyncPosition | None,
        limit: int,
        of: ShopFilter = ANY_SHOP,
    ) -> list[Sync]:
        """Return up to `limit` syncs older than `before`, newest first.

        Args:
            shop: None: syncs of all shops.
            states: Empty: syncs in any state.
            before: None: from the newest.
            limit: The most syncs to return.
            of: Without a shop: only syncs of shops with this merchant and this domain.
        """
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


class DeliveryMetrics(Protocol):
    """Counts what watchers get."""

    def event_delivered(self, stream: str, age: timedelta) -> None:
        """Count a change that a watcher gets.

        Args:
            stream: "sync" or "changes".
            age: Since the change was written.
        """
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

    def lease_renewed(self, lease: Lease) -> None:
        """Record that the lease of a run was extended now."""
        ...

    def lease_lost(self) -> None:
        """Count a write that was refused since the sync has ended or was claimed again."""

    def database_failed(self) -> None:
        """Count an operation that was given up because the database was unavailable."""
