"""A consumer of the change feed, and transactions that stay open while others commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedShop,
    ChangedSync,
    ChangeFilter,
    ChangeRecord,
)
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import Lease, SyncState
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from tests.fakes.product_source import product
from tests.integration.catalog_svc.conftest import HEADER, CatalogWorld
from tests.integration.catalog_svc.feed_reader import batch
from tests.waiting import until_found

T = TypeVar("T")
TTL = timedelta(minutes=5)
"""Of leases."""


class ChangeReader:
    """Reads the change feed of all shops, and keeps what it has read."""

    def __init__(self, world: CatalogWorld, *, limit: int = 500, which: ChangeFilter | None = None) -> None:
        self.records: list[ChangeRecord] = []
        self.cursor: ChangeCursor | None = None
        """None: the reader has not begun."""
        self.delay = timedelta()
        self._world = world
        self._feeds = ChangeFeedStore(Database(world.engine))
        self._limit = limit
        self._which = which

    async def begin(self) -> None:
        """Begin at the end of the feed."""
        self.cursor = await self._feeds.end()

    async def read(self) -> None:
        """Read what can be read now."""
        caught_up = False
        while not caught_up:
            assert self.cursor is not None
            page = await self._feeds.events(self.cursor, limit=self._limit, which=self._which)
            self.records += page.records
            self.cursor, self.delay, caught_up = page.cursor, page.delay, page.caught_up

    async def read_all(self) -> None:
        """Read until every event that is committed now was read: other transactions of the server may be open."""
        (now,) = await self._world.rows("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS xid")

        async def passed() -> bool | None:
            (state,) = await self._world.rows("SELECT horizon FROM change_feed_state()")
            return True if state["horizon"] > now["xid"] else None

        await until_found(passed)
        await self.read()

    @property
    def positions(self) -> list[tuple[UUID, int]]:
        """The shops and positions of the changes of items, as they were read."""
        return [(one.shop.shop_id, one.feed_position) for one in self.records if isinstance(one, ChangedShop)]

    @property
    def states(self) -> list[tuple[UUID, SyncState | None]]:
        """The syncs and their states, as they were read."""
        return [
            (one.sync_id, one.sync.state if one.sync else None)
            for one in self.records
            if isinstance(one, ChangedSync)
        ]


class ShopWriter:
    """Stores batches of one shop, each with one product that changes."""

    def __init__(self, world: CatalogWorld, lease: Lease, shop: Shop) -> None:
        self.shop = shop
        self._world = world
        self._lease = lease
        self._price = 0

    @classmethod
    async def begin(cls, world: CatalogWorld, key: ShopKey) -> ShopWriter:
        """Start a sync of the shop; no other one may be pending."""
        await world.create_sync(key)
        claimed = await world.claim()
        started = await world.leases.begin(claimed.lease, HEADER)
        return cls(world, claimed.lease, started.sync.shop)

    async def store(self, batches: BatchStore | None = None) -> None:
        """Store a batch, by the store given or that of the world."""
        changed = batch([product("1", price=f"{self._price + 1}.00")])
        store = batches or self._world.batches
        self._lease, _ = await store.apply(self._lease, self.shop, changed, full=True, items_per_second=None)
        self._price += 1

    async def end(self) -> None:
        """End the sync."""
        await self._world.leases.end(self._lease, SyncState.CANCELLED)


class RolledBack(Exception):
    """A test has rolled a transaction back."""


class HeldDatabase(Database):
    """A database whose writes stay open, all done but the commit, until `release` is set."""

    def __init__(self, engine: AsyncEngine, *, roll_back: bool = False) -> None:
        super().__init__(engine)
        self.held = asyncio.Event()
        """Set when a write is done but for its end."""
        self.release = asyncio.Event()
        self._roll_back = roll_back

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()) -> T:
        async def hold(connection: AsyncConnection) -> T:
            result = await work(connection)
            self.held.set()
            await self.release.wait()
            if self._roll_back:
                raise RolledBack
            return result

        return await super().write(hold, shops=shops)


@asynccontextmanager
async def open_transaction(engine: AsyncEngine) -> AsyncIterator[None]:
    """Keep a transaction open that has an id, as one that writes."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_current_xact_id()"))
        yield
