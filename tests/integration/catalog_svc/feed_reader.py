"""Readers that mirror a shop, by ListItems and by the item feed, as docs/clients.md says, and a writer that
changes it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.catalog_reads import Item, ItemCursor, ItemFilter
from catalog_svc.domain.errors import PositionExpired
from catalog_svc.domain.item_feed import FeedPage
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch, StockLevel
from catalog_svc.domain.sync import Lease, SyncState
from catalog_svc.rpc.item_feed import decode_position, encode_position
from catalog_svc.source import decode
from catalog_svc.storage.database import Database
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.retention import RetentionStore
from tests.fakes.product_source import product
from tests.integration.catalog_svc.conftest import HEADER, SHOP, CatalogWorld

Step = Callable[[], Awaitable[None]]
PRODUCTS: Final = 12
"""Products of the shop, whose ids are numbers of two digits."""
_COMPARED: Final = tuple(name for name in Item._fields if name != "analysis")


class FeedReader:
    """Mirrors the items of a shop."""

    def __init__(self, world: CatalogWorld, *, page_size: int) -> None:
        self.items: dict[str, Item] = {}
        """The mirror, deleted items left out."""
        self.position = 0
        self.newest_seen = 0
        """The highest position of an item that was listed."""
        self.expired_count = 0
        self.page_count = 0
        self._incarnation = ""
        self._reader = world.reader()
        self._page_size = page_size

    async def read(self, between_pages: Step | None = None) -> None:
        """Read all changes since the last call; `between_pages` runs before each page but the first."""
        try:
            await self._read(between_pages)
        except PositionExpired:
            self.expired_count += 1
            self.position, self._incarnation = 0, ""
            await self.read(between_pages)

    async def _read(self, between_pages: Step | None) -> None:
        which = ItemFilter(after_position=self.position, include_deleted=self.position > 0)
        listed: set[str] = set()
        cursor: ItemCursor | None = None
        while True:
            page = await self._reader.items(
                SHOP, which, incarnation=self._incarnation, after=cursor, limit=self._page_size
            )
            self.page_count += 1
            for item in page.items:
                self._apply(item)
                listed.add(item.item_id)
            if page.next is None:
                break
            cursor = page.next
            if between_pages is not None:
                await between_pages()
        if which.after_position == 0:
            self.items = {item_id: item for item_id, item in self.items.items() if item_id in listed}
        assert page.position is not None
        self.position, self._incarnation = page.position, str(page.incarnation)

    def _apply(self, item: Item) -> None:
        self.newest_seen = max(self.newest_seen, item.feed_position)
        if item.deleted_at is None:
            self.items[item.item_id] = item
        else:
            self.items.pop(item.item_id, None)


class FeedConsumer:
    """Mirrors the items of a shop by the item feed. It keeps with each page what a consumer stores in one
    transaction."""

    def __init__(self, world: CatalogWorld, *, page_size: int) -> None:
        self.items: dict[str, Item] = {}
        """The mirror, deleted items left out."""
        self.position = ""
        self.expired_count = 0
        self._snapshot_ids: set[str] | None = set()
        """Ids that the snapshot contained so far; None: the consumer has caught up since it began."""
        self._feeds = ItemFeedStore(Database(world.engine))
        self._shops = world.shops
        self._page_size = page_size

    async def read(self, between_pages: Step | None = None) -> None:
        """Read until the consumer has caught up; `between_pages` runs before each page but the first."""
        while True:
            try:
                page = await self.read_page()
            except PositionExpired:
                self.expired_count += 1
                self.position, self._snapshot_ids = "", set()
                continue
            self.store(page)
            if page.caught_up:
                return
            if between_pages is not None:
                await between_pages()

    async def read_page(self) -> FeedPage:
        """Return the page after the stored position. Raises PositionExpired."""
        shop = await self._shops.find(SHOP)
        assert shop is not None
        return await self._feeds.page(shop, decode_position(self.position), limit=self._page_size)

    def store(self, page: FeedPage) -> None:
        """Store a page and the position after it."""
        for item in page.items:
            if item.deleted_at is None:
                self.items[item.item_id] = item
            else:
                self.items.pop(item.item_id, None)
        if self._snapshot_ids is not None:
            self._snapshot_ids |= {item.item_id for item in page.items}
            if page.caught_up:
                kept = self._snapshot_ids
                self.items = {item_id: item for item_id, item in self.items.items() if item_id in kept}
                self._snapshot_ids = None
        self.position = encode_position(page.cursor)


class RandomWriter:
    """Changes a shop at random through the stores that syncs use, and purges its tombstones."""

    def __init__(self, world: CatalogWorld, chance: random.Random, *, steps: int, purges: bool) -> None:
        """Create a writer.

        Args:
            world: The stores.
            chance: Decides everything.
            steps: After so many changes the writer changes nothing any more.
            purges: Whether tombstones are purged, too.
        """
        self.steps = steps
        self._world = world
        self._chance = chance
        self._purges = purges
        self._retention = RetentionStore(Database(world.engine), owner=uuid4(), rows_per_purge=3)
        self._lease: Lease | None = None
        self._shop: Shop | None = None

    async def write(self) -> None:
        """Make up to three random changes."""
        for _ in range(min(self.steps, self._chance.randint(0, 3))):
            self.steps -= 1
            changes = (self._store_some, self._update_stock, self._delete_some, self._sweep, self.purge)
            weights = (8, 4, 3, 1, 2 if self._purges else 0)
            (change,) = self._chance.choices(changes, weights)
            await change()

    async def load(self) -> None:
        """Store all products."""
        await self.store(*map(self._product, range(PRODUCTS)))

    async def store(self, *products: pb.Product) -> None:
        """Store these products."""
        await self._apply(batch(products))

    async def delete(self, *product_ids: str) -> None:
        """Mark these products as deleted."""
        await self._apply(replace(batch([]), deleted_product_ids=product_ids))

    async def purge(self) -> None:
        """Purge some of the tombstones, however young they are."""
        await self._retention.purge_deleted(older_than=timedelta(0))

    async def _begin(self) -> Lease:
        if self._lease is None:
            await self._world.create_sync(SHOP, allow_mass_delete=True)
            claimed = await self._world.claim()
            await self._world.leases.begin(claimed.lease, HEADER)
            self._lease, self._shop = claimed.lease, claimed.sync.shop
        return self._lease

    async def _store_some(self) -> None:
        await self.store(*map(self._product, self._chance.sample(range(PRODUCTS), 3)))

    def _product(self, number: int) -> pb.Product:
        """Return a product whose title, prices and number of items are random; it may take an item of another."""
        found = product(
            f"{number:02}",
            items=self._chance.randint(1, 4),
            title=self._chance.choice(("Shirt", "Blouse")),
            price=self._chance.choice(("7.30", "9.00")),
        )
        if self._chance.random() < 0.2:
            found.variants[0].id = f"{self._chance.randrange(PRODUCTS):02}-1"
        return found

    async def _update_stock(self) -> None:
        levels = [
            StockLevel(
                item_id=f"{number:02}-{self._chance.randint(1, 3)}", stock_quantity=quantity, available=True
            )
            for number in self._chance.sample(range(PRODUCTS), 3)
            for quantity in (self._chance.randint(0, 1),)
        ]
        await self._apply(replace(batch([]), stock_levels=tuple(levels)))

    async def _delete_some(self) -> None:
        deleted = self._chance.sample(range(PRODUCTS), self._chance.randint(1, 4))
        await self.delete(*(f"{number:02}" for number in deleted))

    async def _sweep(self) -> None:
        """Delete what the pass did not contain, and begin another pass."""
        lease = await self._begin()
        assert self._shop is not None
        lease, marked = await self._world.sweeps.step(lease, self._shop)
        while marked is not None:
            lease, marked = await self._world.sweeps.step(lease, self._shop)
        await self._world.leases.end(lease, SyncState.CANCELLED)
        self._lease = None

    async def _apply(self, changes: SourceBatch) -> None:
        lease = await self._begin()
        assert self._shop is not None
        self._lease, _ = await self._world.batches.apply(
            lease, self._shop, changes, full=True, items_per_second=None
        )


def batch(products: Sequence[pb.Product]) -> SourceBatch:
    """Return a batch of these products."""
    return decode.batch(pb.ProductBatch(products=products, checkpoint=b"1"), currency_code="EUR")


async def stored_items(world: CatalogWorld) -> dict[str, dict[str, Any]]:
    """Return the items that are not deleted, by id: every column, and what clients see of their products."""
    rows = await world.rows("""
        SELECT item.*, product.title AS product_title, product.status AS product_status,
            product.url AS product_url, product.vendor, product.product_type
        FROM item JOIN product USING (shop_id, product_id) WHERE item.deleted_at IS NULL""")
    return {row["item_id"]: {name: _comparable(row[name]) for name in _COMPARED} for row in rows}


def mirrored_items(reader: FeedReader | FeedConsumer) -> dict[str, dict[str, Any]]:
    """Return the items of a mirror in the same form."""
    return {
        item.item_id: {name: _comparable(getattr(item, name)) for name in _COMPARED}
        for item in reader.items.values()
    }


def _comparable(value: object) -> object:
    return [list(pair) for pair in value] if isinstance(value, list | tuple) else value
