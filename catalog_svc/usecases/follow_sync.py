"""Following a sync to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from catalog_svc.domain.errors import RevisionInFuture, StreamExpired
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import Syncs
from catalog_svc.usecases.sync_feed import Subscription, SyncFeed
from servicekit.drain import Drain


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchLimits:
    """How a watch behaves."""

    heartbeat_every: timedelta = timedelta(seconds=10)
    """The contract promises 30 s; thrice that often leaves room for a slow network."""
    min_interval: timedelta = timedelta(milliseconds=250)
    """Between two snapshots that are not terminal: more than an eye can follow is coalesced."""
    max_age: timedelta = timedelta(minutes=15)
    """Below the server's grace for old connections, so that a watch ends by itself, and properly."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sync as it is; a heartbeat when its revision was sent before."""

    sync: Sync
    heartbeat: bool


class FollowSync:
    """Yields snapshots of a sync until it has ended."""

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

        Raises SyncNotFound, RevisionInFuture, TooManyWatchers, StreamExpired, ServerDraining.
        """
        expires_at = self._monotonic() + self._limits.max_age.total_seconds()
        with self._feed.follow(sync_id) as subscription:
            sync = await self._syncs.get(sync_id)
            if after_revision > sync.revision:
                raise RevisionInFuture(sync_id, after_revision=after_revision, revision=sync.revision)
            self._feed.publish(sync)
            yield Snapshot(sync, heartbeat=sync.revision == after_revision and not sync.state.ended)
            while not sync.state.ended:
                newer = await self._next(subscription, sync)
                yield Snapshot(newer or sync, heartbeat=newer is None)
                sync = newer or sync
                if self._monotonic() >= expires_at and not sync.state.ended:
                    raise StreamExpired

    async def _next(self, subscription: Subscription, seen: Sync) -> Sync | None:
        """The newest after a short rest, so that many small steps become one; at once when it is the last."""
        within = self._limits.heartbeat_every.total_seconds()
        newer = await self._drain.race(subscription.newer_than(seen.revision, within=within))
        if newer is None or newer.state.ended:
            return newer
        await self._drain.race(asyncio.sleep(self._limits.min_interval.total_seconds()))
        return subscription.latest or newer
