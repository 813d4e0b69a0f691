"""Fan-out of sync snapshots to the watchers on this replica.

The hub has one topic per watched sync: its latest snapshot and its subscribers. It transfers state, not events: a
subscriber receives the newest snapshot, may skip intermediate ones, and never misses the terminal one. A slow
subscriber therefore needs no queue.

Snapshots that this replica writes are published at once. Snapshots that other replicas write are found by polling:
one query compares the revisions of all watched syncs, and only rows with a new revision are read. A successful
read also proves that a topic is current: a topic that was not read lately raises StorageUnavailable to its
subscribers.
Positions in the queue change without a new revision: while any watched sync is PENDING, one more query a second
reads those of all such syncs.

Deliveries are paced per subscriber (`WatchPacing`) and released in small groups, so that thousands of them neither
hold the event loop nor slow the syncs that run beside them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.drain import Drain
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable, SyncNotFound
from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.usecases.polling import poll_until_drain
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.watch_pacing import WakeupQueue, WatchPacing
from catalog_svc.usecases.watcher_limits import WatcherLimiter

_LOCAL_SECONDS: Final = 5.0
"""A sync counts as running on this replica for this long after the replica last published it."""
_LOCAL_COUNT_MAX_AGE_SECONDS: Final = 0.25
_SYNCS_PER_READ: Final = 250
"""Changed syncs that a poll reads at a time: other tasks of the process run in between."""


class Subscription:
    """One subscriber's view of a sync."""

    def __init__(self, hub: SyncHub, topic: _Topic) -> None:
        self._hub = hub
        self._topic = topic
        self._not_before = float("-inf")

    async def current(self) -> Sync:
        """Return the latest snapshot; read it if the topic has none or was not read lately.

        It does not delay the next snapshot. Raises SyncNotFound, StorageUnavailable.
        """
        latest = self._topic.latest
        self._topic.raise_if_gone()
        if latest is None or (self._hub.is_stale(self._topic) and not latest.state.ended):
            return await self.refresh()
        return latest

    async def refresh(self) -> Sync:
        """Return the snapshot after a read that began now or is shared with other subscribers.

        Raises SyncNotFound, StorageUnavailable.
        """
        return await self._hub.read(self._topic)

    def updated(self, sync: Sync) -> Sync:
        """Return a snapshot of the same revision with its present position in the queue."""
        latest = self._topic.latest
        return latest if latest is not None and latest.revision == sync.revision else sync

    async def ended(self) -> Sync:
        """Return the terminal snapshot, once there is one. Raises SyncNotFound when the sync's shop is deleted."""
        await self._topic.ended.wait()
        self._topic.raise_if_gone()
        assert self._topic.latest is not None
        return self._topic.latest

    async def next_after(self, revision: int, *, timeout_seconds: float) -> Sync | None:
        """Return the newest snapshot above `revision` when this subscriber's interval has passed.

        Returns None after `timeout_seconds` without one, or as soon as the hub closes. Raises SyncNotFound as soon
        as the sync's shop is deleted, and StorageUnavailable instead of returning None when the hub has not read
        the sync lately.
        """
        topic = self._topic
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._next_turn(revision)
        newest = topic.latest
        topic.raise_if_gone()
        if topic.closed:
            return None
        if newest is None or newest.revision <= revision:
            if newest is not None and self._hub.is_stale(topic):
                raise StorageUnavailable
            return None
        interval = self._hub.interval_seconds(topic) * random.uniform(1, 1.2)
        self._not_before = asyncio.get_running_loop().time() + interval
        return newest

    async def _next_turn(self, revision: int) -> None:
        topic = self._topic
        if topic.closed or topic.gone:
            return
        wakeup = asyncio.get_running_loop().create_future()
        if topic.latest is not None and topic.latest.revision > revision:
            self._hub.schedule(topic, wakeup, not_before=self._not_before)
        else:
            topic.idle[wakeup] = self._not_before
        try:
            await wakeup
        finally:
            topic.idle.pop(wakeup, None)
            topic.scheduled.discard(wakeup)


class _Topic:
    """A watched sync: its latest snapshot and the subscribers that wait for a newer one."""

    def __init__(self, sync_id: UUID) -> None:
        self.sync_id = sync_id
        self.latest: Sync | None = None
        self.read_at = float("-inf")
        """Event-loop time at which the read or write began that proved `latest` current."""
        self.published_at = float("-inf")
        """Event-loop time at which this replica last wrote the sync."""
        self.ended = asyncio.Event()
        """Set also when the sync is gone."""
        self.gone = False
        """Whether the sync is not stored any more, before it has ended: its shop is deleted."""
        self.closed = False
        self.subscribers = 0
        self.watchers = 0
        """Subscribers without the syncs of this replica."""
        self.idle: dict[asyncio.Future[None], float] = {}
        """Subscribers that have the latest snapshot, each with the earliest time of its next one."""
        self.scheduled: set[asyncio.Future[None]] = set()
        """Subscribers that wait for their turn to receive the latest snapshot."""
        self.reading: asyncio.Task[Sync] | None = None
        """The read that all share who ask while it runs."""

    @property
    def has_ended(self) -> bool:
        return self.ended.is_set()

    def offer(self, sync: Sync, *, read_at: float) -> bool:
        """Keep `sync` if it is not older than the latest snapshot; return whether it is newer."""
        if self.latest is not None and self.latest.revision > sync.revision:
            return False
        self.read_at = max(self.read_at, read_at)
        if self.latest is not None and self.latest.revision == sync.revision:
            self.set_queue_position(sync.queue_position)
            return False
        self.latest = sync
        if sync.state.ended:
            self.ended.set()
        return True

    def set_gone(self) -> None:
        """Wake all subscribers, who get SyncNotFound."""
        self.gone = True
        self.ended.set()
        self._wake_all()

    def raise_if_gone(self) -> None:
        """Raise SyncNotFound if the sync is gone."""
        if self.gone:
            raise SyncNotFound(self.sync_id)

    @property
    def is_pending(self) -> bool:
        return self.latest is not None and self.latest.state is SyncState.PENDING

    def set_queue_position(self, position: int | None) -> None:
        """Keep the position for the next heartbeat; a new position alone is no new snapshot."""
        if self.latest is not None and self.is_pending and self.latest.queue_position != position:
            self.latest = replace(self.latest, queue_position=position)

    def close(self) -> None:
        """Wake all subscribers; nothing more is delivered."""
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        for wakeup in (*self.idle, *self.scheduled):
            if not wakeup.done():
                wakeup.set_result(None)

    def discard(self) -> None:
        """Close the topic and cancel a read that nobody waits for."""
        self.close()
        if self.reading is not None:
            self.reading.cancel()


class SyncHub:
    """Delivers snapshots of syncs to subscribers; `run` polls for those that other replicas wrote."""

    def __init__(
        self,
        syncs: Syncs,
        *,
        poll_interval: timedelta = timedelta(milliseconds=300),
        limiter: WatcherLimiter | None = None,
        max_read_age: timedelta = timedelta(seconds=30),
        queue_interval: timedelta = timedelta(seconds=1),
        pacing: WatchPacing | None = None,
    ) -> None:
        """Create a hub without topics.

        Args:
            syncs: Where snapshots are read.
            poll_interval: Pause between two polls.
            limiter: Counts the watchers of this replica, and refuses those above its limits; None: it refuses
                none.
            max_read_age: Three heartbeats. Watchers of a sync that was not read for longer get StorageUnavailable.
            queue_interval: Pause between two reads of the positions of PENDING syncs, less than a heartbeat.
            pacing: The interval between two snapshots to one watcher.
        """
        self._syncs = syncs
        self._queue_seconds = queue_interval.total_seconds()
        self._positions_read_at = float("-inf")
        self._poll_seconds = poll_interval.total_seconds()
        self._limiter = limiter or WatcherLimiter()
        self._max_read_age_seconds = max_read_age.total_seconds()
        self._pacing = pacing or WatchPacing()
        self._topics: dict[UUID, _Topic] = {}
        self._local_syncs = 0
        self._local_counted_at = float("-inf")
        self._published_at = float("-inf")
        self._wakeups = WakeupQueue()

    @property
    def watcher_count(self) -> int:
        """Watchers connected now; the syncs of this replica, which watch for their own end, do not count."""
        return self._limiter.count

    def publish(self, sync: Sync) -> None:
        """Deliver a snapshot that this replica wrote, if anybody watches the sync and it is newer."""
        self._published_at = asyncio.get_running_loop().time()
        topic = self._topics.get(sync.sync_id)
        if topic is not None:
            topic.published_at = self._published_at
            self._offer(topic, sync, read_at=topic.published_at)

    @contextmanager
    def subscribe(self, sync_id: UUID, *, is_watcher: bool = True) -> Iterator[Subscription]:
        """Subscribe to a sync while the context lasts.

        Args:
            sync_id: The sync; it need not exist.
            is_watcher: Whether the subscriber is a client; False for the syncs of this replica.

        Raises:
            TooManyWatchers: The replica has as many watchers as it accepts, in total or of this shop.
        """
        with self._limiter.place(sync_id) if is_watcher else nullcontext():
            topic = self._topics.setdefault(sync_id, _Topic(sync_id))
            topic.subscribers += 1
            topic.watchers += is_watcher
            try:
                yield Subscription(self, topic)
            finally:
                topic.subscribers -= 1
                topic.watchers -= is_watcher
                if not topic.subscribers:
                    topic.discard()
                    del self._topics[sync_id]

    async def run(self, drain: Drain, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain, then close all topics."""
        await poll_until_drain(
            self._poll,
            pause=lambda: asyncio.sleep(self._poll_seconds),
            drain=drain,
            heartbeat=heartbeat,
            name="watch hub",
        )
        for topic in self._topics.values():
            topic.close()

    def is_stale(self, topic: _Topic) -> bool:
        """Return whether the topic was not proven current for longer than `max_read_age`."""
        return asyncio.get_running_loop().time() - topic.read_at > self._max_read_age_seconds

    def interval_seconds(self, topic: _Topic) -> float:
        """Return the interval between two snapshots to a subscriber of `topic`."""
        now = asyncio.get_running_loop().time()
        is_busy = now - self._published_at <= _LOCAL_SECONDS
        if now - topic.published_at > _LOCAL_SECONDS:
            return self._pacing.interval_seconds(watchers=self._limiter.count, is_busy=is_busy)
        if now - self._local_counted_at > _LOCAL_COUNT_MAX_AGE_SECONDS:
            local = (each for each in self._topics.values() if now - each.published_at <= _LOCAL_SECONDS)
            self._local_syncs = sum(each.watchers > 0 for each in local)
            self._local_counted_at = now
        return self._pacing.interval_seconds(
            watchers=self._limiter.count,
            is_busy=is_busy,
            local_syncs=max(1, self._local_syncs),
            sync_watchers=topic.watchers,
        )

    def schedule(self, topic: _Topic, wakeup: asyncio.Future[None], *, not_before: float) -> None:
        """Wake a subscriber when it may receive the latest snapshot: at once if the sync has ended."""
        self._schedule(topic, wakeup, not_before, self._spread_seconds(topic))

    def _schedule(
        self, topic: _Topic, wakeup: asyncio.Future[None], not_before: float, spread_seconds: float
    ) -> None:
        topic.scheduled.add(wakeup)
        if topic.has_ended:
            self._wakeups.add(wakeup)
            return
        earliest = asyncio.get_running_loop().time() + random.uniform(0, spread_seconds)
        self._wakeups.add(wakeup, due_at=max(not_before, earliest))

    def _spread_seconds(self, topic: _Topic) -> float:
        interval = self.interval_seconds(topic)
        return self._pacing.spread_seconds(interval, sync_watchers=topic.watchers, watchers=self._limiter.count)

    async def read(self, topic: _Topic) -> Sync:
        """Return the latest snapshot after one read, shared by all who ask while it runs.

        Thousands of watchers ask at once when another replica goes down. Raises SyncNotFound, StorageUnavailable.
        """
        if topic.reading is None:
            topic.reading = asyncio.create_task(self._read(topic))
            topic.reading.add_done_callback(lambda reading: _read_done(topic, reading))
        return await asyncio.shield(topic.reading)

    async def _read(self, topic: _Topic) -> Sync:
        began = asyncio.get_running_loop().time()
        sync = await self._syncs.get(topic.sync_id)
        self._offer(topic, sync, read_at=began)
        return topic.latest or sync

    def _offer(self, topic: _Topic, sync: Sync, *, read_at: float) -> None:
        if not topic.offer(sync, read_at=read_at):
            return
        if topic.has_ended:
            for wakeup in topic.scheduled:
                self._wakeups.add(wakeup)
        idle, topic.idle = topic.idle, {}
        spread = self._spread_seconds(topic)  # Once: a sync may have thousands of watchers.
        for wakeup, not_before in idle.items():
            self._schedule(topic, wakeup, not_before, spread)

    async def _poll(self) -> None:
        known = {
            sync_id: topic.latest.revision if topic.latest else 0
            for sync_id, topic in self._topics.items()
            if not topic.has_ended
        }
        if not known:
            return
        began = asyncio.get_running_loop().time()
        revisions = await self._syncs.changed_revisions(known)
        changed: list[UUID] = []
        for sync_id in known:
            topic, revision = self._topics.get(sync_id), revisions.get(sync_id, 0)
            if topic is None:
                continue
            if revision is None:
                topic.set_gone()
            elif topic.latest is None or revision > topic.latest.revision:
                changed.append(sync_id)
            else:
                topic.read_at = max(topic.read_at, began)
        for start in range(0, len(changed), _SYNCS_PER_READ):
            for sync in await self._syncs.get_many(changed[start : start + _SYNCS_PER_READ]):
                if (topic := self._topics.get(sync.sync_id)) is not None:
                    self._offer(topic, sync, read_at=began)
        await self._poll_queue_positions()

    async def _poll_queue_positions(self) -> None:
        pending = [sync_id for sync_id, topic in self._topics.items() if topic.is_pending]
        now = asyncio.get_running_loop().time()
        if not pending or now - self._positions_read_at < self._queue_seconds:
            return
        self._positions_read_at = now
        for sync_id, position in (await self._syncs.queue_positions(pending)).items():
            if (topic := self._topics.get(sync_id)) is not None:
                topic.set_queue_position(position)


def _read_done(topic: _Topic, reading: asyncio.Task[Sync]) -> None:
    topic.reading = None
    if not reading.cancelled():
        # Retrieve the error: those who asked may have been cancelled.
        reading.exception()
