"""Reads what is stored: shops, their status, their schedules and their items."""

from __future__ import annotations

from contextlib import suppress

from catalog_svc.domain.errors import ItemNotFound, ShopNotFound, SourceFailed
from catalog_svc.domain.records import Item, ItemFilter, ItemPosition
from catalog_svc.domain.schedule import ScheduleDefaults, ShopSchedule
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.status import ShopStatus
from catalog_svc.usecases.ports import Items, Platforms, Schedules, Shops, Syncs
from catalog_svc.usecases.sync_commands import check_supported


class ReadCatalog:
    """Answers reads of the catalog from the stores."""

    def __init__(
        self,
        *,
        shops: Shops,
        syncs: Syncs,
        items: Items,
        schedules: Schedules,
        platforms: Platforms,
        defaults: ScheduleDefaults,
    ) -> None:
        self._shops = shops
        self._platforms = platforms
        self._syncs = syncs
        self._items = items
        self._schedules = schedules
        self._defaults = defaults

    async def shop(self, ref: ShopRef) -> Shop:
        """Return the registered shop.

        Raises:
            ShopNotFound: the shop is not registered.
            InvalidRequest: and it cannot be, since its platform or domain is not supported.
        """
        shop = await self._shops.find(ref)
        if shop is not None:
            return shop
        if isinstance(ref, ShopKey):
            # Without the connector nobody knows which platforms there are; that the shop is unknown is certain.
            with suppress(SourceFailed):
                await check_supported(self._platforms, ref)
        raise ShopNotFound(ref)

    async def status(self, ref: ShopRef) -> ShopStatus:
        """Return the shop with its counts, its latest syncs and its schedule, for a dashboard.

        Raises:
            ShopNotFound: the shop is not registered.
        """
        shop = await self.shop(ref)
        syncs = await self._syncs.latest(shop)
        planned = (await self._schedules.get(shop)).effective(self._defaults)
        return ShopStatus(
            shop=shop, counts=await self._items.counts(shop), syncs=syncs, schedule=syncs.schedule(planned)
        )

    async def schedule(self, ref: ShopRef) -> ShopSchedule:
        """Return the schedule in effect for the shop, without counting its items.

        Raises:
            ShopNotFound: the shop is not registered.
        """
        shop = await self.shop(ref)
        planned = (await self._schedules.get(shop)).effective(self._defaults)
        return (await self._syncs.latest(shop)).schedule(planned)

    async def item(self, ref: ShopRef, item_id: str) -> Item:
        """Return one item, deleted or not.

        Raises:
            ShopNotFound: the shop is not registered.
            ItemNotFound: the shop has no such item.
        """
        shop = await self.shop(ref)
        item = await self._items.get(shop, item_id)
        if item is None:
            raise ItemNotFound(shop.key, item_id)
        return item

    async def items(
        self, ref: ShopRef, which: ItemFilter, *, after: ItemPosition | None, limit: int
    ) -> list[Item]:
        """Return up to `limit` items above `after`, ordered by product id and item id.

        Raises:
            ShopNotFound: the shop is not registered.
        """
        return await self._items.page(await self.shop(ref), which, after=after, limit=limit)
