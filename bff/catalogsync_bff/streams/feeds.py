"""The feeds of this process: one per subject, as long as a browser of the subject reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from catalogsync_client import CatalogClient

from catalogsync_bff.streams.subject_feed import SubjectFeed
from catalogsync_bff.streams.sync_topics import SyncTopics

_LINGER_SECONDS: Final = 15.0
"""A feed without browsers is kept this long: a page that is loaded again finds it."""


class Feeds:
    """Feeds by subject."""

    def __init__(self, topics: SyncTopics) -> None:
        self._topics = topics
        self._feeds: dict[str, SubjectFeed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def feed(self, subject: str, catalog: CatalogClient) -> SubjectFeed:
        """Return the feed of a subject, started if it is new.

        Args:
            subject: whose syncs.
            catalog: a client with the rights of the subject.
        """
        feed = self._feeds.get(subject)
        if feed is None or feed.failed:
            feed = self._feeds[subject] = SubjectFeed(catalog, self._topics)
            feed.idle_since = asyncio.get_running_loop().time()
            feed.start()
        return feed

    async def close_idle(self) -> None:
        """End the feeds that no browser has read for a while."""
        now = asyncio.get_running_loop().time()
        for subject, feed in list(self._feeds.items()):
            if feed.idle_since is not None and (feed.failed or now - feed.idle_since > _LINGER_SECONDS):
                del self._feeds[subject]
                await feed.stop()

    async def close(self) -> None:
        """End all feeds."""
        feeds = list(self._feeds.values())
        self._feeds.clear()
        for feed in feeds:
            await feed.stop()


class StreamLimiter:
    """Limits the open event streams of the process and of each subject."""

    def __init__(self, *, most: int, most_per_subject: int) -> None:
        self._most = most
        self._most_per_subject = most_per_subject
        self._open: dict[str, int] = {}
        self.count = 0
        """All open streams."""

    @contextmanager
    def opened(self, subject: str) -> Iterator[bool]:
        """Count a stream within the block; yield False if there are too many, and count nothing."""
        mine = self._open.get(subject, 0)
        if self.count >= self._most or mine >= self._most_per_subject:
            yield False
            return
        self._open[subject] = mine + 1
        self.count += 1
        try:
            yield True
        finally:
            self.count -= 1
            self._open[subject] -= 1
            if not self._open[subject]:
                del self._open[subject]
