"""Queue monitor: reads how many syncs wait for a worker, for the metrics.

Each replica reads the whole queue, so that the metric needs no particular replica.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.usecases.ports import Queue, QueueMetrics
from catalog_svc.usecases.refresh_ports import RefreshMetrics, RefreshRequests

_log = logging.getLogger(__name__)


class QueueMonitor:
    """The queue monitor loop of one replica."""

    def __init__(
        self,
        *,
        queue: Queue,
        refreshes: RefreshRequests,
        drain: Drain,
        metrics: QueueMetrics,
        refresh_metrics: RefreshMetrics,
        interval: timedelta = timedelta(seconds=15),
    ) -> None:
        self._queue = queue
        self._refreshes = refreshes
        self._drain = drain
        self._metrics = metrics
        self._refresh_metrics = refresh_metrics
        self._interval_seconds = interval.total_seconds()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Read the queue about once per interval, until the drain."""
        while True:
            try:
                await self._drain.race(self.read())
                heartbeat()
                await self._drain.race(asyncio.sleep(self._interval_seconds * random.uniform(0.8, 1.2)))
            except ServerDraining:
                return

    async def read(self) -> None:
        """Read the queues of syncs and refreshes once; without the database their metrics have no values."""
        try:
            self._metrics.queue_read(await self._queue.pending())
            self._refresh_metrics.refreshes_pending(await self._refreshes.pending())
        except StorageUnavailable:
            self._metrics.queue_unknown()
            self._refresh_metrics.refreshes_pending(None)
            _log.warning("cannot read the queues of syncs and refreshes: the database is unavailable")
