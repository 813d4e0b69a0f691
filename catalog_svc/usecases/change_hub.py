"""Reads the end of the change feed once for all followers on this replica, and wakes those that records concern.

The hub has a buffer with the records that it has read last. A follower that waits at the end of the feed is woken
by a record that its filter may match, and takes its records from the buffer. A follower that is further behind
than the buffer, because it has just begun or does not read, reads pages itself: it holds no records here, and the
buffer has a fixed size.

A follower that waits has read everything up to the end of the feed that the hub knows: no record since then
matches its filter, or it would have been woken. So its position grows without a read of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, TypeAlias

from catalogsync_common.drain import Drain
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedSync,
    ChangeFilter,
    ChangeKind,
    ChangePage,
    ChangeRecord,
)
from catalog_svc.domain.errors import ChangePositionExpired, StorageUnavailable
from catalog_svc.usecases.catalog_ports import ChangeFeeds
from catalog_svc.usecases.polling import PollTimer, poll_until_drain
from catalog_svc.usecases.watch_pacing import WakeupQueue
from catalog_svc.usecases.watcher_limits import WatcherLimiter

_Topic: TypeAlias = tuple[ChangeKind, str, object]
"""A kind, and the condition by which followers are found: the name of a field of the filter, and its value."""


class ChangeFeedMetrics(Protocol):
    """Counts what the hub of a replica reads."""

    def changes_read(self, count: int, *, delay: timedelta) -> None:
        """Count records; `delay` is the age of the oldest committed event that cannot be read yet."""
        ...


class _Waiter:
    """A follower that waits at the end of the feed."""

    def __init__(self, xid: int) -> None:
        self.xid = xid
        """It has read all events of transactions below."""
        self.resume_xid: int | None = None
        """Set when it is woken: there is nothing for it below. None: it was not woken."""
        self.wakeup = asyncio.get_running_loop().create_future()


class ChangeSubscription:
    """One follower's view of the end of the feed."""

    def __init__(self, hub: ChangeHub, which: ChangeFilter) -> None:
        self._hub = hub
        self._which = which
        self._began_at = asyncio.get_running_loop().time()
        """Its own first read proves as much as one of the hub."""

    @property
    def closed(self) -> bool:
        """Whether the hub has ended: nothing more comes."""
        return self._hub.closed

    def buffered(self, cursor: ChangeCursor, *, limit: int) -> ChangePage | None:
        """Return about `limit` records after the cursor; None: the follower must read a page itself."""
        return self._hub.buffered(cursor, self._which, limit=limit)

    async def wait(self, cursor: ChangeCursor, *, timeout_seconds: float) -> ChangeCursor:
        """Wait until there may be a record after the cursor, and return up to where there is none.

        Also returns after `timeout_seconds`, and as soon as the hub closes.

        Raises:
            StorageUnavailable: After the timeout, if the feed was not read lately.
        """
        waited = await self._hub.wait(cursor, self._which, timeout_seconds=timeout_seconds)
        if waited is not None:
            return waited
        self._hub.check_read(since=self._began_at)
        return self._hub.later(cursor)


class ChangeHub:
    """Wakes followers of the change feed; `run` polls for records."""

    def __init__(
        self,
        feeds: ChangeFeeds,
        *,
        metrics: ChangeFeedMetrics,
        limiter: WatcherLimiter | None = None,
        poll_interval: timedelta = timedelta(milliseconds=250),
        announced_interval: timedelta = timedelta(milliseconds=100),
        max_read_age: timedelta = timedelta(seconds=30),
        page_events: int = 500,
        max_buffered: int = 2_000,
    ) -> None:
        """Create a hub without followers.

        Args:
            feeds: Where events are read.
            metrics: Where they are counted.
            limiter: Counts the watchers of this replica, and refuses those above its limits; None: it refuses
                none.
            poll_interval: Between two reads; none takes place without followers.
            announced_interval: Between two reads because of changes by this replica.
            max_read_age: Followers that wait get StorageUnavailable if the feed was not read for longer.
            page_events: Events that one read returns.
            max_buffered: Records in the buffer.
        """
        self._feeds = feeds
        self._metrics = metrics
        self._limiter = limiter or WatcherLimiter()
        self._timer = PollTimer(poll_interval=poll_interval, announced_interval=announced_interval)
        self._max_read_age_seconds = max_read_age.total_seconds()
        self._page_events = page_events
        self._max_buffered = max_buffered
        self._pages: deque[ChangePage] = deque()
        """The last pages that have records, without a gap between them."""
        self.buffered_count = 0
        """Records in the buffer."""
        self._begin_xid = 0
        """The buffer has all records from this transaction on."""
        self.end: ChangeCursor | None = None
        """The end of the feed, as far as it was read; None: it was not read yet."""
        self._read_at = float("-inf")
        """Event-loop time at which the last successful read began."""
        self._waiting: dict[_Topic, set[_Waiter]] = {}
        self._wakeups = WakeupQueue()
        self.follower_count = 0
        self.closed = False

    @property
    def waiting_count(self) -> int:
        """Followers that wait at the end of the feed."""
        return sum(map(len, self._waiting.values()))

    def announce(self) -> None:
        """Say that this replica may have written events: they are read soon if there are followers."""
        if self.follower_count:
            self._timer.announce()

    @contextmanager
    def follow(self, which: ChangeFilter) -> Iterator[ChangeSubscription]:
        """Subscribe to records while the context lasts.

        Raises:
            TooManyWatchers: The replica has as many watchers as it accepts.
        """
        with self._limiter.place(which.shop_id):
            self.follower_count += 1
            try:
                yield ChangeSubscription(self, which)
            finally:
                self.follower_count -= 1

    async def run(self, drain: Drain, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain, then wake all followers."""
        await poll_until_drain(
            self._poll, pause=self._timer.pause, drain=drain, heartbeat=heartbeat, name="change hub"
        )
        self.closed = True
        self._wake_all()

    def buffered(self, cursor: ChangeCursor, which: ChangeFilter, *, limit: int) -> ChangePage | None:
        """See `ChangeSubscription.buffered`."""
        end = self.end
        if end is None:
            return _page((), cursor, cursor)
        if cursor.incarnation != end.incarnation or cursor.xid < self._begin_xid:
            return None
        newer: list[ChangePage] = []
        for page in reversed(self._pages):
            if page.cursor.xid <= cursor.xid:
                break
            newer.append(page)
        records = [
            record
            for page in reversed(newer)
            for record in page.records
            if record.xid >= cursor.xid and which.matches(record)
        ]
        if len(records) <= limit:
            return _page(records, cursor, self.later(cursor))
        # Of whole transactions.
        last_xid = records[limit - 1].xid
        found = [record for record in records if record.xid <= last_xid]
        return _page(found, cursor, replace(cursor, xid=last_xid + 1), caught_up=False)

    async def wait(
        self, cursor: ChangeCursor, which: ChangeFilter, *, timeout_seconds: float
    ) -> ChangeCursor | None:
        """See `ChangeSubscription.wait`; None: the follower was not woken."""
        if self.closed:
            return None
        waiter, topic = _Waiter(cursor.xid), _topic_of(which)
        waiters = self._waiting.setdefault(topic, set())
        waiters.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await waiter.wakeup
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiting.get(topic) is waiters:
                del self._waiting[topic]
        return None if waiter.resume_xid is None else replace(cursor, xid=waiter.resume_xid)

    def check_read(self, *, since: float) -> None:
        """Raise StorageUnavailable if neither the hub nor, at `since`, the follower has read the feed lately."""
        age_seconds = asyncio.get_running_loop().time() - max(self._read_at, since)
        if not self.closed and age_seconds > self._max_read_age_seconds:
            raise StorageUnavailable

    def later(self, cursor: ChangeCursor) -> ChangeCursor:
        """Return the end of the feed, of a follower that has read everything up to it; or the cursor, if later."""
        return cursor if self.end is None else replace(cursor, xid=max(cursor.xid, self.end.xid))

    async def _poll(self) -> None:
        self._timer.begin()
        if not self.follower_count:
            self._reset()
            # Without followers nothing is read: reset the delay, which would stay at its last value.
            self._metrics.changes_read(0, delay=timedelta())
            return
        began = asyncio.get_running_loop().time()
        if self.end is None:
            self.end = await self._feeds.end()
            self._begin_xid = self.end.xid
            # They may have begun before this end: they read what is between.
            self._wake_all()
        else:
            try:
                page = await self._feeds.events(self.end, limit=self._page_events)
            except ChangePositionExpired:
                # Another database answers now. Each follower learns that by its own read.
                self._reset()
                self._timer.announce()
                return
            self._publish(page)
        self._read_at = began

    def _publish(self, page: ChangePage) -> None:
        self._metrics.changes_read(len(page.records), delay=page.delay)
        self.end = page.cursor
        if page.records:
            self._pages.append(page)
            self.buffered_count += len(page.records)
        while self.buffered_count > self._max_buffered:
            oldest = self._pages.popleft()
            self.buffered_count -= len(oldest.records)
            self._begin_xid = oldest.cursor.xid
        for topic in {topic for record in page.records for topic in _topics_of(record)}:
            for waiter in self._waiting.pop(topic, ()):
                self._wake(waiter, max(waiter.xid, page.begin.xid))
        if not page.caught_up:
            self._timer.announce()

    def _reset(self) -> None:
        """Forget what was read: without followers nothing is read, and the buffer would have a gap."""
        self._pages.clear()
        self.buffered_count = 0
        self.end = None

    def _wake_all(self) -> None:
        for waiters in self._waiting.values():
            for waiter in waiters:
                self._wake(waiter, waiter.xid)
        self._waiting = {}

    def _wake(self, waiter: _Waiter, resume_xid: int) -> None:
        waiter.resume_xid = resume_xid
        self._wakeups.add(waiter.wakeup)


def _page(
    records: Sequence[ChangeRecord], begin: ChangeCursor, end: ChangeCursor, *, caught_up: bool = True
) -> ChangePage:
    return ChangePage(records=records, begin=begin, cursor=end, caught_up=caught_up)


def _topic_of(which: ChangeFilter) -> _Topic:
    """Return the topic of a filter, by the condition that the fewest records meet."""
    if which.shop_id is not None:
        return which.kind, "shop_id", which.shop_id
    if which.domain:
        return which.kind, "domain", which.domain
    return which.kind, "merchant_id", which.merchant_id


def _topics_of(record: ChangeRecord) -> Iterator[_Topic]:
    """Yield the topics of all filters that may match the record; those without conditions have merchant ""."""
    shop = record.shop
    if isinstance(record, ChangedSync):
        kinds: tuple[ChangeKind, ...] = (ChangeKind.SYNCS,)
    else:
        kinds = tuple(ChangeKind) if record.deleted else (ChangeKind.SHOPS,)
    for kind in kinds:
        yield kind, "shop_id", shop.shop_id
        yield kind, "domain", shop.key.domain
        yield kind, "merchant_id", ""
        if shop.merchant_id:
            yield kind, "merchant_id", shop.merchant_id
