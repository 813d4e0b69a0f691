"""The life of a shop: register, show, list, change and delete it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopChange, ShopDeletion, ShopField, ShopKey, ShopRef
from catalog_svc.domain.status import ANY_SHOP, ShopDetails, ShopFilter
from catalog_svc.domain.sync import CancelledSync
from catalog_svc.usecases.catalog_ports import ShopDeletions, ShopDirectory, Shops
from catalog_svc.usecases.ports import Platforms, SyncMetrics
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.sync_commands import check_not_deleting, check_supported, count_database_failures

_log = logging.getLogger(__name__)


class ManageShops:
    """Registers, shows, lists and changes shops."""

    def __init__(
        self,
        *,
        shops: Shops,
        directory: ShopDirectory,
        read_directory: ShopDirectory,
        platforms: Platforms,
        read: ReadCatalog,
        defaults: ScheduleDefaults,
        wake_backfill: Callable[[], None] = lambda: None,
    ) -> None:
        """Create the use cases.

        Args:
            shops: The registered shops.
            directory: Where shops are registered and changed.
            read_directory: Where shops are read for calls that change nothing.
            platforms: The platforms that the connector supports.
            read: Says why a shop is not found.
            defaults: The intervals of shops without their own.
            wake_backfill: Called when the analyzers of a shop have changed.
        """
        self._wake_backfill = wake_backfill
        self._shops = shops
        self._directory = directory
        self._read_directory = read_directory
        self._platforms = platforms
        self._read = read
        self._defaults = defaults

    async def register(self, key: ShopKey, *, merchant_id: str, display_name: str) -> ShopDetails:
        """Register the shop, or return it as it is if it is registered for this merchant.

        Args:
            key: The key of the shop.
            merchant_id: Its merchant; empty: none, or whatever a registered shop has.
            display_name: The caller's name of a new shop; empty: the platform's.

        Raises:
            InvalidRequest: no connector supports the platform or the domain.
            ConnectorUnavailable: the shop is new, and the connector that must check it does not answer.
            ShopAlreadyRegistered: the shop is registered, and not for this merchant.
            ShopBeingDeleted: the shop is being deleted.
        """
        if await self._shops.find(key) is None:
            await check_not_deleting(self._shops, key)
            await check_supported(self._platforms, key, field_prefix="")
        return await self._directory.register(
            key, merchant_id=merchant_id, caller_name=display_name, defaults=self._defaults
        )

    async def get(self, ref: ShopRef, *, same_store_of: ShopFilter = ANY_SHOP) -> ShopDetails:
        """Return the shop. Raises ShopNotFound.

        Args:
            ref: The shop.
            same_store_of: Other shops of the same store are named only if they have this merchant and this domain.
        """
        found = await self._read_directory.get(ref, self._defaults, same_store_of=same_store_of)
        if found is not None:
            return found
        await self._read.shop(ref)
        # It was registered this moment.
        raise ShopNotFound(ref)

    async def page(
        self, which: ShopFilter, *, after: UUID | None, limit: int, same_store_of: ShopFilter = ANY_SHOP
    ) -> list[ShopDetails]:
        """Return up to `limit` shops with ids above `after`, in order; None: from the first.

        Other shops of the same store are named as `get` names them.
        """
        return await self._read_directory.page(
            which, after=after, limit=limit, defaults=self._defaults, same_store_of=same_store_of
        )

    async def update(self, ref: ShopRef, change: ShopChange) -> ShopDetails:
        """Change the shop and return it.

        Raises:
            ShopNotFound: the shop is not registered.
            ShopBeingDeleted: the shop is being deleted.
        """
        shop = await self._shops.find(ref)
        if shop is None:
            await check_not_deleting(self._shops, ref)
            shop = await self._read.shop(ref)
        updated = await self._directory.update(shop, change, self._defaults)
        if ShopField.ANALYZERS in change.fields:
            self._wake_backfill()
        return updated


class DeleteShop:
    """Deletes a shop: marks it at once, and leaves its rows to the purge."""

    def __init__(
        self,
        *,
        shops: Shops,
        deletions: ShopDeletions,
        read: ReadCatalog,
        cancel_platform_job: Callable[[CancelledSync], None],
        wake_purge: Callable[[], None],
        metrics: SyncMetrics,
    ) -> None:
        """Create the use case.

        Args:
            shops: The registered shops.
            deletions: Where shops are marked.
            read: Says why a shop is not found.
            cancel_platform_job: Called with the sync that the deletion has cancelled.
            wake_purge: Called after a shop was marked.
            metrics: Where the cancelled sync and failures of the database are counted.
        """
        self._shops = shops
        self._deletions = deletions
        self._read = read
        self._cancel_platform_job = cancel_platform_job
        self._wake_purge = wake_purge
        self._metrics = metrics

    async def __call__(self, ref: ShopRef) -> ShopDeletion:
        """Begin the deletion, or return the one that has begun or ended, with its counts.

        The worker of an active sync stops within a second, and writes nothing from now on.

        Raises:
            ShopNotFound: there is neither the shop nor a deletion of it.
        """
        shop = await self._shops.find(ref)
        if shop is None:
            deletion = await self._deletions.find(ref)
            if deletion is not None:
                return deletion
            shop = await self._read.shop(ref)
        with count_database_failures(self._metrics):
            deletion, cancelled = await self._deletions.begin(shop)
        _log.info("shop marked for deletion", extra={"shop_id": str(shop.shop_id), "shop": str(shop.key)})
        if cancelled is not None:
            self._metrics.sync_ended(cancelled.sync)
            self._cancel_platform_job(cancelled)
        self._wake_purge()
        return deletion
