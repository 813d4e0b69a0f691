"""The latest snapshot of every sync that somebody on this replica follows.

State transfer, not an event log: a follower wants to know how it is now. All followers of a sync share one
snapshot and remember what they saw, so that a slow one costs nothing and misses nothing but what is past. What
this replica writes is published at once; what others write is found by one query for all, however many follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from catalog_svc.domain.errors import StorageUnavailable, TooManyWatchers
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import Syncs
from servicekit.drain import Drain, ServerDraining

_log = logging.getLogger(__name__)


class Subscription:
    """One follower's view of a sync."""

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    @property
    def latest(self) -> Sync | None:
        """The newest snapshot known here; None: none yet."""
        return self._slot.latest

    async def ended(self) -> Sync:
        """The terminal snapshot, once there is one."""
        while True:
            changed, latest = self._slot.changed, self._slot.latest
            if latest is not None and latest.state.ended:
                return latest
            await changed.wait()

    async def newer_than(self, revision: int, *, within: float) -> Sync | None:
        """A snapshot above `revision` as soon as there is one; None after `within` seconds without."""
        try:
            async with asyncio.timeout(within):
                while True:
                    # The event first: what is published in between sets this very one.
                    changed, latest = self._slot.changed, self._slot.latest
                    if latest is not None and latest.revision > revision:
                        return latest
                    await changed.wait()
        except TimeoutError:
            return None


class _Slot:
    def __init__(self) -> None:
        self.latest: Sync | None = None
        self.changed = asyncio.Event()
        self.followers = 0

    def offer(self, sync: Sync) -> None:
        if self.latest is not None and self.latest.revision >= sync.revision:
            return
        self.latest = sync
        self.changed.set()
        self.changed = asyncio.Event()


class SyncFeed:
    """Hands snapshots to followers; `run` looks for those that other replicas wrote."""

    def __init__(
        self, syncs: Syncs, *, poll_every: timedelta = timedelta(milliseconds=300), max_followers: int = 10_000
    ) -> None:
        self._syncs = syncs
        self._poll_every = poll_every.total_seconds()
        self._max_followers = max_followers
        self._slots: dict[UUID, _Slot] = {}
        self._followers = 0

    def publish(self, sync: Sync) -> None:
        """Shows `sync` to its followers, if it is news."""
        slot = self._slots.get(sync.sync_id)
        if slot is not None:
            slot.offer(sync)

    @contextmanager
    def follow(self, sync_id: UUID, *, counted: bool = True) -> Iterator[Subscription]:
        """Follows a sync while the context lasts. Raises TooManyWatchers; the runs of our own do not count."""
        if counted and self._followers >= self._max_followers:
            raise TooManyWatchers(self._max_followers)
        slot = self._slots.setdefault(sync_id, _Slot())
        slot.followers += 1
        self._followers += counted
        try:
            yield Subscription(slot)
        finally:
            slot.followers -= 1
            self._followers -= counted
            if not slot.followers:
                del self._slots[sync_id]

    async def run(self, drain: Drain) -> None:
        """Polls until the drain."""
        while True:
            try:
                await drain.race(asyncio.sleep(self._poll_every))
                await self._poll()
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("the feed cannot read: followers get heartbeats until the database is back")

    async def _poll(self) -> None:
        followed = [i for i, slot in self._slots.items() if slot.latest is None or not slot.latest.state.ended]
        if followed:
            for sync in await self._syncs.get_many(followed):
                self.publish(sync)
