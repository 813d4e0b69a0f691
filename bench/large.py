"""A large shop that is being synced all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_cli.client import CatalogClient

from bench.measure import BenchFailed
from bench.stores import ServedShop


class LargeShop:
    """Its first load, and after that, when it ends too soon, one sync after the other."""

    def __init__(self, client: CatalogClient, shop: ServedShop) -> None:
        self._client = client
        self._shop = shop
        self._ended_items = 0
        self._items = 0
        self._moving = asyncio.Event()
        self.ended_syncs = 0

    @property
    def items(self) -> int:
        """Read by all of its syncs so far."""
        return self._ended_items + self._items

    async def moving(self) -> None:
        """When its first items are stored."""
        await self._moving.wait()

    async def run(self) -> None:
        """Until it is cancelled. Raises BenchFailed when a sync does not succeed."""
        while True:
            await self._sync()

    async def _sync(self) -> None:
        sync = await self._client.start_sync(self._shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
        async with aclosing(self._client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
            async for snapshot in snapshots:
                sync = snapshot
                self._items = sync.progress.items.seen_count
                if self._items:
                    self._moving.set()
        if sync.state != Sync.STATE_SUCCEEDED or self._items != self._shop.items:
            state = Sync.State.Name(sync.state)
            raise BenchFailed(
                f"the large sync read {self._items:,} items and ended as {state}: {sync.error.message}"
            )
        self.ended_syncs += 1
        self._ended_items, self._items = self.items, 0


@asynccontextmanager
async def beside_large(client: CatalogClient, shop: ServedShop) -> AsyncIterator[LargeShop]:
    """The block runs while the shop is synced; raises what the syncs raised."""
    large = LargeShop(client, shop)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(large.run())
        await large.moving()
        yield large
        running.cancel()
