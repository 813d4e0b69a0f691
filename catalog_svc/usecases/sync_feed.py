"""The latest snapshot of every sync that somebody on this replica follows.

State transfer, not an event log: a follower wants to know how it is now. All followers of a sync share one
snapshot and remember what they saw, so that a slow one costs nothing and misses nothing but what is past. What
this replica writes is published at once; what others write is found by one query for all, however many follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

from catalog_svc.domain.errors import StorageUnavailable, TooManyWatchers
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.audience import Audience
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.show_pace import ShowPace
from catalog_svc.usecases.stage import Stage
from servicekit.drain import Drain, ServerDraining

_log = logging.getLogger(__name__)


class Subscription:
    """One follower's view of a sync."""

    def __init__(self, slot: _Slot, syncs: Syncs) -> None:
        self._slot = slot
        self._syncs = syncs
        self._shown_at = float("-inf")

    async def current(self) -> Sync:
        """How the sync is, as far as this replica knows; read if it knows nothing. Raises SyncNotFound.

        It is no news: the next change may be shown at once.
        """
        # Thousands come at once when another replica goes down: one of them reads for all.
        async with self._slot.reading:
            return self._slot.latest or self._slot.begin_with(await self._syncs.get(self._slot.sync_id))

    async def ended(self) -> Sync:
        """The terminal snapshot, once there is one."""
        await self._slot.ended.wait()
        assert self._slot.latest is not None
        return self._slot.latest

    async def newer_than(self, revision: int, *, within: float) -> Sync | None:
        """The newest snapshot, above `revision`, when it is this follower's turn; None after `within` seconds
        without, or as soon as the drain begins."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._slot.turn(revision, shown_at=self._shown_at)
        newest = self._slot.latest
        if self._slot.closed or newest is None or newest.revision <= revision:
            return None
        self._shown_at = asyncio.get_running_loop().time()
        return newest


class _Slot:
    """A sync that is followed: what is known of it, and who is to be shown it."""

    def __init__(self, sync_id: UUID, stage: Stage) -> None:
        self.sync_id = sync_id
        self.latest: Sync | None = None
        self.ended = asyncio.Event()
        self.followers = 0
        self.closed = False
        """Nothing more is shown."""
        self.reading = asyncio.Lock()
        self._audience = Audience()
        self._stage = stage

    def begin_with(self, sync: Sync) -> Sync:
        """What is known, at least `sync`."""
        self.offer(sync)
        return self.latest or sync

    def offer(self, sync: Sync) -> None:
        if self.latest is not None and self.latest.revision >= sync.revision:
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


class SyncFeed:
    """Hands snapshots to followers; `run` looks for those that other replicas wrote."""

    def __init__(
        self,
        syncs: Syncs,
        *,
        poll_every: timedelta = timedelta(milliseconds=300),
        max_followers: int = 10_000,
        pace: ShowPace | None = None,
    ) -> None:
        self._syncs = syncs
        self._poll_every = poll_every.total_seconds()
        self._max_followers = max_followers
        self._slots: dict[UUID, _Slot] = {}
        self._followers = 0
        self._stage = Stage(pace or ShowPace(), lambda: self._followers)

    @property
    def follower_count(self) -> int:
        """How many follow now; runs of our own do not count."""
        return self._followers

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
        slot = self._slot(sync_id)
        slot.followers += 1
        self._followers += counted
        try:
            yield Subscription(slot, self._syncs)
        finally:
            slot.followers -= 1
            self._followers -= counted
            if not slot.followers:
                slot.close()
                del self._slots[sync_id]

    def _slot(self, sync_id: UUID) -> _Slot:
        slot = self._slots.get(sync_id)
        if slot is None:
            slot = self._slots[sync_id] = _Slot(sync_id, self._stage)
        return slot

    async def run(self, drain: Drain) -> None:
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
                _log.warning("the feed cannot read: followers get heartbeats until the database is back")

    async def _poll(self) -> None:
        followed = [i for i, slot in self._slots.items() if slot.latest is None or not slot.latest.state.ended]
        if followed:
            for sync in await self._syncs.get_many(followed):
                self.publish(sync)
