"""Who follows gets the newest, soon if it stands, seldom if it is replaced at once, and the end at once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from catalog_svc.domain.progress import Progress
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.rpc.snapshots import SnapshotMessages
from catalog_svc.usecases.audience import Audience
from catalog_svc.usecases.sync_hub import Subscription, SyncFeed
from catalog_svc.usecases.watch_sync import Snapshot, WatchLimits
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.skipping_loop import skipping

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def running(revision: int, state: SyncState = SyncState.RUNNING) -> Sync:
    shop = Shop(key=ShopKey("shopify", "demo.myshopify.com"), shop_id=uuid4(), merchant_id=uuid4())
    return Sync(
        sync_id=uuid4(),
        shop=shop,
        state=state,
        mode=SyncMode.FULL,
        trigger=SyncTrigger.REQUEST,
        revision=revision,
        progress=Progress(),
        created_at=NOW,
        updated_at=NOW,
    )


@dataclass
class Crowd:
    """Followers of one sync, of which each looks again as soon as it was shown something."""

    feed: SyncFeed
    sync: Sync
    shows: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    """By follower: when, and which revision."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def join(self, followers: int) -> None:
        for _ in range(followers):
            self.tasks.append(asyncio.create_task(self._follow(len(self.tasks))))

    def beside(self, followers: int) -> Crowd:
        """Of another sync on the same replica."""
        other = Crowd(self.feed, running(1))
        other.feed.publish(other.sync)
        other.join(followers)
        return other

    async def _follow(self, number: int) -> None:
        with self.feed.follow(self.sync.sync_id) as subscription:
            while not self.sync.state.ended:
                sync = await subscription.newer_than(self._seen_by(number), within=1_000)
                assert sync is not None
                self.shows[number].append((now(), sync.revision))
                if sync.state.ended:
                    return

    def _seen_by(self, number: int) -> int:
        return self.shows[number][-1][1] if self.shows[number] else 1

    def publish(self, state: SyncState = SyncState.RUNNING) -> None:
        self.sync = replace(self.sync, revision=self.sync.revision + 1, state=state)
        self.feed.publish(self.sync)

    async def work(self, seconds: float, *, every: float) -> None:
        """News, as often as that."""
        end = now() + seconds
        while now() < end:
            self.publish()
            await asyncio.sleep(every)

    def moments(self) -> list[float]:
        """Of all shows."""
        return sorted(at for shows in self.shows.values() for at, _ in shows)

    def longest_pause(self) -> float:
        """Of one follower between two shows."""
        return max(
            later - earlier for shows in self.shows.values() for (earlier, _), (later, _) in pairwise(shows)
        )


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def crowd(followers: int) -> AsyncIterator[Crowd]:
    """Followers that know revision 1."""
    feed = SyncFeed(MemorySyncs(MemoryLink(MemoryCatalog())), max_followers=20_000)
    many = Crowd(feed, running(1)).beside(followers)
    await asyncio.sleep(1)
    yield many
    for task in many.tasks:
        task.cancel()
    await asyncio.gather(*many.tasks, return_exceptions=True)


@skipping
async def test_a_few_are_shown_the_newest_four_times_a_second() -> None:
    async with crowd(20) as few:
        began = now()
        await few.work(5, every=0.05)
        for shows in few.shows.values():
            assert shows[0] == (began, 2)
            assert 18 <= len(shows) <= 21
            assert all(later - earlier >= 0.25 for (earlier, _), (later, _) in pairwise(shows))
            assert all((at - began) // 0.05 - 1 <= revision - 2 for at, revision in shows)


@pytest.mark.parametrize(("followers", "interval"), [(62, 0.25), (1_000, 4.0), (5_000, 20.0), (10_000, 20.0)])
@skipping
async def test_news_that_are_replaced_at_once_are_shown_to_many_at_an_even_rate(
    followers: int, interval: float
) -> None:
    async with crowd(followers) as many:
        began = now()
        await many.work(2.5 * interval, every=0.04)
        in_each_second = Counter(int(at - began) for at in many.moments())
        at_most = max(250, followers / 20) * 1.05 + 63
        assert all(count <= at_most for count in in_each_second.values())
        assert len(many.shows) == followers
        assert many.longest_pause() <= interval + 0.1


@skipping
async def test_news_that_stand_are_soon_with_all() -> None:
    async with crowd(5_000) as many:
        began = now()
        await many.work(0.01, every=0.01)
        await asyncio.sleep(1)
        assert len(many.shows) == 5_000
        assert many.moments()[-1] - began < 1


@skipping
async def test_the_end_is_shown_to_all_at_once_and_other_work_comes_in_between() -> None:
    async with crowd(5_000) as many:
        await many.work(1, every=0.04)
        known_by: list[int] = []
        ended_at = now()
        many.publish(SyncState.SUCCEEDED)
        while not known_by or known_by[-1] < 5_000:
            known_by.append(sum(task.done() for task in many.tasks))
            await asyncio.sleep(0)
        assert many.moments()[-1] == ended_at
        assert all(later - earlier <= 50 for earlier, later in pairwise(known_by))


@skipping
async def test_news_of_one_sync_do_not_wait_for_the_followers_of_another() -> None:
    async with crowd(5_000) as many:
        few = many.beside(10)
        working = asyncio.create_task(many.work(4, every=0.04))
        await asyncio.sleep(3)
        began = now()
        few.publish()
        await asyncio.sleep(0.5)
        assert len(few.moments()) == 10
        assert few.moments()[-1] - began < 0.1
        await working


def test_heartbeats_of_thousands_come_less_often_and_still_within_the_30_seconds_of_the_contract() -> None:
    limits = WatchLimits()
    assert [limits.silence(followers) for followers in (1, 3_000, 5_000, 10_000)] == [10, 10, 5_000 / 300, 25]


@skipping
async def test_those_who_left_cost_nobody_a_turn() -> None:
    async with crowd(1_000) as many:
        for task in many.tasks[:950]:
            task.cancel()
        began = now()
        many.publish()
        await asyncio.sleep(0.2)
        assert len(many.moments()) == 50
        assert many.moments()[-1] == began


@dataclass
class Slow:
    """A follower that looks when the test says so."""

    feed: SyncFeed
    subscription: Subscription
    revision: int = 1

    async def looks(self, within: float) -> int | None:
        sync = await self.subscription.newer_than(self.revision, within=within)
        self.revision = sync.revision if sync else self.revision
        return sync.revision if sync else None


@contextmanager
def slow(feed: SyncFeed, sync_id: UUID) -> Iterator[Slow]:
    with feed.follow(sync_id) as subscription:
        yield Slow(feed, subscription)


@skipping
async def test_among_few_the_news_of_one_sync_wait_for_no_round_of_another() -> None:
    async with crowd(1) as busy:
        other = busy.beside(1)
        working = asyncio.create_task(busy.work(2, every=0.04))
        await asyncio.sleep(1.01)
        began = now()
        other.publish()
        await working
        assert other.moments() == [began]


@skipping
async def test_who_leaves_in_the_moment_of_its_turn_takes_it_from_nobody() -> None:
    audience = Audience()
    tasks = [asyncio.create_task(audience.wait(behind=True, shown_at=0)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert audience.show(2, not_since=0) == 2
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [True, False, False]


@skipping
async def test_who_was_away_when_news_came_is_shown_them_on_return() -> None:
    async with crowd(3) as others:
        with slow(others.feed, others.sync.sync_id) as one:
            others.publish()
            assert await one.looks(within=1) == 2
            others.publish()
            await asyncio.sleep(2)
            others.publish()
            await asyncio.sleep(2)
            assert await one.looks(within=1) == 4
            assert await one.looks(within=1) is None


@skipping
async def test_whose_patience_ends_before_its_turn_is_shown_the_news_instead_of_none() -> None:
    async with crowd(3) as others:
        with slow(others.feed, others.sync.sync_id) as one:
            others.publish()
            assert await one.looks(within=1) == 2
            others.publish()
            assert await one.looks(within=0.1) == 3


@skipping
async def test_the_first_change_after_a_follower_has_come_is_shown_at_once() -> None:
    link = MemoryLink(MemoryCatalog())
    shop = ShopKey("shopify", "demo.myshopify.com")
    first = await MemorySyncCommands(link).start(
        StartSyncCommand(shop=shop, mode=SyncMode.FULL, overlap=timedelta())
    )
    with slow(SyncFeed(MemorySyncs(link)), first.sync_id) as one:
        assert await one.subscription.current() == first
        one.revision = first.revision
        one.feed.publish(replace(first, revision=first.revision + 1))
        came = now()
        assert await one.looks(within=1) == first.revision + 1
        assert now() == came


@skipping
async def test_what_is_older_than_what_is_known_is_not_shown() -> None:
    async with crowd(1) as other:
        other.publish()
        other.publish()
        with slow(other.feed, other.sync.sync_id) as one:
            assert await one.looks(within=1) == 3
            other.feed.publish(replace(other.sync, revision=2))
            assert await one.looks(within=1) is None
            with other.feed.follow(other.sync.sync_id) as newcomer:
                assert (await newcomer.current()).revision == 3


@skipping
async def test_nothing_is_left_to_be_shown_when_the_last_follower_leaves() -> None:
    async with crowd(1) as other:
        other.publish()
    with slow(other.feed, other.sync.sync_id) as one:
        assert await one.looks(within=1) is None


def test_a_message_is_made_once_for_all_watchers_and_anew_for_what_is_newer() -> None:
    messages, first = SnapshotMessages(), running(1)
    message = messages.of(Snapshot(first, heartbeat=False))
    assert messages.of(Snapshot(first, heartbeat=False)) is message
    assert message.sync.revision == 1
    assert messages.of(Snapshot(first, heartbeat=True)).heartbeat
    assert messages.of(Snapshot(first, heartbeat=False)) is message
    newer = messages.of(Snapshot(replace(first, revision=2), heartbeat=False))
    assert newer.sync.revision == 2
    assert not newer.heartbeat


def test_messages_of_many_syncs_are_not_kept_for_ever() -> None:
    messages = SnapshotMessages()
    first = running(1)
    message = messages.of(Snapshot(first, heartbeat=False))
    for _ in range(1_000):
        messages.of(Snapshot(running(1), heartbeat=False))
    again = messages.of(Snapshot(first, heartbeat=False))
    assert again == message
    assert again is not message
