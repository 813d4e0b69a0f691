"""Ports of shops and their stored catalogs: what the use cases need to manage, schedule, read and purge them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.catalog_reads import Feed, Item, ItemCursor, ItemFilter, Product, ProductFilter
from catalog_svc.domain.change_feed import ChangeCursor, ChangeFilter, ChangePage
from catalog_svc.domain.item_feed import FeedCursor, FeedPage
from catalog_svc.domain.records import SyncIssue
from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop, ShopChange, ShopDeletion, ShopKey, ShopRef
from catalog_svc.domain.status import ANY_SHOP, ShopDetails, ShopFilter, ShopStatus
from catalog_svc.domain.sync import (
    CancelledSync,
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

    async def get(
        self, ref: ShopRef, defaults: ScheduleDefaults, *, same_store_of: ShopFilter = ANY_SHOP
    ) -> ShopDetails | None:
        """Return the shop; None if it is not registered, or is being deleted.

        Other shops of the same store are named only if they have the merchant and the domain of `same_store_of`.
        """
        ...

    async def page(
        self,
        which: ShopFilter,
        *,
        after: UUID | None,
        limit: int,
        defaults: ScheduleDefaults,
        same_store_of: ShopFilter = ANY_SHOP,
    ) -> list[ShopDetails]:
        """Return up to `limit` shops with ids above `after`, in order; None: from the first. See `get`."""
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


class ItemFeeds(Protocol):
    """Feeds of items."""

    async def page(self, shop: Shop, after: FeedCursor | None, *, limit: int) -> FeedPage:
        """Return up to `limit` items of the feed after the cursor, as of one moment; None: from the beginning.

        Raises:
            ShopNotFound: the shop was deleted in the meantime.
            PositionExpired: changes after the cursor may have been purged, or it is of another history.
        """
        ...

    async def heads(self, shop_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """Return the position of the last change of each of these shops; without those that were deleted."""
        ...


class ChangeFeeds(Protocol):
    """The change feed of all shops."""

    async def end(self) -> ChangeCursor:
        """Return the cursor of a consumer that has read all events."""
        ...

    async def start(self) -> ChangeCursor:
        """Return the cursor of a consumer that has read nothing."""
        ...

    async def snapshot(self, after: ChangeCursor, *, limit: int, which: ChangeFilter) -> ChangePage:
        """Return up to `limit` records of the snapshot that the cursor is in."""
        ...

    async def events(self, after: ChangeCursor, *, limit: int, which: ChangeFilter | None = None) -> ChangePage:
        """Return the records of about `limit` events after the cursor; of whole transactions.

        Raises:
            ChangePositionExpired: events after the cursor may have been purged, or it is of another database.
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

    async def purge_changes(self, *, older_than: timedelta) -> int:
        """Delete change events that were written longer ago."""
        ...

    async def purge_workers(self, *, older_than: timedelta) -> int:
        """Delete the rows of workers that have leased no analysis tasks for `older_than`."""
        ...

    async def purge_seen(self) -> int:
        """Delete the product ids that were listed by passes which cannot be resumed any more."""
        ...

    async def purge_deleted(self, *, older_than: timedelta) -> int:
        """Delete items and products that the platforms deleted longer ago."""
        ...
