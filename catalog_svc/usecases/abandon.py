"""Tells platforms that nobody waits for their jobs any more."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from catalog_svc.domain.errors import SourceFailed, StorageUnavailable
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import PlatformJobs, Syncs
from servicekit.drain import Drain

_log = logging.getLogger(__name__)
_MOST = 100
"""At once. A job that is not ended costs nobody anything but the platform."""


class Abandoner:
    """Ends the jobs that platforms run for cancelled syncs, in the background: a cancel answers at once.

    Best effort: it tries for `patience`, and a job that cannot be ended comes to its end by itself.
    """

    def __init__(
        self,
        *,
        syncs: Syncs,
        jobs: PlatformJobs,
        drain: Drain,
        patience: timedelta = timedelta(minutes=1),
        pause: timedelta = timedelta(seconds=2),
    ) -> None:
        self._syncs = syncs
        self._jobs = jobs
        self._drain = drain
        self._patience = patience.total_seconds()
        self._pause = pause.total_seconds()
        self._tasks: set[asyncio.Task[None]] = set()

    def abandon(self, sync: Sync) -> None:
        """Begins to end what runs for this sync; returns at once."""
        if self._drain.started or len(self._tasks) >= _MOST:
            _log.warning("a platform's job may run on", extra={"sync_id": str(sync.sync_id)})
            return
        task = asyncio.create_task(self._end(sync))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Until the drain; then gives up what is not done."""
        await self._drain.begun()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end(self, sync: Sync) -> None:
        about = {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key)}
        try:
            async with asyncio.timeout(self._patience):
                if await self._until_answered(sync):
                    _log.info("the platform's job was told to end", extra=about)
        except (TimeoutError, SourceFailed) as problem:
            _log.warning("a platform's job may run on", extra={**about, "problem": str(problem)})

    async def _until_answered(self, sync: Sync) -> bool:
        while True:
            try:
                checkpoint = await self._syncs.checkpoint(sync.sync_id)
                return bool(checkpoint) and await self._jobs.abandon(sync.shop.key, checkpoint)
            except StorageUnavailable:
                pass
            except SourceFailed as failure:
                if not failure.passing:
                    raise
            await asyncio.sleep(self._pause)
