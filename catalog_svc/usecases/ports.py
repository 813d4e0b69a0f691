"""What the use cases need from the world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.records import Item, ItemFilter, ItemPosition, SyncIssue
from catalog_svc.domain.schedule import ScheduleChange, ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import PlatformInfo, Shop, ShopKey
from catalog_svc.domain.source import MissingProduct, SourceBatch, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.domain.status import CatalogCounts, LatestSyncs
from catalog_svc.domain.sync import ClaimedSync, Lease, StartedPass, StartSyncCommand, Sync, SyncError, SyncState


class Shops(Protocol):
    """Registered shops."""

    async def find(self, key: ShopKey) -> Shop | None:
        """None: never synced."""
        ...


class SyncCommands(Protocol):
    """Takes commands for syncs."""

    async def start(self, order: StartSyncCommand) -> Sync:
        """Raises SyncAlreadyRunning, RequestIdReused."""
        ...

    async def cancel(self, sync_id: UUID) -> Sync:
        """Raises SyncNotFound, SyncNotCancellable."""
        ...

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """Raises SyncNotFound, SyncNotResumable, SyncAlreadyRunning, RequestIdReused."""
        ...


class Schedules(Protocol):
    """How often shops are synced without being asked, and whose turn it is."""

    async def get(self, shop: Shop) -> StoredSchedule: ...

    async def change(self, shop: Shop, change: ScheduleChange, defaults: ScheduleDefaults) -> StoredSchedule:
        """The schedule after the change."""
        ...

    async def unplanned(self, defaults: ScheduleDefaults, *, limit: int) -> list[ScheduledShop]:
        """Shops whose turns do not fit what is in effect for them."""
        ...

    async def due(self, *, most_per_platform: int) -> list[ScheduledShop]:
        """Shops whose turn it is, the longest due first; of each platform so many, fewer while scheduled syncs of
        the same platform wait for a worker."""
        ...

    async def take(self, shop: Shop, *, hold: timedelta) -> bool:
        """Whether the caller, and nobody else, may start what is due; for so long, or until it is planned."""
        ...

    async def plan(self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule) -> None:
        """Sets the next turns, unless somebody did since `old` was read."""
        ...


class Syncs(Protocol):
    """Syncs as they are stored."""

    async def get(self, sync_id: UUID) -> Sync:
        """Raises SyncNotFound."""
        ...

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        """Those that exist, by one query."""
        ...

    async def revisions(self, sync_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """Return the revisions of those that exist, by one query."""
        ...

    async def checkpoint(self, sync_id: UUID) -> bytes:
        """Of its last stored batch; empty: none. Raises SyncNotFound."""
        ...

    async def latest(self, shop: Shop) -> LatestSyncs:
        """The shop's active and its last finished sync, both as of one moment."""
        ...

    async def page(
        self, *, shop: Shop | None, states: Sequence[SyncState], before: UUID | None, limit: int
    ) -> list[Sync]:
        """Newest first."""
        ...


class PlatformJobs(Protocol):
    """What platforms do for passes."""

    async def cancel_fetch(self, shop: ShopKey, checkpoint: bytes) -> bool:
        """Ends the job that the checkpoint names; whether there was one. Raises SourceFailed."""
        ...


class Issues(Protocol):
    """What syncs set aside."""

    async def page(self, sync_id: UUID, *, after: int, limit: int) -> list[SyncIssue]:
        """In order. Raises SyncNotFound."""
        ...


class Items(Protocol):
    """The stored catalog."""

    async def get(self, shop: Shop, item_id: str) -> Item | None: ...

    async def page(self, shop: Shop, which: ItemFilter, *, after: ItemPosition | None, limit: int) -> list[Item]:
        """By product id and item id."""
        ...

    async def counts(self, shop: Shop) -> CatalogCounts: ...


class Leases(Protocol):
    """The right to run a sync. All but `claim` raise LeaseLost once another epoch has begun."""

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        """Takes up to `limit` syncs that nobody holds."""
        ...

    async def renew(self, lease: Lease) -> None: ...

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        """Where the sync stands, after a write whose end was not heard."""
        ...

    async def release(self, lease: Lease) -> None: ...

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        """Keeps what the header tells.

        A currency other than the stored one, or `restart`, turns the pass into a full one from the beginning, and
        the shop into one that was never complete.
        """
        ...

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync: ...

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Waits for another attempt: nobody who dies now died of this one."""
        ...

    async def end(
        self, lease: Lease, state: SyncState, error: SyncError | None = None, *, notes: Sequence[str] = ()
    ) -> Sync:
        """Ends the sync, with these notes beside those of its header."""
        ...


class Runs(Protocol):
    """Runs of syncs."""

    async def run(self, claimed: ClaimedSync) -> None:
        """Returns when the sync has ended, is handed over or is no longer ours."""
        ...


class Batches(Protocol):
    """Stores batches, each exactly once."""

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        """The lease for the next batch and the sync after this one. Raises LeaseLost."""
        ...


class Sweeps(Protocol):
    """What a complete pass met, beside what is stored."""

    async def missing(self, lease: Lease, *, after: str, limit: int) -> list[MissingProduct]:
        """Stored products that the pass did not meet, by id, above `after`."""
        ...

    async def unstored(self, lease: Lease, *, after: str, limit: int) -> list[str]:
        """Ids that the pass met and that the catalog lacks or holds as deleted, in order, above `after`.

        Without those of products that the pass rejected, in this sync or in one that it resumed.
        """
        ...

    async def live_items(self, lease: Lease) -> int:
        """Items of the shop that are not deleted."""
        ...

    async def step(self, lease: Lease, shop: Shop) -> tuple[Lease, Sync | None]:
        """Marks some of the products that the pass did not meet as deleted; None: nothing was left to mark.

        Raises LeaseLost.
        """
        ...

    async def finalize(self, lease: Lease) -> None:
        """Drops what the pass remembered, and does what else a complete pass leaves to do."""
        ...


class ProductSource(Protocol):
    """Where products come from."""

    def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        """A header, batches and waits, an end. Raises SourceFailed; ends without SourceEnd when it broke off."""
        ...


class Platforms(Protocol):
    """Which platforms there are."""

    async def find(self, name: str) -> PlatformInfo | None:
        """None: not supported. Raises ConnectorUnavailable."""
        ...

    async def names(self) -> list[str]:
        """All of them. Raises ConnectorUnavailable."""
        ...


class PurgeableRecords(Protocol):
    """What nobody needs any more. Each `forget_...` drops a bounded number of rows; 0: nothing was left."""

    async def shops(self, *, after: UUID | None, limit: int) -> list[Shop]:
        """By shop id, above `after`."""
        ...

    async def purge_requests(self, shop: Shop, *, older_than: timedelta) -> int: ...

    async def purge_syncs(self, shop: Shop, *, older_than: timedelta, keep_latest: int) -> int: ...

    async def purge_seen(self, shop: Shop) -> int:
        """Ids that passes met which cannot be resumed any more."""
        ...

    async def purge_items(self, shop: Shop, *, older_than: timedelta) -> int: ...

    async def purge_products(self, shop: Shop, *, older_than: timedelta) -> int: ...
