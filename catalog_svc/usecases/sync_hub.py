"""The latest snapshot of every sync that somebody on this replica follows.

State transfer, not an event log: a follower wants to know how it is now. All followers of a sync share one
snapshot and remember what they saw, so that a slow one costs nothing and misses nothing but what is past. What
this replica writes is published at once; what others write is found by one query for all, however many follow.
A heartbeat proves a recent read: when the feed cannot read a sync, its followers are told, and come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable, TooManyWatchers
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.audience import Audience
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.show_pace import ShowPace
from catalog_svc.usecases.stage import Stage

_log = logging.getLogger(__name__)


class Subscription:
    """One follower's view of a sync."""

    def __init__(self, slot: _Slot, syncs: Syncs, *, max_read_age: float) -> None:
        self._slot = slot
        self._syncs = syncs
        self._max_read_age = max_read_age
        self._shown_at = float("-inf")

    async def current(self) -> Sync:
        """How the sync is, as this replica read it lately, or reads it now.

        It is no news: the next change may be shown at once. Raises SyncNotFound, StorageUnavailable.
        """
        latest = self._slot.latest
        if latest is None or (self._is_stale and not latest.state.ended):
            return await self._slot.read(self._syncs)
        return latest

    async def ended(self) -> Sync:
        """The terminal snapshot, once there is one."""
        await self._slot.ended.wait()
        assert self._slot.latest is not None
        return self._slot.latest

    async def newer_than(self, revision: int, *, within: float) -> Sync | None:
        """The newest snapshot, above `revision`, when it is this follower's turn; None after `within` seconds
        without, or as soon as the drain begins.

        Raises StorageUnavailable instead of None when the feed has not read the sync lately.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._slot.turn(revision, shown_at=self._shown_at)
        newest = self._slot.latest
        if self._slot.closed:
            return None
        if newest is None or newest.revision <= revision:
            if newest is not None and self._is_stale:
                raise StorageUnavailable
            return None
        self._shown_at = asyncio.get_running_loop().time()
        return newest

    @property
    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() - self._slot.read_at > self._max_read_age


class _Slot:
    """A sync that is followed: what is known of it, and who is to be shown it."""

    def __init__(self, sync_id: UUID, stage: Stage) -> None:
        self.sync_id = sync_id
        self.latest: Sync | None = None
        self.read_at = float("-inf")
        """When the read or write began that showed `latest`, or nothing newer."""
        self.ended = asyncio.Event()
        self.followers = 0
        self.closed = False
        """Nothing more is shown."""
        self._reading: asyncio.Task[Sync] | None = None
        self._audience = Audience()
        self._stage = stage

    async def read(self, syncs: Syncs) -> Sync:
        """What is known after one read, whose result or error all share who ask while it runs.

        Thousands ask at once when another replica goes down. Raises SyncNotFound, StorageUnavailable.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(syncs))
            self._reading.add_done_callback(self._read_ended)
        return await asyncio.shield(self._reading)

    async def _read(self, syncs: Syncs) -> Sync:
        began = asyncio.get_running_loop().time()
        sync = await syncs.get(self.sync_id)
        self.offer(sync, read_at=began)
        return self.latest or sync

    def _read_ended(self, reading: asyncio.Task[Sync]) -> None:
        self._reading = None
        if not reading.cancelled():
            # Whoever asked may be gone.
            reading.exception()

    def offer(self, sync: Sync, *, read_at: float) -> None:
        """Takes what was read or written at that time of the loop's clock."""
        if self.latest is not None and self.latest.revision > sync.revision:
            return
        self.read_at = max(self.read_at, read_at)
        if self.latest is not None and self.latest.revision == sync.revision:
            return
        self.latest = sync
        self._audience.hear(asyncio.get_running_loop().time(), final=sync.state.ended)
        if self._audience.is_behind:
            self._stage.enter(self._audience)
        if sync.state.ended:
            self.ended.set()

    async def turn(self, revision: int, *, shown_at: float) -> None:
        """Returns when a follower that knows `revision` is to look."""
        if self.closed:
            return
        behind = self.latest is not None and self.latest.revision > revision
        if behind:
            self._stage.enter(self._audience)
        await self._audience.wait(behind=behind, shown_at=shown_at)

    def close(self) -> None:
        """Lets all go that wait."""
        self.closed = True
        self._stage.leave(self._audience)
        self._audience.dismiss()

    def abandon(self) -> None:
        """Ends what the last follower has left behind."""
        self.close()
        if self._reading is not None:
            self._reading.cancel()


class SyncFeed:
    """Hands snapshots to followers; `run` looks for those that other replicas wrote."""

    def __init__(
        self,
        syncs: Syncs,
        *,
        poll_every: timedelta = timedelta(milliseconds=300),
        max_followers: int = 10_000,
        max_read_age: timedelta = timedelta(seconds=30),
        pace: ShowPace | None = None,
    ) -> None:
        """`max_read_age`: three heartbeats; followers of a sync not read for longer get StorageUnavailable."""
        self._syncs = syncs
        self._max_read_age = max_read_age.total_seconds()
        self._poll_every = poll_every.total_seconds()
        self._max_followers = max_followers
        self._slots: dict[UUID, _Slot] = {}
        self._followers = 0
        self._is_reading = True
        self._stage = Stage(pace or ShowPace(), lambda: self._followers)

    @property
    def follower_count(self) -> int:
        """How many follow now; runs of our own do not count."""
        return self._followers

    def publish(self, sync: Sync) -> None:
        """Shows `sync` to its followers, if it is news."""
        slot = self._slots.get(sync.sync_id)
        if slot is not None:
            slot.offer(sync, read_at=asyncio.get_running_loop().time())

    @contextmanager
    def follow(self, sync_id: UUID, *, counted: bool = True) -> Iterator[Subscription]:
        """Follows a sync while the context lasts. Raises TooManyWatchers; the runs of our own do not count."""
        if counted and self._followers >= self._max_followers:
            raise TooManyWatchers(self._max_followers)
        slot = self._slot(sync_id)
        slot.followers += 1
        self._followers += counted
        try:
            yield Subscription(slot, self._syncs, max_read_age=self._max_read_age)
        finally:
            slot.followers -= 1
            self._followers -= counted
            if not slot.followers:
                slot.abandon()
                del self._slots[sync_id]

    def _slot(self, sync_id: UUID) -> _Slot:
        slot = self._slots.get(sync_id)
        if slot is None:
            slot = self._slots[sync_id] = _Slot(sync_id, self._stage)
        return slot

    async def run(self, drain: Drain, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Polls until the drain."""
        while True:
            try:
                await drain.race(asyncio.sleep(self._poll_every))
                await self._poll()
            except ServerDraining:
                for slot in self._slots.values():
                    slot.close()
                return
            except StorageUnavailable:
                self._reads(False)
            else:
                self._reads(True)
            heartbeat()

    def _reads(self, reads: bool) -> None:
        """Logs the first of several failed reads, and the first one that succeeds again."""
        if reads is self._is_reading:
            return
        self._is_reading = reads
        if reads:
            _log.info("the feed reads again")
        else:
            _log.warning("the feed cannot read: followers are told when the database stays unavailable")

    async def _poll(self) -> None:
        followed = [i for i, slot in self._slots.items() if slot.latest is None or not slot.latest.state.ended]
        if not followed:
            return
        began = asyncio.get_running_loop().time()
        for sync in await self._syncs.get_many(followed):
            if (slot := self._slots.get(sync.sync_id)) is not None:
                slot.offer(sync, read_at=began)
