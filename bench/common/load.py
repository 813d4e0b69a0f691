"""Load on a running system: timed first loads of small shops, and a large shop that is synced all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import CatalogClient
from google.protobuf.timestamp_pb2 import Timestamp

from bench.common.measure import BenchFailed, check_succeeded
from bench.common.store import ServedShop

_FIRST_ITEMS_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncTimes:
    """When a sync began and ended, in seconds after the call of StartSync."""

    start: float
    """Its `start_time`: when a replica claimed it."""
    end: float
    """Its `end_time`."""


async def first_load(client: CatalogClient, shop: ServedShop) -> SyncTimes:
    """Sync a shop that is not stored yet. Raise BenchFailed unless the first attempt stored all of it."""
    # PostgreSQL's clock sets the times of a sync; it is the clock of this machine.
    called = time.time()
    sync = await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
    check_succeeded(shop, sync)
    created = sync.progress.items.created_count
    if created != shop.items:
        raise BenchFailed(f"{created:,} items of {shop.name} were created, not {shop.items:,}")
    return SyncTimes(start=_unix_seconds(sync.start_time) - called, end=_unix_seconds(sync.end_time) - called)


async def first_loads(client: CatalogClient, shops: Sequence[ServedShop]) -> list[SyncTimes]:
    """Sync all shops at once, see `first_load`."""
    return await asyncio.gather(*(first_load(client, shop) for shop in shops))


async def start_running_sync(client: CatalogClient, shop: ServedShop) -> Sync:
    """Start a full sync, and return its first snapshot with stored items. Raise BenchFailed if it ends before."""
    sync = await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with (
        asyncio.timeout(_FIRST_ITEMS_TIMEOUT_SECONDS),
        aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots,
    ):
        async for snapshot in snapshots:
            if snapshot.progress.items.seen_count:
                return snapshot
    raise BenchFailed(f"the sync of {shop.name} stored nothing")


class BackgroundLoad:
    """A large shop that is synced all the time: first load, then one full sync after the other."""

    def __init__(self, client: CatalogClient, shop: ServedShop) -> None:
        self._client = client
        self._shop = shop
        self._items_of_ended_syncs = 0
        self._items_of_current_sync = 0
        self._first_items_stored = asyncio.Event()
        self.ended_syncs = 0

    @property
    def items(self) -> int:
        """Items read by all of its syncs so far."""
        return self._items_of_ended_syncs + self._items_of_current_sync

    async def wait_first_items(self) -> None:
        """Return once its first items are stored."""
        await self._first_items_stored.wait()

    async def run(self) -> None:
        """Sync until cancelled. Raise BenchFailed if a sync does not succeed."""
        while True:
            await self._sync()

    async def _sync(self) -> None:
        sync = await self._client.start_sync(self._shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
        async with aclosing(self._client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
            async for snapshot in snapshots:
                sync = snapshot
                self._items_of_current_sync = sync.progress.items.seen_count
                if self._items_of_current_sync:
                    self._first_items_stored.set()
        if sync.state != Sync.STATE_SUCCEEDED or self._items_of_current_sync != self._shop.items:
            state = Sync.State.Name(sync.state)
            raise BenchFailed(
                f"the large sync read {self._items_of_current_sync:,} items and ended as {state}: "
                f"{sync.error.message}"
            )
        self.ended_syncs += 1
        self._items_of_ended_syncs, self._items_of_current_sync = self.items, 0


@asynccontextmanager
async def background_load(client: CatalogClient, shop: ServedShop) -> AsyncIterator[BackgroundLoad]:
    """Sync the shop all the time while the context lasts. Raise what its syncs raise."""
    load = BackgroundLoad(client, shop)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(load.run())
        await load.wait_first_items()
        yield load
        task.cancel()


def _unix_seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9
