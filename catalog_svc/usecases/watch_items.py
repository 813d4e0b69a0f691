"""Reading the item feed of a shop: pages for clients that poll, and a stream for clients that follow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from catalogsync_common.drain import Drain

from catalog_svc.domain.item_feed import FeedCursor, FeedPage
from catalog_svc.domain.shop import Shop, ShopRef
from catalog_svc.usecases.catalog_ports import ItemFeeds
from catalog_svc.usecases.item_feed_hub import FeedSubscription, ItemFeedHub
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.stream_lifetime import ReconnectReason, StreamLifetime

_MAX_PAGE_READS: Final = 4
"""Pages of followers that a replica reads at a time, each follower one; the others wait in turn. Other reads have
the rest of the connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedStreamLimits:
    """Sizes and times of one stream."""

    page_items: int = 500
    checkpoint_every: timedelta = timedelta(seconds=10)
    """Between two messages without items to an idle follower; up to 30 % earlier."""
    max_age: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedMessage:
    """A page of the feed; one without items is a checkpoint."""

    page: FeedPage
    reconnect: ReconnectReason | None = None
    """Set in the last message of a stream: its client calls again."""


class WatchItems:
    """Yields the item feed of a shop until the client must call again."""

    def __init__(
        self,
        *,
        read: ReadCatalog,
        feeds: ItemFeeds,
        hub: ItemFeedHub,
        drain: Drain,
        limits: FeedStreamLimits | None = None,
    ) -> None:
        self._read = read
        self._feeds = feeds
        self._hub = hub
        self._drain = drain
        self._limits = limits or FeedStreamLimits()
        self._page_reads = asyncio.Semaphore(_MAX_PAGE_READS)

    async def page(self, ref: ShopRef, after: FeedCursor | None, *, limit: int) -> FeedPage:
        """Return the next items of the feed.

        Raises:
            ShopNotFound: The shop is not registered.
            PositionExpired: Changes after the cursor may have been purged, or it is of another history.
        """
        return await self._feeds.page(await self._read.shop(ref), after, limit=limit)

    async def __call__(self, ref: ShopRef, after: FeedCursor | None) -> AsyncGenerator[FeedMessage, None]:
        """Yield the items after the cursor, then their changes, with checkpoints in between.

        Raises:
            ShopNotFound: The shop is not registered, or was deleted.
            PositionExpired: Changes after the cursor may have been purged, or it is of another history.
            TooManyWatchers: The replica has as many watchers as it accepts, in total or of this shop.
            ServerDraining: The replica was shutting down already when the stream began.
            StorageUnavailable: The database was not read lately.
        """
        lifetime = StreamLifetime(self._drain, max_age=self._limits.max_age)
        shop = await self._read.shop(ref)
        with self._hub.follow(shop.shop_id) as subscription:
            page = await self._next_page(shop, after, subscription)
            while True:
                reconnect = lifetime.reconnect_reason()
                yield FeedMessage(page=page, reconnect=reconnect)
                if reconnect is not None:
                    return
                # An idle follower holds no items.
                page = page.checkpoint()
                if not page.caught_up or await self._has_changed(subscription, page.cursor.position):
                    page = await self._next_page(shop, page.cursor, subscription)

    async def _next_page(self, shop: Shop, after: FeedCursor | None, subscription: FeedSubscription) -> FeedPage:
        async with self._page_reads:
            began = asyncio.get_running_loop().time()
            page = await self._feeds.page(shop, after, limit=self._limits.page_items)
        if page.caught_up:
            subscription.offer(page.cursor.position, read_at=began)
        return page

    async def _has_changed(self, subscription: FeedSubscription, position: int) -> bool:
        """Return whether the shop has changed, or False when a checkpoint is due."""
        # Jitter: followers that were woken together must not all get their checkpoints together.
        timeout = self._limits.checkpoint_every.total_seconds() * random.uniform(0.7, 1)
        return await subscription.changed(position, timeout_seconds=timeout)
