"""Following all shops: which shops have changed items, and which syncs have another state."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from catalogsync_common.drain import Drain

from catalog_svc.domain.change_feed import ChangeCursor, ChangedShop, ChangeFilter, ChangePage
from catalog_svc.usecases.catalog_ports import ChangeFeeds
from catalog_svc.usecases.change_hub import ChangeHub, ChangeSubscription
from catalog_svc.usecases.ports import DeliveryMetrics
from catalog_svc.usecases.stream_lifetime import ReconnectReason, StreamLifetime
from catalog_svc.usecases.watch_items import FeedStreamLimits

_MAX_PAGE_READS: Final = 2
"""Pages of followers that a replica reads at a time; the others wait in turn. Other reads have the rest of the
connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeMessage:
    """A page of the change feed; one without records is a checkpoint."""

    page: ChangePage
    reconnect: ReconnectReason | None = None
    """Set in the last message of a stream: its client calls again."""


class WatchChanges:
    """Yields the change feed until the client must call again."""

    def __init__(
        self,
        *,
        feeds: ChangeFeeds,
        hub: ChangeHub,
        drain: Drain,
        metrics: DeliveryMetrics,
        limits: FeedStreamLimits | None = None,
    ) -> None:
        self._feeds = feeds
        self._hub = hub
        self._drain = drain
        self._metrics = metrics
        self._limits = limits or FeedStreamLimits()
        self._page_reads = asyncio.Semaphore(_MAX_PAGE_READS)

    async def __call__(
        self, which: ChangeFilter, after: ChangeCursor | None
    ) -> AsyncGenerator[ChangeMessage, None]:
        """Yield the records after the cursor, then those of new events, with checkpoints in between.

        Args:
            which: The records to yield.
            after: Where the consumer continues; None: with the snapshot.

        Raises:
            ChangePositionExpired: Events after the cursor may have been purged, or it is of another database.
            TooManyWatchers: The replica has as many watchers as it accepts.
            ServerDraining: The replica was shutting down already when the stream began.
            StorageUnavailable: The database was not read lately.
        """
        lifetime = StreamLifetime(self._drain, max_age=self._limits.max_age)
        with self._hub.follow(which) as subscription:
            page = await self._read(after, which)
            while True:
                reconnect = lifetime.reconnect_reason()
                yield ChangeMessage(page=page, reconnect=reconnect)
                if reconnect is not None:
                    return
                cursor, caught_up = page.cursor, page.caught_up
                # A follower that waits holds no records.
                del page
                page = await (self._wait(cursor, which, subscription) if caught_up else self._read(cursor, which))

    async def _read(self, after: ChangeCursor | None, which: ChangeFilter) -> ChangePage:
        async with self._page_reads:
            cursor = after or await self._feeds.start()
            if cursor.snapshot is not None:
                return await self._feeds.snapshot(cursor, limit=self._limits.page_items, which=which)
            return await self._feeds.events(cursor, limit=self._limits.page_items, which=which)

    async def _wait(
        self, cursor: ChangeCursor, which: ChangeFilter, subscription: ChangeSubscription
    ) -> ChangePage:
        """Return the next page with records, or one without when a checkpoint is due."""
        # Jitter: followers that were woken together must not all get their checkpoints together.
        clock = asyncio.get_running_loop().time
        due_at = clock() + self._limits.checkpoint_every.total_seconds() * random.uniform(0.7, 1)
        while True:
            page = subscription.buffered(cursor, limit=self._limits.page_items)
            if page is None:
                page = await self._read(cursor, which)
                if page.caught_up and not page.records:
                    cursor = page.cursor
                    continue
            if page.records or not page.caught_up or subscription.closed or clock() >= due_at:
                self._count_delivery(page)
                return page
            cursor = await subscription.wait(page.cursor, timeout_seconds=due_at - clock())

    def _count_delivery(self, page: ChangePage) -> None:
        """Count the oldest new record of a follower that has read everything before."""
        written = [record.recorded_at for record in page.records if isinstance(record, ChangedShop)]
        if times := [time for time in written if time is not None]:
            self._metrics.event_delivered("changes", datetime.now(UTC) - min(times))
