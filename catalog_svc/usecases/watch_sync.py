"""Following a sync to its end."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining

from catalog_svc.domain.errors import RevisionInFuture, StreamExpired
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.sync_hub import Subscription, SyncFeed


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchLimits:
    """How a watch behaves."""

    heartbeat_every: timedelta = timedelta(seconds=10)
    """At most, unless thousands follow. The contract promises 30 s; thrice that often leaves room for a slow
    network."""
    heartbeats_per_second: float = 300
    """From this replica to all who follow; more would cost a running sync what it is to be spared."""
    longest_silence: timedelta = timedelta(seconds=25)
    """However many follow."""
    max_age: timedelta = timedelta(minutes=15)
    """Or up to a fifth earlier. Below the server's grace for old connections, so that a watch ends by itself."""

    def silence(self, followers: int) -> float:
        """Seconds after which one of so many followers is sent a heartbeat."""
        spread = max(self.heartbeat_every.total_seconds(), followers / self.heartbeats_per_second)
        return min(self.longest_silence.total_seconds(), spread)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sync as it is; a heartbeat when its revision was sent before."""

    sync: Sync
    heartbeat: bool


class FollowSync:
    """Yields snapshots of a sync until it has ended, as often as the feed shows them."""

    def __init__(
        self,
        *,
        syncs: Syncs,
        feed: SyncFeed,
        drain: Drain,
        limits: WatchLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._syncs = syncs
        self._feed = feed
        self._drain = drain
        self._limits = limits
        self._monotonic = monotonic

    async def __call__(self, sync_id: UUID, after_revision: int) -> AsyncGenerator[Snapshot, None]:
        """Snapshots above `after_revision`, heartbeats, and last the terminal one.

        All followers of a sync are given the same `Sync` objects. A heartbeat says that the sync was read lately.
        Raises SyncNotFound, RevisionInFuture, TooManyWatchers, StreamExpired, ServerDraining, StorageUnavailable.
        """
        # Those who came at once, after a replica went down, must not all come again at once.
        expires_at = self._monotonic() + random.uniform(0.8, 1) * self._limits.max_age.total_seconds()
        with self._feed.follow(sync_id) as subscription:
            sync = await self._first(subscription, sync_id, after_revision)
            yield Snapshot(sync, heartbeat=sync.revision == after_revision and not sync.state.ended)
            while not sync.state.ended:
                newer = await self._next(subscription, sync.revision)
                yield Snapshot(newer or sync, heartbeat=newer is None)
                sync = newer or sync
                if self._monotonic() >= expires_at and not sync.state.ended:
                    raise StreamExpired

    async def _first(self, subscription: Subscription, sync_id: UUID, after_revision: int) -> Sync:
        sync = await subscription.current()
        if after_revision > sync.revision:
            # Another replica may have shown its client what this one has not read yet.
            sync = await self._syncs.get(sync_id)
            self._feed.publish(sync)
        if after_revision > sync.revision:
            raise RevisionInFuture(sync_id, after_revision=after_revision, revision=sync.revision)
        return sync

    async def _next(self, subscription: Subscription, revision: int) -> Sync | None:
        """What is newer; None: it is time for a heartbeat."""
        # Else those who were shown the same in one moment would all get their heartbeats in one moment.
        within = self._limits.silence(self._feed.follower_count) * random.uniform(0.7, 1)
        newer = None if self._drain.started else await subscription.newer_than(revision, within=within)
        if newer is None and self._drain.started:
            raise ServerDraining
        return newer
