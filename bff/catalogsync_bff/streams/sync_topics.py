"""Fans out the progress of syncs: one WatchSync stream per sync, whatever the number of its subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import Context
from typing import Final, Protocol

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import CatalogClient, CatalogSyncError, RetryPolicy
from catalogsync_client.resuming_stream import ConnectionCallback

from catalogsync_bff.streams.connection import ConnectionMonitor
from catalogsync_bff.streams.snapshot import Snapshot

_log = logging.getLogger(__name__)

UPSTREAM_RETRY: Final = RetryPolicy(
    give_up_seconds=float("inf"), initial_backoff_seconds=0.25, max_backoff_seconds=2.0
)
"""Few streams reconnect, for many browsers that wait: sooner than a client for itself, and without end."""

WatchSync = Callable[[str, ConnectionCallback], AsyncGenerator[Sync, None]]
"""Watches a sync until it ends."""


class TopicListener(Protocol):
    """A subscriber of a topic."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take a snapshot with a growing revision."""
        ...

    def on_connection(self, interrupted: bool) -> None:
        """Take note of an interrupted or restored connection."""
        ...

    def on_end(self) -> None:
        """Take note that nothing follows: the sync has ended, or does not exist any more."""
        ...


class TooManyTopics(Exception):
    """The process watches as many syncs as it may."""


class SyncTopics:
    """The watched syncs of this process.

    Args:
        watch: opens the stream of a sync.
        max_topics: how many syncs are watched at the same time.
    """

    def __init__(self, watch: WatchSync, *, max_topics: int) -> None:
        self._watch = watch
        self._max_topics = max_topics
        self._topics: dict[str, _Topic] = {}

    @classmethod
    def of_client(cls, client: CatalogClient, *, max_topics: int) -> SyncTopics:
        """Return the topics that are watched by a client."""

        def watch(sync_id: str, on_connection: ConnectionCallback) -> AsyncGenerator[Sync, None]:
            return client.watch(sync_id, on_connection=on_connection, retry_policy=UPSTREAM_RETRY)

        return cls(watch, max_topics=max_topics)

    def __len__(self) -> int:
        return len(self._topics)

    @contextmanager
    def subscribed(self, sync_id: str, listener: TopicListener) -> Iterator[None]:
        """Subscribe a listener within the block; it gets the latest snapshot at once if there is one.

        Whether the listener may see the sync was checked by the caller.

        Raises:
            TooManyTopics: the sync is not watched yet, and as many as allowed are.
        """
        self.subscribe(sync_id, listener)
        try:
            yield
        finally:
            self.unsubscribe(sync_id, listener)

    def subscribe(self, sync_id: str, listener: TopicListener) -> None:
        """Subscribe a listener; see `subscribed`."""
        topic = self._topics.get(sync_id)
        if topic is None:
            if len(self._topics) >= self._max_topics:
                raise TooManyTopics
            topic = self._topics[sync_id] = _Topic(sync_id)
            topic.start(self._watch, on_done=lambda: self._remove(topic))
        topic.add(listener)

    def unsubscribe(self, sync_id: str, listener: TopicListener) -> None:
        """Unsubscribe a listener; the stream of a sync without listeners ends."""
        topic = self._topics.get(sync_id)
        if topic is not None and topic.remove(listener):
            self._remove(topic)

    async def close(self) -> None:
        """End all streams."""
        topics = list(self._topics.values())
        self._topics.clear()
        for topic in topics:
            await topic.stop()

    def _remove(self, topic: _Topic) -> None:
        if self._topics.get(topic.sync_id) is topic:
            del self._topics[topic.sync_id]
        topic.cancel()


class _Topic:
    """One watched sync: its latest snapshot and its subscribers."""

    def __init__(self, sync_id: str) -> None:
        self.sync_id = sync_id
        self._latest: Snapshot | None = None
        self._listeners: list[TopicListener] = []
        self._monitor = ConnectionMonitor(self._report_connection)
        self._task: asyncio.Task[None] | None = None

    def start(self, watch: WatchSync, *, on_done: Callable[[], None]) -> None:
        # Not in the context of the first subscriber's request, whose correlation id would be that of all.
        self._task = asyncio.create_task(self._run(watch), name=f"watch {self.sync_id}", context=Context())
        self._task.add_done_callback(lambda _: on_done())

    def add(self, listener: TopicListener) -> None:
        self._listeners.append(listener)
        if self._latest is not None:
            listener.on_snapshot(self._latest)
        if self._monitor.interrupted:
            listener.on_connection(True)

    def remove(self, listener: TopicListener) -> bool:
        """Remove a listener and return whether it was the last one."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        return not self._listeners

    def cancel(self) -> None:
        self._monitor.close()
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        self.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self, watch: WatchSync) -> None:
        try:
            async with aclosing(watch(self.sync_id, self._monitor.changed)) as syncs:
                async for sync in syncs:
                    self._publish(Snapshot.of(sync))
        except CatalogSyncError as error:
            _log.warning("a sync can no longer be watched: %s", error.message, extra={"sync_id": self.sync_id})
        except Exception:
            _log.exception("the watch of a sync failed", extra={"sync_id": self.sync_id})
        self._monitor.close()
        for listener in tuple(self._listeners):
            listener.on_end()

    def _publish(self, snapshot: Snapshot) -> None:
        self._latest = snapshot
        for listener in tuple(self._listeners):
            listener.on_snapshot(snapshot)

    def _report_connection(self, interrupted: bool) -> None:
        for listener in tuple(self._listeners):
            listener.on_connection(interrupted)
