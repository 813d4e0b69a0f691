"""Reads what is stored: shops, their status, their products and their items."""

from __future__ import annotations

from contextlib import suppress

from catalog_svc.domain.catalog_reads import (
    Item,
    ItemCursor,
    ItemFilter,
    ItemPage,
    Product,
    ProductCursor,
    ProductFilter,
    ProductPage,
    check_incarnation,
    check_item_position,
    cut_item_page,
)
from catalog_svc.domain.errors import ItemNotFound, ProductNotFound, ShopNotFound, SourceFailed
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.status import ShopStatus
from catalog_svc.usecases.catalog_ports import Items, Products, Shops, Statuses
from catalog_svc.usecases.ports import Platforms
from catalog_svc.usecases.sync_commands import check_supported


class ReadCatalog:
    """Answers reads of the catalog from the stores."""

    def __init__(
        self,
        *,
        shops: Shops,
        items: Items,
        products: Products,
        statuses: Statuses,
        platforms: Platforms,
        defaults: ScheduleDefaults,
    ) -> None:
        self._shops = shops
        self._platforms = platforms
        self._items = items
        self._products = products
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
            # Without the connector the platforms are unknown; that the shop is unknown is certain.
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
        self, ref: ShopRef, which: ItemFilter, *, incarnation: str, after: ItemCursor | None, limit: int
    ) -> ItemPage:
        """Return a page of items.

        Args:
            ref: The shop.
            which: The filter. With a position the items are ordered by position and item id, else by product id
                and item id.
            incarnation: The incarnation of that position; empty if the client does not know it.
            after: Where the page before ended; None: from the beginning.
            limit: Maximum number of items.

        Raises:
            ShopNotFound: the shop is not registered.
            PositionExpired: the list would lack changes; the client must list again without a position.
            TextSearchUnavailable: the filter has a text, which the database cannot search.
        """
        shop = await self.shop(ref)
        feed, found = await self._items.page(shop, which, after=after, limit=limit + 1)
        if incarnation:
            check_incarnation(feed, incarnation)
        check_item_position(feed, which, after)
        return cut_item_page(found, feed, which, after, limit=limit)

    async def product(self, ref: ShopRef, product_id: str) -> Product:
        """Return one product with its items, deleted or not.

        Raises:
            ShopNotFound: the shop is not registered.
            ProductNotFound: the shop has no such product.
        """
        shop = await self.shop(ref)
        product = await self._products.get(shop, product_id)
        if product is None:
            raise ProductNotFound(shop.key, product_id)
        return product

    async def products(
        self, ref: ShopRef, which: ProductFilter, *, after: ProductCursor | None, limit: int
    ) -> ProductPage:
        """Return a page of products with their items, by product id.

        Args:
            ref: The shop.
            which: The filter.
            after: Where the page before ended; None: from the beginning.
            limit: Maximum number of products; there are fewer if they are large.

        Raises:
            ShopNotFound: the shop is not registered.
            PositionExpired: the shop was registered again since the page before.
            TextSearchUnavailable: the filter has a text, which the database cannot search.
        """
        shop = await self.shop(ref)
        last = after.product_id if after else ""
        feed, products, more = await self._products.page(shop, which, after=last, limit=limit)
        if after is not None:
            check_incarnation(feed, after.incarnation)
        return ProductPage(products=products, more=more, incarnation=feed.incarnation)
