"""Watching a sync to its end: snapshots, heartbeats, expiry and drain."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import RevisionInFuture
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import DeliveryMetrics
from catalog_svc.usecases.stream_lifetime import ReconnectReason, StreamLifetime
from catalog_svc.usecases.sync_hub import Subscription, SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sync at one revision. A heartbeat repeats a revision that was sent before, with the present position of a
    PENDING sync in the queue."""

    sync: Sync
    heartbeat: bool
    reconnect: ReconnectReason | None = None
    """Set in the last snapshot of a watch that ends before the sync: its client watches again."""


class WatchSync:
    """Yields snapshots of a sync until it has ended, or until the client must watch again."""

    def __init__(
        self,
        *,
        hub: SyncHub,
        drain: Drain,
        limits: WatchLimits,
        metrics: DeliveryMetrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._drain = drain
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic

    async def __call__(self, sync_id: UUID, after_revision: int) -> AsyncGenerator[Snapshot, None]:
        """Yield snapshots above `after_revision`, heartbeats, and last the terminal snapshot or one to reconnect.

        All watchers of a sync get the same `Sync` objects. A heartbeat proves that the hub read the sync lately.

        Raises:
            SyncNotFound: There is no such sync.
            RevisionInFuture: The sync never had `after_revision`.
            TooManyWatchers: The replica has as many watchers as it accepts, in total or of this shop.
            ServerDraining: The replica was shutting down already when the watch began.
            StorageUnavailable: The hub has not read the sync lately.
        """
        lifetime = StreamLifetime(self._drain, max_age=self._limits.max_age, monotonic=self._monotonic)
        with self._hub.subscribe(sync_id) as subscription:
            sync = await self._first(subscription, sync_id, after_revision)
            yield Snapshot(sync, heartbeat=sync.revision == after_revision and not sync.state.ended)
            reconnect = None
            while not sync.state.ended and reconnect is None:
                newer = await self._next(subscription, sync.revision)
                if newer is not None:
                    self._metrics.event_delivered("sync", datetime.now(UTC) - newer.updated_at)
                sync = newer or subscription.updated(sync)
                if not sync.state.ended:
                    reconnect = lifetime.reconnect_reason()
                yield Snapshot(sync, heartbeat=newer is None, reconnect=reconnect)

    async def _first(self, subscription: Subscription, sync_id: UUID, after_revision: int) -> Sync:
        sync = await subscription.current()
        if after_revision > sync.revision:
            # Another replica may have delivered a revision that this one has not read yet.
            sync = await subscription.refresh()
        if after_revision > sync.revision:
            raise RevisionInFuture(sync_id, after_revision=after_revision, revision=sync.revision)
        return sync

    async def _next(self, subscription: Subscription, revision: int) -> Sync | None:
        """Return the next snapshot, or None when a heartbeat is due."""
        # Jitter: watchers that got the same snapshot together must not all get their heartbeats together.
        timeout = self._limits.heartbeat_seconds(self._hub.watcher_count) * random.uniform(0.7, 1)
        return None if self._drain.started else await subscription.next_after(revision, timeout_seconds=timeout)
