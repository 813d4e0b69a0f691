"""Refresh worker: claims shops with products to read again, and refreshes a bounded number of them at a time.

While requests arrive on this replica it looks for due shops often, so that a changed product is read soon after
the coalescing delay. Otherwise it looks seldom: for the shops of replicas that died, and those in backoff.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Final

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.domain.refresh import COALESCING_DELAY, QueuedRefresh
from catalog_svc.usecases.refresh_ports import Refreshes
from catalog_svc.usecases.refresh_run import RefreshRun

_log = logging.getLogger(__name__)

_ALERT_POLL_SECONDS: Final = 0.05
"""Between two polls after a request."""
_ALERT_SECONDS: Final = COALESCING_DELAY.total_seconds() + 0.2
"""After a request: until its shop is due, and a little longer."""


class RefreshWorker:
    """The refresh loop of one replica."""

    def __init__(
        self,
        *,
        refreshes: Refreshes,
        refresh: RefreshRun,
        drain: Drain,
        max_running: int,
        max_per_platform: int,
        poll_interval: timedelta = timedelta(seconds=1),
    ) -> None:
        """Create the worker.

        Args:
            refreshes: Where shops are claimed.
            refresh: What is done with a claimed shop.
            drain: Ends the loop.
            max_running: Shops that are refreshed at the same time.
            max_per_platform: Of these, shops of one platform: a slow platform leaves slots free for the others.
            poll_interval: Between two polls without requests.
        """
        self._refreshes = refreshes
        self._refresh = refresh
        self._drain = drain
        self._max_running = max_running
        self._max_per_platform = max_per_platform
        self._poll_interval_seconds = poll_interval.total_seconds()
        self._wake = asyncio.Event()
        self._alert_until = 0.0
        """By the event loop's clock."""
        self._running: dict[asyncio.Task[None], QueuedRefresh] = {}

    def wake(self) -> None:
        """Expect a shop to be due soon."""
        now = asyncio.get_running_loop().time()
        if now >= self._alert_until:
            self._wake.set()
        self._alert_until = now + _ALERT_SECONDS

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Claim and refresh shops until the drain, which hands over those that are being refreshed.

        When it is cancelled, so are the refreshes; their shops are claimed again when the claims have ended.
        """
        try:
            while not self._drain.started:
                self._wake.clear()
                if not await self._claim():
                    with suppress(ServerDraining):
                        await self._drain.race(self._wait())
                heartbeat()
            await asyncio.gather(*self._running, return_exceptions=True)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise

    async def _claim(self) -> int:
        """Claim as many shops as there are free slots, start their refreshes, and return how many."""
        by_platform = Counter(queued.platform for queued in self._running.values())
        full = [platform for platform, count in by_platform.items() if count >= self._max_per_platform]
        most = max((count for platform, count in by_platform.items() if platform not in full), default=0)
        # So many that no platform gets more than it may, whatever the platforms of the claimed shops are.
        free = min(self._max_running - len(self._running), self._max_per_platform - most)
        if free <= 0:
            return 0
        try:
            claimed = await self._refreshes.claim(limit=free, without_platforms=full)
        except StorageUnavailable:
            _log.warning("cannot claim refreshes: the database is unavailable")
            return 0
        for queued in claimed:
            task = asyncio.create_task(self._run(queued))
            self._running[task] = queued
            task.add_done_callback(self._run_ended)
        return len(claimed)

    def _run_ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        # There is a free slot, and the shop may be due again.
        self.wake()

    async def _run(self, queued: QueuedRefresh) -> None:
        context = {"shop_id": str(queued.shop_id)}
        try:
            await self._drain.race(self._refresh.run(queued))
        except ServerDraining:
            with suppress(StorageUnavailable):
                await self._refreshes.release(queued)
        except StorageUnavailable:
            _log.warning("refresh interrupted: the database is unavailable", extra=context)
        except Exception:
            # The shop is due again at the end of its claim.
            _log.exception("the refresh of a shop failed", extra=context)

    async def _wait(self) -> None:
        alert = asyncio.get_running_loop().time() < self._alert_until
        seconds = _ALERT_POLL_SECONDS if alert else self._poll_interval_seconds * random.uniform(0.7, 1.3)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
