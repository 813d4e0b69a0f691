"""Reads what is stored: shops, their status, their schedules and their items."""

from __future__ import annotations

from contextlib import suppress

from catalog_svc.domain.errors import ItemNotFound, ShopNotFound, SourceFailed
from catalog_svc.domain.records import Item, ItemFilter, ItemPosition
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopKey
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

    async def shop(self, key: ShopKey) -> Shop:
        """Return the registered shop.

        Raises:
            ShopNotFound: no sync of it was ever started.
            InvalidRequest: and none can be, since its platform or domain is not supported.
        """
        shop = await self._shops.find(key)
        if shop is not None:
            return shop
        # Without the connector nobody knows which platforms there are; that the shop is unknown is certain.
        with suppress(SourceFailed):
            await check_supported(self._platforms, key)
        raise ShopNotFound(key)

    async def status(self, key: ShopKey) -> ShopStatus:
        """Return the shop with its counts, its latest syncs and its schedule, for a dashboard.

        Raises:
            ShopNotFound: no sync of it was ever started.
        """
        return await self._statuses.get(await self.shop(key), self._defaults)

    async def item(self, key: ShopKey, item_id: str) -> Item:
        """Return one item, deleted or not.

        Raises:
            ShopNotFound: no sync of the shop was ever started.
            ItemNotFound: the shop has no such item.
        """
        item = await self._items.get(await self.shop(key), item_id)
        if item is None:
            raise ItemNotFound(key, item_id)
        return item

    async def items(
        self, key: ShopKey, which: ItemFilter, *, after: ItemPosition | None, limit: int
    ) -> list[Item]:
        """Return up to `limit` items above `after`, ordered by product id and item id.

        Raises:
            ShopNotFound: no sync of the shop was ever started.
        """
        return await self._items.page(await self.shop(key), which, after=after, limit=limit)
