"""The analysis backfill: visits the stored items of shops whose analyzers have changed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.usecases.analysis_ports import Analyzers

_log = logging.getLogger(__name__)

_SHOPS_PER_ROUND: Final = 10


class AnalysisBackfill:
    """The loop of one replica. Replicas may visit the same shop: each step is a transaction of its own."""

    def __init__(
        self,
        *,
        analyzers: Analyzers,
        announce_change: Callable[[UUID], None],
        drain: Drain,
        poll_interval: timedelta = timedelta(seconds=5),
    ) -> None:
        """Create the loop.

        Args:
            analyzers: The analyzers of shops.
            announce_change: Called with the shop after each step.
            drain: Ends the loop.
            poll_interval: Between two looks for shops, while there are none.
        """
        self._analyzers = analyzers
        self._announce_change = announce_change
        self._drain = drain
        self._poll_interval_seconds = poll_interval.total_seconds()
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """Say that the analyzers of a shop have changed."""
        self._wakeup.set()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Visit items until the drain."""
        while True:
            try:
                await self._drain.race(self._round(heartbeat))
                heartbeat()
                await self._drain.race(self._pause())
            except ServerDraining:
                return

    async def _round(self, heartbeat: Heartbeat) -> None:
        self._wakeup.clear()
        try:
            while shop_ids := await self._analyzers.backfills(limit=_SHOPS_PER_ROUND):
                for shop_id in shop_ids:
                    await self._analyzers.backfill_step(shop_id)
                    self._announce_change(shop_id)
                    heartbeat()
        except StorageUnavailable:
            _log.warning("cannot visit items for analysis: the database is unavailable")

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_interval_seconds * random.uniform(0.7, 1.3)):
                await self._wakeup.wait()
