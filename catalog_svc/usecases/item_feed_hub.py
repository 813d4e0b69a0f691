"""Wakes the followers of item feeds on this replica when their shops have changed.

The hub has one topic per followed shop: the position of its last change. One query per interval reads the
positions of all followed shops, however many followers they have. What this replica itself writes is announced by
`announce`: the positions of those shops are read at once.

Followers read the items themselves, page by page; the hub holds none. A successful read of the positions also
proves that an idle follower has everything: one whose shop was not read lately gets StorageUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import ShopNotFound, StorageUnavailable
from catalog_svc.usecases.catalog_ports import ItemFeeds
from catalog_svc.usecases.polling import PollTimer, poll_until_drain
from catalog_svc.usecases.watch_pacing import WakeupQueue
from catalog_svc.usecases.watcher_limits import WatcherLimiter


class _Topic:
    """A followed shop."""

    def __init__(self) -> None:
        self.position: int | None = None
        """Of the shop's last change; None: not read yet."""
        self.read_at = float("-inf")
        """Event-loop time at which the read began that proved the position current."""
        self.gone = False
        """Whether the shop is not stored any more."""
        self.followers = 0
        self.waiting: dict[asyncio.Future[None], int] = {}
        """Followers that wait, each with the position that it has read."""


class FeedSubscription:
    """One follower's view of a shop's feed."""

    def __init__(self, hub: ItemFeedHub, shop_id: UUID, topic: _Topic) -> None:
        self._hub = hub
        self._shop_id = shop_id
        self._topic = topic

    def offer(self, position: int, *, read_at: float) -> None:
        """Say that the follower itself has read the shop's position.

        Args:
            position: The position.
            read_at: Event-loop time at which that read began.
        """
        self._hub.update(self._topic, position, read_at=read_at)

    async def changed(self, position: int, *, timeout_seconds: float) -> bool:
        """Wait until the shop's position is another one than `position`, and return whether it is.

        Returns False after `timeout_seconds`, and as soon as the hub closes.

        Raises:
            ShopNotFound: The shop was deleted.
            StorageUnavailable: After the timeout, if the shop's position was not read lately.
        """
        topic = self._topic
        if not self._hub.closed and not topic.gone and topic.position in (None, position):
            wakeup = asyncio.get_running_loop().create_future()
            topic.waiting[wakeup] = position
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_seconds):
                        await wakeup
            finally:
                topic.waiting.pop(wakeup, None)
        if topic.gone:
            raise ShopNotFound(self._shop_id)
        if topic.position not in (None, position):
            return True
        if not self._hub.closed and self._hub.is_stale(topic.read_at):
            raise StorageUnavailable
        return False


class ItemFeedHub:
    """Wakes followers of item feeds; `run` polls for changes."""

    def __init__(
        self,
        feeds: ItemFeeds,
        *,
        limiter: WatcherLimiter | None = None,
        poll_interval: timedelta = timedelta(milliseconds=250),
        announced_interval: timedelta = timedelta(milliseconds=20),
        max_read_age: timedelta = timedelta(seconds=30),
    ) -> None:
        """Create a hub without topics.

        Args:
            feeds: Where positions are read.
            limiter: Counts the watchers of this replica, and refuses those above its limits; None: it refuses
                none.
            poll_interval: Between two reads of the positions of all followed shops.
            announced_interval: Between two reads of the positions of shops that this replica has changed.
            max_read_age: Idle followers of a shop that was not read for longer get StorageUnavailable.
        """
        self._feeds = feeds
        self._limiter = limiter or WatcherLimiter()
        self._timer = PollTimer(poll_interval=poll_interval, announced_interval=announced_interval)
        self._max_read_age_seconds = max_read_age.total_seconds()
        self._topics: dict[UUID, _Topic] = {}
        self._announced: set[UUID] = set()
        self._wakeups = WakeupQueue()
        self.closed = False

    def announce(self, shop_id: UUID) -> None:
        """Say that this replica may have changed the shop; if it is followed, its position is read at once."""
        if shop_id in self._topics:
            self._announced.add(shop_id)
            self._timer.announce()

    @contextmanager
    def follow(self, shop_id: UUID) -> Iterator[FeedSubscription]:
        """Subscribe to a shop while the context lasts.

        Raises:
            TooManyWatchers: The replica has as many watchers as it accepts, in total or of this shop.
        """
        with self._limiter.place(shop_id):
            topic = self._topics.setdefault(shop_id, _Topic())
            topic.followers += 1
            try:
                yield FeedSubscription(self, shop_id, topic)
            finally:
                topic.followers -= 1
                if not topic.followers:
                    del self._topics[shop_id]

    async def run(self, drain: Drain, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain, then wake all followers."""
        await poll_until_drain(
            self._poll, pause=self._timer.pause, drain=drain, heartbeat=heartbeat, name="item feed hub"
        )
        self.closed = True
        for topic in self._topics.values():
            self._wake_all(topic)

    def is_stale(self, read_at: float) -> bool:
        """Return whether a read that began at this event-loop time is too old to prove anything."""
        return asyncio.get_running_loop().time() - read_at > self._max_read_age_seconds

    async def _poll(self) -> None:
        now = asyncio.get_running_loop().time()
        # All positions are due, or announced ones.
        is_due = self._timer.begin()
        shop_ids: Collection[UUID] = list(self._topics) if is_due else self._announced & self._topics.keys()
        self._announced = set()
        if not shop_ids:
            return
        positions = await self._feeds.heads(shop_ids)
        for shop_id in shop_ids:
            if (topic := self._topics.get(shop_id)) is not None:
                self.update(topic, positions.get(shop_id), read_at=now)

    def update(self, topic: _Topic, position: int | None, *, read_at: float) -> None:
        """Keep a position unless a later read has found another one; None: the shop is gone."""
        if read_at < topic.read_at:
            return
        topic.read_at = read_at
        if position is None:
            topic.gone = True
            self._wake_all(topic)
            return
        topic.position = position
        for wakeup in [one for one, known in topic.waiting.items() if known != position]:
            del topic.waiting[wakeup]
            self._wakeups.add(wakeup)

    def _wake_all(self, topic: _Topic) -> None:
        for wakeup in topic.waiting:
            self._wakeups.add(wakeup)
        topic.waiting = {}
