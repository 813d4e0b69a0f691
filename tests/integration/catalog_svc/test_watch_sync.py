"""A follower sees the present at once, never goes back, may skip, and never misses the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.drain import ServerDraining
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import RevisionInFuture, SyncNotFound, TooManyWatchers
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.metrics import NullDeliveryMetrics
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits, WatchPacing
from catalog_svc.usecases.watch_sync import Snapshot, WatchSync
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.waiting import until, within_timeout

QUICK = WatchLimits(heartbeat_every=timedelta(milliseconds=100))
QUICKLY = WatchPacing(min_interval=timedelta(milliseconds=10))


class Follower:
    """A replica that only follows."""

    def __init__(self, world: CatalogWorld, *, limits: WatchLimits = QUICK, max_watchers: int = 10) -> None:
        self.hub = SyncHub(
            world.syncs,
            poll_interval=timedelta(milliseconds=20),
            limiter=WatcherLimiter(max_watchers=max_watchers),
            pacing=QUICKLY,
        )
        self.follow = WatchSync(
            hub=self.hub,
            drain=world.drain,
            metrics=NullDeliveryMetrics(),
            limits=limits,
        )
        self.shown: list[Snapshot] = []
        """What the last call of `all` was shown so far."""
        self._polling = asyncio.create_task(self.hub.run(world.drain))

    async def stop(self) -> None:
        self._polling.cancel()
        await asyncio.gather(self._polling, return_exceptions=True)

    async def all(self, *args: object) -> list[Snapshot]:
        self.shown = []
        async with aclosing(self.follow(*args)) as snapshots:  # type: ignore[arg-type]
            async for snapshot in snapshots:
                self.shown.append(snapshot)
            return self.shown


@pytest.fixture
async def follower(world: CatalogWorld) -> object:
    follower = Follower(world)
    yield follower
    await follower.stop()


async def run_slowly(world: CatalogWorld, source: MemorySource) -> None:
    claimed = await world.claim()
    source.batch_size = 1
    await world.supervisor(source, items_per_transaction=1).run(claimed)


async def test_a_follower_on_another_replica_sees_growing_revisions_and_the_end(
    world: CatalogWorld, follower: Follower
) -> None:
    created = await world.create_sync()
    following = asyncio.create_task(follower.all(created.sync_id, 0))
    await until(lambda: follower.shown)
    await run_slowly(world, MemorySource([product(str(n)) for n in range(30)]))
    snapshots = await within_timeout(following)
    news = [s.sync.revision for s in snapshots if not s.heartbeat]
    assert news == sorted(set(news))
    assert snapshots[0].sync.state is SyncState.PENDING
    assert snapshots[-1].sync.state is SyncState.SUCCEEDED
    assert not snapshots[-1].heartbeat


async def test_an_ended_sync_is_one_snapshot_even_for_those_who_saw_it(
    world: CatalogWorld, follower: Follower
) -> None:
    sync = await world.sync(MemorySource([product("1")]))
    for after in (0, sync.revision):
        (only,) = await follower.all(sync.sync_id, after)
        assert (only.sync.state, only.heartbeat) == (SyncState.SUCCEEDED, False)


async def test_a_quiet_sync_gives_heartbeats_with_the_same_revision(
    world: CatalogWorld, follower: Follower
) -> None:
    created = await world.create_sync()
    async with aclosing(follower.follow(created.sync_id, created.revision)) as snapshots:
        seen = [await anext(snapshots) for _ in range(3)]
    assert all(s.heartbeat for s in seen)
    assert {s.sync.revision for s in seen} == {created.revision}


async def test_a_slow_reader_skips_and_still_gets_the_end(world: CatalogWorld, follower: Follower) -> None:
    created = await world.create_sync()
    async with aclosing(follower.follow(created.sync_id, 0)) as snapshots:
        await anext(snapshots)
        await run_slowly(world, MemorySource([product(str(n)) for n in range(40)]))
        rest = [s async for s in snapshots]
    assert len(rest) <= 3
    assert rest[-1].sync.state is SyncState.SUCCEEDED


async def test_a_revision_that_never_was_is_refused(world: CatalogWorld, follower: Follower) -> None:
    created = await world.create_sync()
    with pytest.raises(RevisionInFuture):
        await follower.all(created.sync_id, created.revision + 1)


async def test_an_unknown_sync_is_not_found_and_leaves_nothing_behind(
    world: CatalogWorld, follower: Follower
) -> None:
    from uuid import uuid4

    for _ in range(20):
        with pytest.raises(SyncNotFound):
            await follower.all(uuid4(), 0)


async def test_more_followers_than_allowed_are_turned_away(world: CatalogWorld) -> None:
    follower = Follower(world, max_watchers=1)
    created = await world.create_sync()
    async with aclosing(follower.follow(created.sync_id, 0)) as first:
        await anext(first)
        with pytest.raises(TooManyWatchers):
            await follower.all(created.sync_id, 0)
    await follower.stop()


async def test_a_drain_ends_a_watch_at_once_with_a_reason_to_reconnect(world: CatalogWorld) -> None:
    hour = timedelta(hours=1)
    follower = Follower(world, limits=WatchLimits(heartbeat_every=hour, max_silence=hour))
    created = await world.create_sync()
    following = asyncio.create_task(follower.all(created.sync_id, 0))
    await until(lambda: follower.shown)
    world.drain.start()
    first, last = await within_timeout(following)
    assert first == Snapshot(created, heartbeat=False)
    assert last == Snapshot(created, heartbeat=True, reconnect=ReconnectReason.SERVER_DRAINING)
    # An error and no reason to reconnect at once: the client would call in a tight loop until the replica is gone.
    with pytest.raises(ServerDraining):
        await follower.all(created.sync_id, 0)
    await follower.stop()


async def test_a_watch_at_its_maximum_age_ends_with_a_reason_to_reconnect(engine: AsyncEngine) -> None:
    world = CatalogWorld(engine)
    limits = WatchLimits(heartbeat_every=timedelta(milliseconds=20), max_age=timedelta(milliseconds=50))
    follower = Follower(world, limits=limits)
    created = await world.create_sync()
    *before, last = await within_timeout(follower.all(created.sync_id, 0))
    assert {snapshot.reconnect for snapshot in before} == {None}
    assert last == Snapshot(created, heartbeat=True, reconnect=ReconnectReason.STREAM_EXPIRED)
    await follower.stop()


async def test_the_terminal_snapshot_of_an_old_watch_asks_nobody_to_reconnect(world: CatalogWorld) -> None:
    hour = timedelta(hours=1)
    follower = Follower(world, limits=WatchLimits(heartbeat_every=hour, max_silence=hour, max_age=timedelta()))
    created = await world.create_sync()
    following = asyncio.create_task(follower.all(created.sync_id, 0))
    await until(lambda: follower.shown)
    await world.commands.cancel(created.sync_id)
    last = (await within_timeout(following))[-1]
    assert (last.sync.state, last.reconnect) == (SyncState.CANCELLED, None)
    await follower.stop()


async def test_one_query_serves_all_followers_of_a_replica(world: CatalogWorld, engine: AsyncEngine) -> None:
    created = await world.create_sync()
    follower = Follower(world)
    calls: list[int] = []
    callers: set[asyncio.Task[Any] | None] = set()
    original = world.syncs.changed_revisions

    async def counted(known: Mapping[UUID, int]) -> dict[UUID, int | None]:
        calls.append(len(known))
        callers.add(asyncio.current_task())
        return await original(known)

    world.syncs.changed_revisions = counted  # type: ignore[method-assign]
    following = [asyncio.create_task(follower.all(created.sync_id, 0)) for _ in range(8)]
    await until(lambda: len(calls) > 5)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await follower.stop()
    assert set(calls) == {1}
    assert len(callers) == 1


async def test_followers_that_come_at_once_are_shown_the_same_object_of_one_read(world: CatalogWorld) -> None:
    follow = WatchSync(
        hub=SyncHub(world.syncs), drain=world.drain, metrics=NullDeliveryMetrics(), limits=WatchLimits()
    )
    created = await world.create_sync()
    reads: list[UUID] = []
    original = world.syncs.get

    async def counted(sync_id: UUID) -> Sync:
        reads.append(sync_id)
        return await original(sync_id)

    world.syncs.get = counted  # type: ignore[method-assign]
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(aclosing(follow(created.sync_id, 0))) for _ in range(300)]
        firsts = await asyncio.gather(*(anext(stream) for stream in streams))
    assert reads == [created.sync_id]
    assert len({id(snapshot.sync) for snapshot in firsts}) == 1


async def test_a_revision_that_another_replica_has_shown_already_is_looked_up(
    world: CatalogWorld, follower: Follower
) -> None:
    created = await world.create_sync()
    hub = SyncHub(world.syncs, poll_interval=timedelta(hours=1))
    follow = WatchSync(
        hub=hub,
        drain=world.drain,
        metrics=NullDeliveryMetrics(),
        limits=QUICK,
    )
    async with aclosing(follow(created.sync_id, 0)) as before:
        await anext(before)
        await run_slowly(world, MemorySource([product("1")]))
        ended = await world.syncs.get(created.sync_id)
        async with aclosing(follow(created.sync_id, ended.revision)) as later:
            assert (await anext(later)).sync == ended


async def test_a_row_that_this_version_cannot_decode_hides_no_other_sync_from_its_watchers(
    world: CatalogWorld, follower: Follower
) -> None:
    poisoned = await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"))
    created = await world.create_sync()
    async with aclosing(follower.follow(poisoned.sync_id, 0)) as stays:
        await anext(stays)
        # A newer release wrote something that this one does not know.
        await world.execute("UPDATE sync SET mode = 'WEBHOOK' WHERE sync_id = :id", id=poisoned.sync_id)
        watching = asyncio.create_task(follower.all(created.sync_id, 0))
        await world.execute(
            "UPDATE sync SET state = 'CANCELLED', ended_at = now(), revision = revision + 1 WHERE sync_id = :id",
            id=created.sync_id,
        )
        assert (await within_timeout(watching))[-1].sync.state is SyncState.CANCELLED
