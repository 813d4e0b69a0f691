"""The hub reads the end of the change feed once for all followers, wakes those concerned, and stays small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.drain import Drain
from prometheus_client import CollectorRegistry

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedShop,
    ChangedSync,
    ChangeFeed,
    ChangeFilter,
    ChangeKind,
    ChangePage,
    ChangeRecord,
)
from catalog_svc.domain.errors import ChangePositionExpired, StorageUnavailable, TooManyWatchers
from catalog_svc.domain.ids import new_shop_id, sync_id_of
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.metrics import CatalogMetrics, NullDeliveryMetrics
from catalog_svc.usecases.change_hub import ChangeHub
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.watch_changes import ChangeMessage, WatchChanges
from catalog_svc.usecases.watch_items import FeedStreamLimits
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from tests.waiting import let_tasks_run, until, within_timeout

ONE = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "one.example"), merchant_id="acme")
TWO = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "two.example"), merchant_id="other")
ALL = ChangeFilter(kind=ChangeKind.SHOPS)
SYNCS = ChangeFilter(kind=ChangeKind.SYNCS)


class Feed:
    """A change feed in memory: each change is a transaction of its own. Reads are counted."""

    def __init__(self) -> None:
        self.records: list[ChangeRecord] = []
        self.state = ChangeFeed(incarnation=UUID(int=1), floor=0, last_xid=9, horizon=10)
        self.available = True
        self.reads = 0
        """Of events."""

    def change(self, shop: Shop, count: int = 1) -> None:
        """Change items of a shop in so many transactions."""
        for _ in range(count):
            position = len(self.records)
            self._add(ChangedShop(xid=self.state.horizon, shop=shop, feed_position=position, recorded_at=None))

    def change_sync(self, shop: Shop, number: int = 1) -> None:
        """Change the state of a sync."""
        sync_id = sync_id_of(shop.shop_id, number)
        self._add(ChangedSync(xid=self.state.horizon, shop=shop, sync_id=sync_id, sync=None))

    def delete(self, shop: Shop) -> None:
        """Delete a shop."""
        self._add(ChangedShop(xid=self.state.horizon, shop=shop, feed_position=0, recorded_at=None, deleted=True))

    def _add(self, record: ChangeRecord) -> None:
        self.records.append(record)
        self.state = replace(self.state, last_xid=self.state.horizon, horizon=self.state.horizon + 1)

    async def end(self) -> ChangeCursor:
        self._check()
        return self.state.end

    async def start(self) -> ChangeCursor:
        self._check()
        return self.state.end

    async def snapshot(self, after: ChangeCursor, *, limit: int, which: ChangeFilter) -> ChangePage:
        raise AssertionError("the followers of these tests begin at the end")

    async def events(self, after: ChangeCursor, *, limit: int, which: ChangeFilter | None = None) -> ChangePage:
        self.reads += 1
        self._check()
        self.state.check(after)
        newer = [record for record in self.records if record.xid >= after.xid]
        page = newer[:limit]
        caught_up = len(page) < limit
        cursor = self.state.end if caught_up else replace(self.state.end, xid=page[-1].xid + 1)
        found = [record for record in page if which is None or which.matches(record)]
        return ChangePage(records=found, begin=after, cursor=cursor, caught_up=caught_up, delay=self.state.delay)

    def _check(self) -> None:
        if not self.available:
            raise StorageUnavailable


class Replica:
    """The hub and the use case of a replica, with short times."""

    def __init__(self, feed: Feed, *, checkpoint_every: timedelta = timedelta(hours=1), **hub: Any) -> None:
        times = {"poll_interval": timedelta(milliseconds=10), "announced_interval": timedelta(milliseconds=1)}
        self._registry = CollectorRegistry()
        metrics = CatalogMetrics(self._registry)
        self.hub = ChangeHub(feed, metrics=metrics, **(times | hub))
        metrics.read_watchers_from(lambda: 0, changes=lambda: self.hub.follower_count)
        self.drain = Drain()
        limits = FeedStreamLimits(page_items=10, checkpoint_every=checkpoint_every)
        self.watch = WatchChanges(
            feeds=feed, hub=self.hub, drain=self.drain, metrics=NullDeliveryMetrics(), limits=limits
        )

    def metric(self, name: str) -> float | None:
        """Return the value of a metric."""
        return self._registry.get_sample_value(name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hub.run(self.drain))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Follower:
    """A client that reads all messages, and keeps them."""

    def __init__(self, replica: Replica, which: ChangeFilter, after: ChangeCursor | None = None) -> None:
        self.messages: list[ChangeMessage] = []
        self._task = asyncio.create_task(self._read(replica.watch, which, after))

    async def _read(self, watch: WatchChanges, which: ChangeFilter, after: ChangeCursor | None) -> None:
        async with aclosing(watch(which, after)) as messages:
            async for message in messages:
                self.messages.append(message)

    async def end(self) -> None:
        """Return when the stream has ended by itself."""
        await within_timeout(self._task)

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def records(self) -> list[ChangeRecord]:
        return [record for message in self.messages for record in message.page.records]


@asynccontextmanager
async def followers(replica: Replica, *filters: ChangeFilter) -> AsyncIterator[list[Follower]]:
    """Run followers that wait at the end of the feed."""
    started = [Follower(replica, which) for which in filters]
    async with replica.running():
        await until(lambda: all(one.messages for one in started))
        await until(lambda: replica.hub.end is not None and replica.hub.waiting_count == len(started))
        yield started
        for one in started:
            await one.cancel()


async def test_followers_get_the_records_that_match_their_filter() -> None:
    feed = Feed()
    filters = [
        ALL,
        SYNCS,
        replace(ALL, merchant_id="acme"),
        replace(ALL, domain="two.example"),
        replace(SYNCS, shop_id=ONE.shop_id),
        replace(ALL, domain="one.example", merchant_id="other"),
    ]
    async with followers(Replica(feed), *filters) as (everything, syncs, acme, two, syncs_of_one, nothing):
        feed.change(ONE)
        feed.change_sync(TWO)
        feed.change(TWO)
        feed.change_sync(ONE)
        feed.delete(TWO)
        one, sync_of_two, other, sync_of_one, deleted = feed.records
        await until(lambda: deleted in everything.records and deleted in two.records and deleted in syncs.records)
        await until(lambda: syncs_of_one.records and acme.records)
        assert everything.records == [one, other, deleted]
        assert syncs.records == [sync_of_two, sync_of_one, deleted]
        assert acme.records == [one]
        assert two.records == [other, deleted]
        assert syncs_of_one.records == [sync_of_one]
        assert nothing.records == []


async def test_a_thousand_followers_cost_as_many_reads_as_one() -> None:
    feed = Feed()
    replica = Replica(feed, poll_interval=timedelta(hours=1))
    async with followers(replica, *[ALL] * 1_000) as all_of_them:
        reads = feed.reads
        feed.change(ONE)
        replica.hub.announce()
        await until(lambda: all(one.records for one in all_of_them))
        assert feed.reads - reads == 1


async def test_the_metrics_show_followers_records_and_the_delay() -> None:
    feed = Feed()
    replica = Replica(feed)
    async with followers(replica, ALL, SYNCS) as (one, other):
        feed.change(ONE, count=3)
        feed.state = replace(feed.state, delay=timedelta(seconds=90))
        await until(lambda: replica.metric("catalog_change_delay_seconds") == 90)
        assert replica.metric("catalog_changes_read_total") == 3
        assert replica.metric("catalog_change_followers") == 2
        feed.state = replace(feed.state, delay=timedelta())
        await until(lambda: replica.metric("catalog_change_delay_seconds") == 0)
        feed.state = replace(feed.state, delay=timedelta(seconds=90))
        await until(lambda: replica.metric("catalog_change_delay_seconds") == 90)
        # Without followers nothing is read: the last delay would be shown for ever.
        await one.cancel()
        await other.cancel()
        await until(lambda: replica.metric("catalog_change_delay_seconds") == 0)
        assert replica.metric("catalog_change_followers") == 0


async def test_an_announced_change_is_read_without_waiting_for_the_next_poll() -> None:
    feed = Feed()
    replica = Replica(feed, poll_interval=timedelta(hours=1))
    async with followers(replica, ALL) as (one,):
        feed.change(ONE)
        await let_tasks_run()
        assert one.records == []
        replica.hub.announce()
        await until(lambda: one.records)


async def test_nothing_is_read_without_followers_and_nothing_is_missed_after_that() -> None:
    feed = Feed()
    replica = Replica(feed)
    async with followers(replica, ALL) as (one,):
        feed.change(ONE)
        await until(lambda: one.records)
        position = one.messages[-1].page.cursor
        await one.cancel()
        await until(lambda: replica.hub.end is None)
        reads = feed.reads
        feed.change(TWO, count=3)
        replica.hub.announce()
        await let_tasks_run()
        assert feed.reads == reads
        again = Follower(replica, ALL, after=position)
        await until(lambda: len(again.records) == 3)
        await again.cancel()


async def test_a_follower_that_does_not_read_holds_no_memory_and_misses_nothing() -> None:
    """The buffer has 20 records; the follower does not read while 200 are written."""
    feed = Feed()
    replica = Replica(feed, max_buffered=20, page_events=7)
    async with followers(replica, ALL) as (quick,), aclosing(replica.watch(ALL, None)) as slow:
        await anext(slow)
        waiting = asyncio.ensure_future(anext(slow))
        feed.change(ONE)
        first = await within_timeout(waiting)
        for _ in range(20):
            feed.change(TWO, count=10)
            await until(lambda: quick.records and quick.records[-1] is feed.records[-1])
            assert replica.hub.buffered_count <= 20
        assert quick.records == feed.records
        found = list(first.page.records)
        while len(found) < len(feed.records):
            message = await within_timeout(anext(slow))
            assert len(message.page.records) <= 10
            found += message.page.records
        assert found == feed.records


async def test_the_position_of_a_follower_grows_with_changes_that_do_not_concern_it() -> None:
    """Without a read of its own: what it would have to read again grows without bound otherwise."""
    feed = Feed()
    replica = Replica(feed, checkpoint_every=timedelta(milliseconds=30), max_buffered=5)
    which = replace(ALL, merchant_id="nobody")
    async with followers(replica, which) as (idle,):
        for _ in range(10):
            feed.change(ONE, count=10)
            await until(lambda: idle.messages[-1].page.cursor == feed.state.end)
        assert idle.records == []
        # Only the hub has read since the follower waits, and no page twice.
        assert feed.reads < 10 * 20


async def test_an_idle_follower_gets_checkpoints() -> None:
    feed = Feed()
    async with followers(Replica(feed, checkpoint_every=timedelta(milliseconds=10)), ALL) as (one,):
        await until(lambda: len(one.messages) > 3)
        assert all(message.page.caught_up for message in one.messages)


async def test_a_follower_learns_that_the_database_was_restored() -> None:
    feed = Feed()
    replica = Replica(feed)
    async with followers(replica, ALL) as (one,):
        feed.state = ChangeFeed(incarnation=UUID(int=2), floor=0, last_xid=4, horizon=5)
        with pytest.raises(ChangePositionExpired):
            await one.end()
        started = Follower(replica, ALL)
        await until(lambda: started.messages)
        feed.change(ONE)
        await until(lambda: started.records)
        await started.cancel()


async def test_an_idle_follower_does_not_wait_for_ever_while_the_database_cannot_be_read() -> None:
    feed = Feed()
    replica = Replica(feed, checkpoint_every=timedelta(milliseconds=30), max_read_age=timedelta(0))
    one = Follower(replica, ALL)
    async with replica.running():
        await until(lambda: one.messages)
        feed.available = False
        with pytest.raises(StorageUnavailable):
            await one.end()


async def test_the_drain_ends_streams_with_a_reason() -> None:
    feed = Feed()
    replica = Replica(feed)
    async with followers(replica, ALL, SYNCS) as both:
        replica.drain.start()
        for one in both:
            await one.end()
            assert [message.reconnect for message in one.messages] == [None, ReconnectReason.SERVER_DRAINING]


async def test_followers_count_as_watchers_and_those_of_one_shop_as_its_own() -> None:
    limiter = WatcherLimiter(max_watchers=2, max_watchers_per_shop=1)
    hub = Replica(Feed(), limiter=limiter).hub
    of_one = replace(SYNCS, shop_id=ONE.shop_id)
    with ExitStack() as stack:
        stack.enter_context(hub.follow(of_one))
        with pytest.raises(TooManyWatchers, match="the shop has"), hub.follow(of_one):
            pass
        stack.enter_context(hub.follow(ALL))
        with pytest.raises(TooManyWatchers, match="this server has"), hub.follow(ALL):
            pass
        assert (limiter.count, hub.follower_count) == (2, 2)
    assert (limiter.count, hub.follower_count) == (0, 0)
