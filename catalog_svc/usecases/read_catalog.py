"""Reads what is stored: shops, their status, their schedules and their items."""

from __future__ import annotations

from contextlib import suppress

from catalog_svc.domain.errors import ItemNotFound, ShopNotFound, SourceFailed
from catalog_svc.domain.records import Item, ItemFilter, ItemPosition
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.status import ShopStatus
from catalog_svc.usecases.ports import Items, Platforms, Shops, Statuses
from catalog_svc.usecases.sync_commands import check_supported


class ReadCatalog:
    """Answers reads of the catalog from the stores."""

    def __init__(
        self,
        *,
        shops: Shops,
        items: Items,
        statuses: Statuses,
        platforms: Platforms,
        defaults: ScheduleDefaults,
    ) -> None:
        self._shops = shops
        self._platforms = platforms
        self._items = items
        self._statuses = statuses
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
        return await self._statuses.get(await self.shop(ref), self._defaults)

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
