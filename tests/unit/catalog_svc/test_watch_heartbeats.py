"""A heartbeat proves a recent read: watchers are told when nothing can be read, and reads are shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import pytest
from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import StorageUnavailable, SyncNotFound
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.metrics import NullDeliveryMetrics
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits
from catalog_svc.usecases.watch_sync import Snapshot, WatchSync
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink, Outcome
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_state import State
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.skipping_loop import skipping

T = TypeVar("T")
SHOP = ShopKey("shopify", "demo.myshopify.com")


class BreakableLink(MemoryLink):
    """A connection to a database that becomes unavailable, and counts what it was asked."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        super().__init__(catalog)
        self.available = True
        self.seconds = 0.0
        """That each transaction takes."""
        self.transactions = 0
        self.last_read_at = float("-inf")
        """Event-loop time at which the last successful transaction began."""

    async def transaction(self, work: Callable[[State], T]) -> T:
        self.transactions += 1
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds)
        if not self.available:
            self.outcomes.append(Outcome.NOT_APPLIED)
        result = await super().transaction(work)
        self.last_read_at = began
        return result


@dataclass
class Replica:
    """A replica that follows; another one, which writes, has a connection of its own."""

    link: BreakableLink
    hub: SyncHub
    follow: WatchSync
    drain: Drain
    snapshots: list[Snapshot] = field(default_factory=list)

    async def watch(self, sync: Sync) -> None:
        async with aclosing(self.follow(sync.sync_id, 0)) as snapshots:
            async for snapshot in snapshots:
                self.snapshots.append(snapshot)


@asynccontextmanager
async def replica(catalog: MemoryCatalog) -> AsyncIterator[Replica]:
    link, drain = BreakableLink(catalog), Drain()
    syncs = MemorySyncs(link)
    hub = SyncHub(syncs)
    follow = WatchSync(
        hub=hub,
        drain=drain,
        metrics=NullDeliveryMetrics(),
        limits=WatchLimits(),
        monotonic=asyncio.get_running_loop().time,
    )
    polling = asyncio.create_task(hub.run(drain))
    try:
        yield Replica(link, hub, follow, drain)
    finally:
        drain.start()
        await polling


async def pending(catalog: MemoryCatalog) -> Sync:
    order = StartSyncCommand(shop=SHOP, mode=SyncMode.FULL, overlap=timedelta())
    return await MemorySyncCommands(MemoryLink(catalog)).start(order)


@skipping
async def test_watchers_are_told_when_the_feed_has_not_read_for_thirty_seconds() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    async with replica(catalog) as one:
        watching = asyncio.create_task(one.watch(sync))
        await asyncio.sleep(60)
        assert not watching.done()
        one.link.available = False
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailable):
            await watching
        ended = asyncio.get_running_loop().time()
        # The last read may be one poll interval older than the outage.
        assert ended - one.link.last_read_at > 30
        assert ended - began <= 41


@skipping
async def test_a_short_outage_ends_no_watch() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    async with replica(catalog) as one:
        watching = asyncio.create_task(one.watch(sync))
        await asyncio.sleep(60)
        one.link.available = False
        await asyncio.sleep(25)
        one.link.available = True
        await asyncio.sleep(60)
        assert not watching.done()
        await MemorySyncCommands(MemoryLink(catalog)).cancel(sync.sync_id)
        await watching
        assert one.snapshots[-1].sync.state is SyncState.CANCELLED


@skipping
async def test_watchers_of_a_sync_that_runs_on_this_replica_are_told_too() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    (claimed,) = await MemoryLeases(MemoryLink(catalog)).claim()
    async with replica(catalog) as one:
        with one.hub.subscribe(sync.sync_id, is_watcher=False):
            one.hub.publish(claimed.sync)
            watching = asyncio.create_task(one.watch(sync))
            await asyncio.sleep(5)
            one.link.available = False
            with pytest.raises(StorageUnavailable):
                await watching
            assert one.snapshots[0].sync == claimed.sync
            # Coming again during the outage shows no old snapshot either.
            with pytest.raises(StorageUnavailable):
                await one.watch(sync)
            one.link.available = True
            again = asyncio.create_task(one.watch(sync))
            await asyncio.sleep(1)
            assert not again.done()
            again.cancel()
            with suppress(asyncio.CancelledError):
                await again


@skipping
async def test_a_sync_that_is_deleted_with_its_shop_is_not_found_at_once_instead_of_an_endless_heartbeat() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    async with replica(catalog) as one:
        watching = asyncio.create_task(one.watch(sync))
        await asyncio.sleep(5)
        del catalog.state.syncs[sync.sync_id]
        deleted_at = asyncio.get_running_loop().time()
        with pytest.raises(SyncNotFound):
            await watching
        assert asyncio.get_running_loop().time() - deleted_at < 1
        with pytest.raises(SyncNotFound):
            await one.watch(sync)


@pytest.mark.parametrize("available", [True, False])
@skipping
async def test_many_who_come_at_once_share_one_read_whether_it_succeeds_or_fails(available: bool) -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    async with replica(catalog) as one:
        one.link.available, one.link.seconds = available, 2
        began, before = asyncio.get_running_loop().time(), one.link.transactions

        async def first() -> Snapshot | StorageUnavailable:
            async with aclosing(one.follow(sync.sync_id, 0)) as snapshots:
                try:
                    return await anext(snapshots)
                except StorageUnavailable as error:
                    return error

        answers = await asyncio.gather(*(first() for _ in range(100)))
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        # One for all of them, and the poll of the hub.
        assert one.link.transactions - before <= 2
        kind = Snapshot if available else StorageUnavailable
        assert all(isinstance(answer, kind) for answer in answers)


@skipping
async def test_a_follower_that_leaves_takes_the_shared_read_from_nobody() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    async with replica(catalog) as one:
        one.link.seconds = 2
        first, second = (asyncio.create_task(one.watch(sync)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(2)
        assert [snapshot.sync for snapshot in one.snapshots] == [sync]
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


@skipping
async def test_a_read_that_nobody_waits_for_any_more_is_cancelled() -> None:
    catalog = MemoryCatalog()
    async with replica(catalog) as one:
        one.link.seconds = 1_000
        with one.hub.subscribe(uuid4()) as subscription:
            reading = asyncio.create_task(subscription.current())
            await asyncio.sleep(1)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if "SyncHub._read" in repr(task.get_coro())]
        one.link.seconds = 0


@skipping
async def test_watches_that_began_at_once_do_not_all_expire_at_once() -> None:
    catalog = MemoryCatalog()
    sync = await pending(catalog)
    expired_at: list[float] = []

    async def watch(one: Replica) -> None:
        await one.watch(sync)
        assert one.snapshots[-1].reconnect is ReconnectReason.STREAM_EXPIRED
        expired_at.append(asyncio.get_running_loop().time())

    async with replica(catalog) as one:
        await asyncio.gather(*(watch(one) for _ in range(100)))
    first, last = min(expired_at), max(expired_at)
    assert 12 * 60 <= first <= 13.5 * 60
    assert 14 * 60 <= last <= 15.5 * 60
