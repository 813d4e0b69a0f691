"""The watch hub delivers the newest snapshot at the pace of each watcher, and the terminal one at once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import SyncNotFound
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import Progress, StartSyncCommand, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.rpc.convert import SnapshotMessages
from catalog_svc.usecases.sync_hub import Subscription, SyncHub
from catalog_svc.usecases.watch_pacing import WakeupQueue, WatchLimits, WatchPacing
from catalog_svc.usecases.watch_sync import Snapshot
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.skipping_loop import skipping

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def running(revision: int, state: SyncState = SyncState.RUNNING) -> Sync:
    shop = Shop(key=ShopKey("shopify", "demo.myshopify.com"), shop_id=uuid4())
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


class StoredSyncs(MemorySyncs):
    """Syncs that another replica writes."""

    def __init__(self) -> None:
        super().__init__(MemoryLink(MemoryCatalog()))
        self.rows: dict[UUID, Sync] = {}
        self.rows_read: list[UUID] = []
        self.read_sizes: list[int] = []

    async def get(self, sync_id: UUID) -> Sync:
        if sync_id not in self.rows:
            raise SyncNotFound(sync_id)
        return self.rows[sync_id]

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        self.rows_read += sync_ids
        self.read_sizes.append(len(sync_ids))
        return [self.rows[sync_id] for sync_id in sync_ids if sync_id in self.rows]

    async def changed_revisions(self, known: Mapping[UUID, int]) -> dict[UUID, int | None]:
        found = {sync_id: self.rows[sync_id].revision for sync_id in known if sync_id in self.rows}
        return {key: found.get(key) for key, revision in known.items() if found.get(key) != revision}


@dataclass
class Watchers:
    """Watchers of one sync, each of which asks for the next snapshot as soon as it got one."""

    hub: SyncHub
    stored: StoredSyncs
    sync: Sync
    deliveries: dict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    """By watcher: when, and which revision."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def join(self, count: int) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._watch(len(self.tasks))))

    def of_another_sync(self, count: int) -> Watchers:
        """Return watchers of another sync on the same replica, which know its revision 1."""
        other = Watchers(self.hub, self.stored, running(1))
        other.stored.rows[other.sync.sync_id] = other.sync
        other.join(count)
        return other

    async def _watch(self, number: int) -> None:
        with self.hub.subscribe(self.sync.sync_id) as subscription:
            await subscription.current()
            while not self.sync.state.ended:
                sync = await subscription.next_after(self._revision_of(number), timeout_seconds=1_000)
                if sync is None:
                    # The test is over, and its virtual clock went on.
                    return
                self.deliveries[number].append((now(), sync.revision))
                if sync.state.ended:
                    return

    def _revision_of(self, number: int) -> int:
        return self.deliveries[number][-1][1] if self.deliveries[number] else 1

    def _advance(self, state: SyncState) -> None:
        self.sync = replace(self.sync, revision=self.sync.revision + 1, state=state)
        self.stored.rows[self.sync.sync_id] = self.sync

    def publish(self, state: SyncState = SyncState.RUNNING) -> None:
        """Write the next revision on this replica."""
        self._advance(state)
        self.hub.publish(self.sync)

    def write_elsewhere(self) -> None:
        """Write the next revision on another replica."""
        self._advance(SyncState.RUNNING)

    async def publish_for(self, seconds: float, *, interval: float) -> None:
        end = now() + seconds
        while now() < end:
            self.publish()
            await asyncio.sleep(interval)

    def times(self) -> list[float]:
        """Return the times of all deliveries in order."""
        return sorted(at for deliveries in self.deliveries.values() for at, _ in deliveries)

    def longest_pause(self) -> float:
        """Return the longest time between two deliveries to one watcher."""
        return max(
            later - earlier
            for deliveries in self.deliveries.values()
            for (earlier, _), (later, _) in pairwise(deliveries)
        )


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def watchers(count: int) -> AsyncIterator[Watchers]:
    """Watchers that know revision 1, on a replica that polls."""
    stored, drain = StoredSyncs(), Drain()
    hub = SyncHub(stored)
    many = Watchers(hub, stored, running(1)).of_another_sync(count)
    polling = asyncio.create_task(hub.run(drain))
    await asyncio.sleep(1)
    yield many
    drain.start()
    await polling
    for task in many.tasks:
        task.cancel()
    await asyncio.gather(*many.tasks, return_exceptions=True)


@skipping
async def test_few_watchers_get_the_newest_snapshot_about_four_times_a_second() -> None:
    async with watchers(20) as few:
        began = now()
        await few.publish_for(5, interval=0.05)
        for deliveries in few.deliveries.values():
            assert deliveries[0] == (began, 2)
            assert 15 <= len(deliveries) <= 21
            assert all(later - earlier >= 0.25 for (earlier, _), (later, _) in pairwise(deliveries))
            assert all((at - began) // 0.05 - 1 <= revision - 2 for at, revision in deliveries)


def test_the_interval_grows_with_the_number_of_watchers_and_sooner_for_syncs_of_this_replica() -> None:
    pacing = WatchPacing()
    assert [pacing.interval_seconds(watchers=n) for n in (1, 2_500, 5_000, 1_000_000)] == [0.25, 0.25, 0.5, 20]
    assert [pacing.interval_seconds(watchers=n, is_busy=True) for n in (250, 1_000, 5_000)] == [0.25, 1, 5]
    local = [pacing.interval_seconds(watchers=n, local_syncs=1, sync_watchers=n) for n in (1, 50, 1_000, 5_000)]
    assert local == [0.25, 0.25, 5, 20]
    assert pacing.interval_seconds(watchers=5_010, local_syncs=2, sync_watchers=10) == 0.501


def test_the_deliveries_of_a_sync_are_spread_by_the_number_of_its_own_watchers() -> None:
    pacing = WatchPacing()
    assert pacing.spread_seconds(0.25, sync_watchers=5, watchers=5) == 0
    assert pacing.spread_seconds(5.25, sync_watchers=5_000, watchers=5_000) == 5
    assert pacing.spread_seconds(5.25, sync_watchers=5, watchers=5_000) == pytest.approx(0.005)


@pytest.mark.parametrize("count", [100, 1_000, 5_000])
@skipping
async def test_watchers_of_a_sync_that_runs_here_are_served_at_an_even_rate(count: int) -> None:
    interval = min(20, max(0.25, count / 200))
    async with watchers(count) as many:
        began = now()
        await many.publish_for(4 * interval, interval=0.04)
        per_second = Counter(int(at - began) for at in many.times())
        assert all(served <= count / interval * 1.3 for served in per_second.values())
        assert len(many.deliveries) == count
        assert many.longest_pause() <= 2 * interval + 0.1


@skipping
async def test_a_snapshot_that_another_replica_wrote_reaches_all_within_a_second() -> None:
    async with watchers(5_000) as many:
        many.write_elsewhere()
        began = now()
        await asyncio.sleep(1)
        assert len(many.deliveries) == 5_000
        assert many.times()[-1] - began < 0.6


@skipping
async def test_a_poll_reads_only_the_rows_that_changed() -> None:
    async with watchers(1) as one:
        other = one.of_another_sync(1)
        await asyncio.sleep(3)
        one.stored.rows_read.clear()
        one.write_elsewhere()
        await asyncio.sleep(3)
        assert one.stored.rows_read == [one.sync.sync_id]
        assert len(one.times()) == 1
        other.tasks[0].cancel()


async def test_many_changed_syncs_are_read_few_at_a_time() -> None:
    """Decoding thousands of rows at once would hold the event loop of the replica for a quarter of a second."""
    stored = StoredSyncs()
    stored.rows = {sync.sync_id: sync for sync in (running(1) for _ in range(1_001))}
    hub = SyncHub(stored)
    with ExitStack() as subscriptions:
        for sync_id in stored.rows:
            subscriptions.enter_context(hub.subscribe(sync_id))
        await hub._poll()
    assert sum(stored.read_sizes) == len(set(stored.rows_read)) == 1_001
    assert max(stored.read_sizes) <= 250


@skipping
async def test_the_end_reaches_all_at_once_in_groups_that_let_other_work_run_in_between() -> None:
    async with watchers(5_000) as many:
        await many.publish_for(1, interval=0.04)
        done: list[int] = []
        ended_at = now()
        many.publish(SyncState.SUCCEEDED)
        while not done or done[-1] < 5_000:
            done.append(sum(task.done() for task in many.tasks))
            await asyncio.sleep(0)
        assert many.times()[-1] == ended_at
        assert all(later - earlier <= 50 for earlier, later in pairwise(done))


@skipping
async def test_a_snapshot_of_one_sync_does_not_wait_for_the_watchers_of_another() -> None:
    async with watchers(5_000) as many:
        few = many.of_another_sync(10)
        publishing = asyncio.create_task(many.publish_for(4, interval=0.04))
        await asyncio.sleep(3)
        began = now()
        few.publish()
        await asyncio.sleep(1)
        assert len(few.times()) == 10
        assert few.times()[-1] - began < 0.3
        await publishing


def test_heartbeats_of_thousands_come_less_often_and_still_within_the_30_seconds_of_the_contract() -> None:
    limits = WatchLimits()
    assert [limits.heartbeat_seconds(n) for n in (1, 3_000, 5_000, 10_000)] == [10, 15, 25, 25]


@skipping
async def test_watchers_that_left_delay_nobody() -> None:
    async with watchers(1_000) as many:
        for task in many.tasks[:950]:
            task.cancel()
        await asyncio.sleep(0)
        began = now()
        many.publish()
        await asyncio.sleep(0.2)
        assert len(many.times()) == 50
        assert many.times()[-1] == began


@dataclass
class ManualWatcher:
    """A watcher that asks for the next snapshot when the test says so."""

    hub: SyncHub
    subscription: Subscription
    revision: int = 1

    async def next(self, within: float) -> int | None:
        sync = await self.subscription.next_after(self.revision, timeout_seconds=within)
        self.revision = sync.revision if sync else self.revision
        return sync.revision if sync else None


@contextmanager
def manual_watcher(hub: SyncHub, sync_id: UUID) -> Iterator[ManualWatcher]:
    with hub.subscribe(sync_id) as subscription:
        yield ManualWatcher(hub, subscription)


@skipping
async def test_a_cancelled_subscriber_takes_no_wakeup_from_another() -> None:
    queue = WakeupQueue()
    wakeups: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(120)]
    for wakeup in wakeups:
        queue.add(wakeup)
    for wakeup in wakeups[:60]:
        wakeup.cancel()
    await asyncio.sleep(0)
    assert [wakeup.done() for wakeup in wakeups] == [True] * 110 + [False] * 10


@skipping
async def test_wakeups_come_at_their_due_times_whatever_the_order_in_which_they_were_added() -> None:
    queue, began = WakeupQueue(), now()
    due = [3.0, 1.0, 2.0, 1.004, 0.0]
    wakeups: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in due]
    woken_at: dict[int, float] = {}

    def note(number: int, _: asyncio.Future[None]) -> None:
        woken_at[number] = now() - began

    for number, (wakeup, seconds) in enumerate(zip(wakeups, due, strict=True)):
        wakeup.add_done_callback(partial(note, number))
        queue.add(wakeup, due_at=began + seconds)
    await asyncio.gather(*wakeups)
    await asyncio.sleep(0)
    assert all(due[number] <= at <= due[number] + 0.02 for number, at in woken_at.items())
    assert len(woken_at) == len(due)


@skipping
async def test_a_subscriber_that_was_busy_when_a_snapshot_came_gets_the_newest_on_return() -> None:
    async with watchers(3) as others:
        with manual_watcher(others.hub, others.sync.sync_id) as one:
            others.publish()
            assert await one.next(within=1) == 2
            others.publish()
            await asyncio.sleep(2)
            others.publish()
            await asyncio.sleep(2)
            assert await one.next(within=1) == 4
            assert await one.next(within=1) is None


@skipping
async def test_a_subscriber_that_times_out_before_its_turn_gets_the_newest_instead_of_none() -> None:
    async with watchers(3) as others:
        with manual_watcher(others.hub, others.sync.sync_id) as one:
            others.publish()
            assert await one.next(within=1) == 2
            others.publish()
            assert await one.next(within=0.1) == 3


@skipping
async def test_the_first_change_after_a_watcher_came_is_delivered_at_once() -> None:
    link = MemoryLink(MemoryCatalog())
    shop = ShopKey("shopify", "demo.myshopify.com")
    first = await MemorySyncCommands(link).start(
        StartSyncCommand(shop=shop, mode=SyncMode.FULL, overlap=timedelta())
    )
    with manual_watcher(SyncHub(MemorySyncs(link)), first.sync_id) as one:
        assert await one.subscription.current() == first
        one.revision = first.revision
        one.hub.publish(replace(first, revision=first.revision + 1))
        published_at = now()
        assert await one.next(within=1) == first.revision + 1
        assert now() == published_at


@skipping
async def test_a_snapshot_older_than_the_latest_is_not_delivered() -> None:
    async with watchers(1) as other:
        other.publish()
        other.publish()
        with manual_watcher(other.hub, other.sync.sync_id) as one:
            assert await one.next(within=1) == 3
            other.hub.publish(replace(other.sync, revision=2))
            assert await one.next(within=1) is None
            with other.hub.subscribe(other.sync.sync_id) as newcomer:
                assert (await newcomer.current()).revision == 3


@skipping
async def test_a_read_that_one_watcher_asks_for_wakes_the_others() -> None:
    async with watchers(0) as nobody:
        sync = running(1)
        nobody.stored.rows[sync.sync_id] = sync
        with manual_watcher(nobody.hub, sync.sync_id) as one, manual_watcher(nobody.hub, sync.sync_id) as other:
            assert await one.subscription.current() == sync
            waiting = asyncio.create_task(other.next(within=1))
            await asyncio.sleep(0)
            nobody.stored.rows[sync.sync_id] = replace(sync, revision=2)
            read_at = now()
            await one.subscription.refresh()
            assert await waiting == 2
            assert now() == read_at


@skipping
async def test_a_topic_of_which_the_last_watcher_left_delivers_nothing_to_the_next_one() -> None:
    async with watchers(1) as other:
        other.publish()
    with manual_watcher(other.hub, other.sync.sync_id) as one:
        assert await one.next(within=1) is None


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
