"""Ordering a sync.

Ending a sync early, and going on with one that ended early.

Whether a connector can read a shop at all.

Tells platforms that nobody waits for their jobs any more."""

from __future__ import annotations

from collections.abc import Callable
from catalog_svc.domain.sync import StartSyncCommand, Sync
from catalog_svc.usecases.ports import Platforms, Shops, SyncCommands
from uuid import UUID
from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import SyncCommands
import re
from catalogsync_common.failure import InvalidRequest
from catalog_svc.domain.shop import ShopKey
from catalog_svc.usecases.ports import Platforms
import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat
from catalog_svc.domain.errors import SourceFailed, StorageUnavailable
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncState, SyncTrigger
from catalog_svc.usecases.ports import PlatformJobs, Syncs

_log = logging.getLogger(__name__)

class StartSync:
    """Takes an order for a sync; the work itself is picked up by a worker, of this replica or another."""

    def __init__(
        self, *, shops: Shops, commands: SyncCommands, platforms: Platforms, wake_worker: Callable[[], None]
    ) -> None:
        self._shops = shops
        self._commands = commands
        self._platforms = platforms
        self._wake_worker = wake_worker

    async def __call__(self, order: StartSyncCommand) -> Sync:
        """The PENDING sync, or the one that the same request_id started before.

        Raises InvalidRequest for a platform or domain that nobody supports, SyncAlreadyRunning, RequestIdReused,
        and ConnectorUnavailable when a shop never seen before cannot be looked up.
        """
        if await self._shops.find(order.shop) is None:
            # A shop that is registered was checked when it was new: a connector that is away does not hold it up.
            await check_supported(self._platforms, order.shop)
        sync = await self._commands.start(order)
        self._wake_worker()
        return sync


class ChangeSync:
    """Cancels and resumes."""

    def __init__(
        self,
        *,
        commands: SyncCommands,
        publish: Callable[[Sync], None],
        cancel_platform_job: Callable[[Sync], None],
        wake_worker: Callable[[], None],
    ) -> None:
        self._commands = commands
        self._publish = publish
        self._cancel_platform_job = cancel_platform_job
        self._wake_worker = wake_worker

    async def cancel(self, sync_id: UUID) -> Sync:
        """The sync, CANCELLED from now on; whoever runs it notices within a second, and a job that the platform
        runs for it is ended.

        Raises SyncNotFound, SyncNotCancellable.
        """
        sync = await self._commands.cancel(sync_id)
        self._publish(sync)
        self._cancel_platform_job(sync)
        return sync

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """A new sync that goes on from the checkpoint of this one.

        Raises SyncNotFound, SyncNotResumable, SyncAlreadyRunning, RequestIdReused.
        """
        sync = await self._commands.resume(sync_id, request_id=request_id, correlation_id=correlation_id)
        self._wake_worker()
        return sync


async def check_supported(platforms: Platforms, shop: ShopKey) -> None:
    """Check the shop's platform and domain against what the connector supports.

    Raises:
        InvalidRequest: no connector reads this platform, or its shops have other domains.
        ConnectorUnavailable: the connector does not answer.
    """
    platform = await platforms.find(shop.platform)
    if platform is None:
        names = ", ".join(await platforms.names())
        raise InvalidRequest.of("shop.platform", f"{shop.platform!r} is not supported; there are: {names}")
    if not re.fullmatch(platform.domain_pattern, shop.domain):
        raise InvalidRequest.of("shop.domain", f"{shop.domain!r} is no domain of a {platform.name} shop")


_HEARTBEAT_INTERVAL_SECONDS = 5.0
_ACTIVE = (SyncState.PENDING, SyncState.RUNNING)
_MOST = 100
"""At once. A job that is not ended costs nobody anything but the platform."""


class PlatformJobCleanup:
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

    def start(self, sync: Sync) -> None:
        """Begins to end what runs for this sync; returns at once."""
        if self._drain.started or len(self._tasks) >= _MOST:
            _log.warning("a platform's job may run on", extra={"sync_id": str(sync.sync_id)})
            return
        task = asyncio.create_task(self._end(sync))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Until the drain; then gives up what is not done."""
        try:
            while not self._drain.started:
                heartbeat()
                with suppress(ServerDraining):
                    await self._drain.race(asyncio.sleep(_HEARTBEAT_INTERVAL_SECONDS))
        finally:
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
        except Exception:
            _log.exception("a platform's job may run on", extra=about)

    async def _until_answered(self, sync: Sync) -> bool:
        while True:
            try:
                checkpoint = await self._syncs.checkpoint(sync.sync_id)
                if await self._is_resumed(sync.shop):
                    _log.info("the platform's job is left to the resumed sync", extra={"shop": str(sync.shop.key)})
                    return False
                return bool(checkpoint) and await self._jobs.cancel_fetch(sync.shop.key, checkpoint)
            except StorageUnavailable:
                pass
            except SourceFailed as failure:
                if not failure.transient:
                    raise
            await asyncio.sleep(self._pause)

    async def _is_resumed(self, shop: Shop) -> bool:
        """Whether the shop's active sync goes on from a checkpoint, and may wait for the very job."""
        active = await self._syncs.page(shop=shop, states=_ACTIVE, before=None, limit=1)
        return any(sync.trigger is SyncTrigger.RESUME for sync in active)
