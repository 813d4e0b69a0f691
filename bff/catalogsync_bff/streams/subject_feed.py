"""The feed of one subject: all of its syncs, from one WatchSyncs stream, for all of its browsers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from contextvars import Context
from itertools import count
from typing import Final

from catalogsync_client import CatalogClient, CatalogSyncError, Disconnect

from catalogsync_bff.json_form import encode
from catalogsync_bff.streams.connection import ConnectionMonitor
from catalogsync_bff.streams.ended_syncs import latest_ended_syncs
from catalogsync_bff.streams.known_syncs import KnownSyncs
from catalogsync_bff.streams.mailbox import Event, Mailbox
from catalogsync_bff.streams.snapshot import Snapshot
from catalogsync_bff.streams.sync_topics import UPSTREAM_RETRY, SyncTopics, TooManyTopics

_log = logging.getLogger(__name__)

_MAX_REMOVALS: Final = 256
"""Removals that a browser may have missed and still resume."""


class SubjectFeed:
    """The syncs of one subject and the mailboxes of its browsers.

    The id of an event is this feed's own id and a number that grows with each event.
    """

    def __init__(self, catalog: CatalogClient, topics: SyncTopics) -> None:
        self._catalog = catalog
        self._topics = topics
        self._feed_id = secrets.token_hex(6)
        self._number = 0
        self._syncs = KnownSyncs()
        self._removals: OrderedDict[int, tuple[str, Event]] = OrderedDict()
        self._mailboxes: list[Mailbox] = []
        self._caught_up = False
        self._monitor = ConnectionMonitor(self._report_connection)
        self._progress = _Progress(self, topics)
        self._task: asyncio.Task[None] | None = None
        self.idle_since: float | None = None
        """Time of the event loop since which there is no browser; None: there are some."""

    @property
    def failed(self) -> bool:
        """Whether the stream has ended with an error, such as an expired token."""
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Open the stream."""
        # Not in the context of the first browser's request, whose correlation id would be that of all.
        self._task = asyncio.create_task(self._run(), name="feed", context=Context())

    async def stop(self) -> None:
        """Close the stream and all mailboxes."""
        self._monitor.close()
        self._close_mailboxes()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def event_id(self) -> str:
        """Return the id of the last event."""
        return f"{self._feed_id}-{self._number}"

    @contextmanager
    def subscribed(self, mailbox: Mailbox, *, last_event_id: str) -> Iterator[bool]:
        """Deliver to a mailbox within the block: first what is known, then what changes.

        Args:
            mailbox: of a browser.
            last_event_id: of the last event that the browser has received; "" if there is none.

        Yields:
            Whether the browser learns everything that it has missed; otherwise it must read its lists again.
        """
        resumed = self._replay_removals(mailbox, last_event_id)
        self._mailboxes.append(mailbox)
        self.idle_since = None
        if self._caught_up:
            self._deliver_all(mailbox)
        if self._monitor.interrupted:
            mailbox.put("connection", self._connection_event(True))
        if self.failed:
            mailbox.close()
        try:
            yield resumed
        finally:
            self._mailboxes.remove(mailbox)
            if not self._mailboxes:
                self.idle_since = asyncio.get_running_loop().time()

    def apply(self, snapshot: Snapshot) -> None:
        """Take a snapshot of a sync and deliver it if it is newer."""
        if not self._syncs.apply(snapshot):
            return
        if self._caught_up:
            self._publish(f"sync:{snapshot.sync_id}", "sync", snapshot.payload)
        # Last: a topic that others watch already delivers its latest snapshot at once, which comes back here.
        self._progress.follow(snapshot)

    async def _run(self) -> None:
        try:
            await self._read_ended()
            await self._follow()
        except CatalogSyncError as error:
            # Such as POSITION_EXPIRED: browsers reconnect, and a new feed begins from the start.
            _log.warning("a feed has ended: %s", error.message)
        except Exception:
            _log.exception("a feed failed")
        finally:
            self._progress.close()
            self._close_mailboxes()

    async def _read_ended(self) -> None:
        """Read the latest ended sync of each shop, however long the catalog does not answer."""
        for attempts in count():
            try:
                syncs = await latest_ended_syncs(self._catalog)
                break
            except CatalogSyncError as error:
                if not error.is_transient:
                    raise
                self._monitor.changed(Disconnect(failure=error.failure, backoff_seconds=0))
                await asyncio.sleep(UPSTREAM_RETRY.backoff_seconds(error.failure, attempts=attempts))
        # The stream that follows reports interruptions of its own only.
        self._monitor.changed(None)
        for sync in syncs:
            self.apply(Snapshot.of(sync))

    async def _follow(self) -> None:
        stream = self._catalog.watch_syncs(on_connection=self._monitor.changed, retry_policy=UPSTREAM_RETRY)
        async with aclosing(stream) as messages:
            async for message in messages:
                for sync in message.syncs:
                    self.apply(Snapshot.of(sync))
                for sync_id in message.removed_sync_ids:
                    self._remove_sync(sync_id)
                for shop_id in message.deleted_shop_ids:
                    self._remove_shop(shop_id)
                if message.caught_up:
                    self._catch_up()

    def _catch_up(self) -> None:
        if self._caught_up:
            return
        self._caught_up = True
        for mailbox in self._mailboxes:
            self._deliver_all(mailbox)

    def _deliver_all(self, mailbox: Mailbox) -> None:
        for snapshot in self._syncs:
            mailbox.put(f"sync:{snapshot.sync_id}", Event(name="sync", data=snapshot.payload))
        mailbox.put("caught_up", Event(name="caught_up", data=b"{}", event_id=self.event_id()))

    def _remove_sync(self, sync_id: str) -> None:
        self._syncs.remove_sync(sync_id)
        self._progress.unfollow(sync_id)
        self._publish_removal(f"sync:{sync_id}", "sync_removed", {"sync_id": sync_id})

    def _remove_shop(self, shop_id: str) -> None:
        for sync_id in self._syncs.remove_shop(shop_id):
            self._progress.unfollow(sync_id)
        self._publish_removal(f"shop:{shop_id}", "shop_deleted", {"shop_id": shop_id})

    def _publish_removal(self, key: str, name: str, content: dict[str, str]) -> None:
        event = self._publish(key, name, encode(content))
        self._removals[self._number] = (key, event)
        if len(self._removals) > _MAX_REMOVALS:
            self._removals.popitem(last=False)

    def _replay_removals(self, mailbox: Mailbox, last_event_id: str) -> bool:
        feed_id, _, number = last_event_id.partition("-")
        if feed_id != self._feed_id or not number.isdecimal():
            return False
        missed = [entry for at, entry in self._removals.items() if at > int(number)]
        if len(missed) == _MAX_REMOVALS:
            return False
        for key, event in missed:
            mailbox.put(key, event)
        return True

    def _publish(self, key: str, name: str, data: bytes) -> Event:
        self._number += 1
        event = Event(name=name, data=data, event_id=self.event_id())
        for mailbox in self._mailboxes:
            mailbox.put(key, event)
        return event

    def _report_connection(self, interrupted: bool) -> None:
        event = self._connection_event(interrupted)
        for mailbox in self._mailboxes:
            mailbox.put("connection", event)

    def _connection_event(self, interrupted: bool) -> Event:
        return Event(name="connection", data=encode({"state": "interrupted" if interrupted else "restored"}))

    def _close_mailboxes(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.close()


class _Progress:
    """Subscribes a feed to the topics of its active syncs: the listener of all of them."""

    def __init__(self, feed: SubjectFeed, topics: SyncTopics) -> None:
        self._feed = feed
        self._topics = topics
        self._followed: set[str] = set()

    def follow(self, snapshot: Snapshot) -> None:
        """Subscribe to an active sync, or unsubscribe from an ended one."""
        sync_id = snapshot.sync_id
        if snapshot.has_ended:
            self.unfollow(sync_id)
        elif sync_id not in self._followed:
            self._followed.add(sync_id)
            try:
                self._topics.subscribe(sync_id, self)
            except TooManyTopics:
                # Its state is still known from the feed, its progress is not.
                self._followed.discard(sync_id)

    def unfollow(self, sync_id: str) -> None:
        """Unsubscribe from a sync."""
        if sync_id in self._followed:
            self._followed.discard(sync_id)
            self._topics.unsubscribe(sync_id, self)

    def close(self) -> None:
        """Unsubscribe from all syncs."""
        for sync_id in tuple(self._followed):
            self.unfollow(sync_id)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self._feed.apply(snapshot)

    def on_connection(self, interrupted: bool) -> None:
        """Do nothing: the feed's own stream leads to the same service."""

    def on_end(self) -> None:
        """Do nothing: the terminal snapshot came before."""
