"""One sync of one of many shops, from its order to its end.

A large shop that is being synced all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_cli.client import CatalogClient
from google.protobuf.timestamp_pb2 import Timestamp

from bench.common.measure import BenchFailed
from bench.common.store import ServedShop


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """When a sync began and ended, in seconds after StartSync was called."""

    start: float
    """A replica took it up: its `start_time`."""
    end: float
    """Its `end_time`."""


async def first_load(client: CatalogClient, shop: ServedShop) -> Followed:
    """Syncs a shop that is not stored yet. Raises BenchFailed unless all of it was stored at the first attempt."""
    # PostgreSQL's clock dates what happens to a sync, and it is this machine's.
    called = time.time()
    sync = await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async with aclosing(client.watch(sync.sync_id, after_revision=sync.revision)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
    _check(shop, sync)
    return Followed(start=_seconds(sync.start_time) - called, end=_seconds(sync.end_time) - called)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values that `percent` of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _check(shop: ServedShop, sync: Sync) -> None:
    if sync.state != Sync.STATE_SUCCEEDED:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    if sync.attempt_count != 1:
        raise BenchFailed(f"the sync of {shop.name} was taken up {sync.attempt_count} times")
    created = sync.progress.items.created_count
    if created != shop.items:
        raise BenchFailed(f"{created:,} items of {shop.name} were created, not {shop.items:,}")


def _seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9


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
