"""The hub wakes followers of a changed shop, with one query for all of them, and of no other shop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import ShopNotFound, StorageUnavailable, TooManyWatchers
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.item_feed import FeedCursor, FeedPage
from catalog_svc.domain.shop import Shop
from catalog_svc.usecases.item_feed_hub import ItemFeedHub
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from tests.waiting import TIMEOUT_SECONDS, until, within_timeout

ONE, OTHER = new_shop_id(), new_shop_id()


class Positions:
    """The positions of shops; each query is counted."""

    def __init__(self) -> None:
        self.of = {ONE: 5, OTHER: 7}
        self.queries: list[set[UUID]] = []
        self.available = True

    async def heads(self, shop_ids: Collection[UUID]) -> Mapping[UUID, int]:
        self.queries.append(set(shop_ids))
        if not self.available:
            raise StorageUnavailable
        return {shop_id: self.of[shop_id] for shop_id in shop_ids if shop_id in self.of}

    async def page(self, shop: Shop, after: FeedCursor | None, *, limit: int) -> FeedPage:
        raise AssertionError("the hub reads no items")


@asynccontextmanager
async def running(hub: ItemFeedHub, drain: Drain | None = None) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run(drain or Drain()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quick_hub(positions: Positions, **options: object) -> ItemFeedHub:
    times = {"poll_interval": timedelta(milliseconds=10), "announced_interval": timedelta(milliseconds=1)}
    return ItemFeedHub(positions, **(times | options))  # type: ignore[arg-type]


async def test_all_followers_of_a_changed_shop_are_woken_and_those_of_others_are_not() -> None:
    positions = Positions()
    hub = quick_hub(positions)
    with hub.follow(ONE) as first, hub.follow(ONE) as second, hub.follow(OTHER) as third:
        changed = [asyncio.create_task(one.changed(5, timeout_seconds=TIMEOUT_SECONDS)) for one in (first, second)]
        idle = asyncio.create_task(third.changed(7, timeout_seconds=TIMEOUT_SECONDS))
        async with running(hub):
            await until(lambda: len(positions.queries) > 2)
            assert not any(task.done() for task in (*changed, idle))
            positions.of[ONE] = 6
            assert await within_timeout(asyncio.gather(*changed)) == [True, True]
            assert not idle.done()
            idle.cancel()


async def test_one_query_reads_the_positions_of_all_followed_shops() -> None:
    positions = Positions()
    hub = quick_hub(positions)
    with hub.follow(ONE), hub.follow(ONE), hub.follow(OTHER):
        async with running(hub):
            await until(lambda: len(positions.queries) > 2)
    assert all(query == {ONE, OTHER} for query in positions.queries)


async def test_a_shop_that_this_replica_has_changed_is_read_without_waiting_for_the_next_poll() -> None:
    positions = Positions()
    hub = quick_hub(positions, poll_interval=timedelta(hours=1))
    with hub.follow(ONE) as follower, hub.follow(OTHER):
        changed = asyncio.create_task(follower.changed(5, timeout_seconds=TIMEOUT_SECONDS))
        async with running(hub):
            await until(lambda: bool(positions.queries))
            positions.of[ONE] = 6
            hub.announce(ONE)
            assert await within_timeout(changed)
    assert positions.queries == [{ONE, OTHER}, {ONE}]


async def test_an_announcement_of_a_shop_without_followers_costs_no_query() -> None:
    positions = Positions()
    hub = quick_hub(positions)
    async with running(hub):
        hub.announce(ONE)
        with hub.follow(OTHER):
            await until(lambda: len(positions.queries) > 1)
    assert all(query == {OTHER} for query in positions.queries)


async def test_a_follower_that_has_read_more_than_a_poll_is_not_woken_by_it() -> None:
    """A poll that began earlier may end later. Its followers would read empty pages until the next poll."""
    positions = Positions()
    hub = quick_hub(positions)
    with hub.follow(ONE) as follower:
        follower.offer(9, read_at=float("inf"))
        async with running(hub):
            await until(lambda: len(positions.queries) > 2)
            assert not await follower.changed(9, timeout_seconds=0.01)


async def test_a_position_that_went_down_wakes_its_followers() -> None:
    """The database was restored: they must read, to learn that their position is expired."""
    positions = Positions()
    hub = quick_hub(positions)
    with hub.follow(ONE) as follower:
        follower.offer(5, read_at=float("-inf"))
        positions.of[ONE] = 4
        async with running(hub):
            assert await within_timeout(follower.changed(5, timeout_seconds=TIMEOUT_SECONDS))


async def test_followers_of_a_deleted_shop_are_told() -> None:
    positions = Positions()
    del positions.of[ONE]
    hub = quick_hub(positions)
    with hub.follow(ONE) as follower:
        async with running(hub):
            with pytest.raises(ShopNotFound):
                await within_timeout(follower.changed(5, timeout_seconds=TIMEOUT_SECONDS))


async def test_an_idle_follower_is_not_told_that_it_has_everything_while_the_database_cannot_be_read() -> None:
    positions = Positions()
    hub = quick_hub(positions, max_read_age=timedelta(0))
    with hub.follow(ONE) as follower:
        async with running(hub):
            await until(lambda: bool(positions.queries))
            positions.available = False
            queries = len(positions.queries)
            await until(lambda: len(positions.queries) > queries + 1)
            with pytest.raises(StorageUnavailable):
                await follower.changed(5, timeout_seconds=0.01)
            positions.available, positions.of[ONE] = True, 6
            assert await within_timeout(follower.changed(5, timeout_seconds=TIMEOUT_SECONDS))


async def test_the_drain_wakes_all_followers() -> None:
    drain, hub = Drain(), quick_hub(Positions())
    with hub.follow(ONE) as follower:
        waiting = asyncio.create_task(follower.changed(5, timeout_seconds=TIMEOUT_SECONDS))
        async with running(hub, drain):
            drain.start()
            assert not await within_timeout(waiting)
            assert not await follower.changed(5, timeout_seconds=TIMEOUT_SECONDS)


async def test_followers_count_as_watchers() -> None:
    limiter = WatcherLimiter(max_watchers=2, max_watchers_per_shop=1)
    hub = quick_hub(Positions(), limiter=limiter)
    with hub.follow(ONE), pytest.raises(TooManyWatchers), hub.follow(ONE):
        pass
    with hub.follow(ONE), hub.follow(OTHER), pytest.raises(TooManyWatchers), hub.follow(new_shop_id()):
        pass
    assert limiter.count == 0
