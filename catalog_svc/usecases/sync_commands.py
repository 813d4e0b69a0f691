"""Commands for syncs: start, cancel and resume, and the cleanup of platform jobs after a cancel."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.supervisor import Heartbeat, no_heartbeat
from catalogsync_common.tracing import current_traceparent

from catalog_svc.domain.errors import ShopBeingDeleted, ShopNotFound, SourceFailed, StorageUnavailable
from catalog_svc.domain.shop import PlatformInfo, Shop, ShopKey, ShopRef
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.usecases.catalog_ports import Shops
from catalog_svc.usecases.ports import PlatformJobs, Platforms, SyncCommands, SyncMetrics, Syncs

_log = logging.getLogger(__name__)

_HEARTBEAT_INTERVAL_SECONDS = 5.0
_ACTIVE = (SyncState.PENDING, SyncState.RUNNING)
_MAX_CLEANUPS = 100
"""At the same time. A job that is not cancelled costs only the platform."""


class StartSync:
    """Creates a sync; a worker of this replica or of another one runs it."""

    def __init__(
        self,
        *,
        shops: Shops,
        commands: SyncCommands,
        platforms: Platforms,
        wake_worker: Callable[[], None],
        overlap: timedelta,
        metrics: SyncMetrics,
    ) -> None:
        """Create the use case.

        Args:
            shops: The registered shops.
            commands: Where syncs are created.
            platforms: The platforms that the connector supports.
            wake_worker: Called after a sync was created.
            overlap: How far before the watermark an incremental pass begins.
            metrics: Where failures of the database are counted.
        """
        self._shops = shops
        self._commands = commands
        self._platforms = platforms
        self._wake_worker = wake_worker
        self._overlap = overlap
        self._metrics = metrics

    async def __call__(
        self,
        shop: ShopRef,
        mode: SyncMode,
        *,
        request_id: str = "",
        allow_mass_delete: bool = False,
        correlation_id: str = "",
        principal: str = "",
    ) -> Sync:
        """Create a PENDING sync, or return the one that the same request_id of the principal created before.

        A shop that is named by its key is registered if it is unknown.

        Raises:
            ShopNotFound: there is no shop with this id.
            ShopBeingDeleted: the shop is being deleted.
            InvalidRequest: no connector supports the platform or the domain.
            SyncAlreadyRunning: the shop has an active sync.
            RequestIdReused: the request_id came before with other parameters.
            ConnectorUnavailable: the shop is new, and the connector that must check it does not answer.
        """
        command = StartSyncCommand(
            shop=await self._key_of(shop),
            mode=mode,
            overlap=self._overlap,
            request_id=request_id,
            allow_mass_delete=allow_mass_delete,
            correlation_id=correlation_id,
            traceparent=current_traceparent(),
            principal=principal,
        )
        with count_database_failures(self._metrics):
            sync = await self._commands.start(command)
        self._wake_worker()
        return sync

    async def _key_of(self, ref: ShopRef) -> ShopKey:
        """Return the key of a registered shop, or of one that can be registered."""
        shop = await self._shops.find(ref)
        if shop is not None:
            # It was checked when it was new: its syncs start while the connector is unavailable.
            return shop.key
        await check_not_deleting(self._shops, ref)
        if not isinstance(ref, ShopKey):
            raise ShopNotFound(ref)
        await check_supported(self._platforms, ref)
        return ref


async def check_not_deleting(shops: Shops, ref: ShopRef) -> None:
    """Raise ShopBeingDeleted if the shop, which was not found, is being deleted."""
    deleting = await shops.find_deleting(ref)
    if deleting is not None:
        raise ShopBeingDeleted(deleting)


async def check_supported(platforms: Platforms, shop: ShopKey, *, field_prefix: str = "shop.") -> None:
    """Check the shop's platform and domain against what the connector supports.

    Args:
        platforms: What the connector supports.
        shop: The shop.
        field_prefix: What precedes `platform` and `domain` in the names of the request's fields.

    Raises:
        InvalidRequest: no connector reads this platform, or its shops have other domains.
        ConnectorUnavailable: the connector does not answer.
    """
    platform = await find_platform(platforms, shop.platform, field=f"{field_prefix}platform")
    if not re.fullmatch(platform.domain_pattern, shop.domain):
        problem = f"{shop.domain!r} is not a domain of a {platform.name} shop"
        raise InvalidRequest.of(f"{field_prefix}domain", problem)


async def find_platform(platforms: Platforms, name: str, *, field: str) -> PlatformInfo:
    """Return a platform that the connector supports.

    Raises:
        InvalidRequest: no connector reads this platform; names the field.
        ConnectorUnavailable: the connector does not answer.
    """
    platform = await platforms.find(name)
    if platform is None:
        names = ", ".join(await platforms.names())
        raise InvalidRequest.of(field, f"{name!r} is not supported; supported platforms: {names}")
    return platform


class ChangeSync:
    """Cancels and resumes syncs."""

    def __init__(
        self,
        *,
        commands: SyncCommands,
        publish: Callable[[Sync], None],
        cancel_platform_job: Callable[[Sync], None],
        wake_worker: Callable[[], None],
        metrics: SyncMetrics,
    ) -> None:
        self._commands = commands
        self._publish = publish
        self._cancel_platform_job = cancel_platform_job
        self._wake_worker = wake_worker
        self._metrics = metrics

    async def cancel(self, sync_id: UUID) -> Sync:
        """Cancel the sync and return it, CANCELLED; the cleanup of its platform job starts in the background.

        The replica that runs the sync stops within a second. A repeated cancel is counted again.

        Raises:
            SyncNotFound: there is no such sync.
            SyncNotCancellable: it has succeeded or failed.
        """
        with count_database_failures(self._metrics):
            sync = await self._commands.cancel(sync_id)
        self._metrics.sync_ended(sync)
        self._publish(sync)
        self._cancel_platform_job(sync)
        return sync

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str, principal: str = "") -> Sync:
        """Create a sync that continues from the checkpoint of this one.

        Raises:
            SyncNotFound: there is no such sync.
            SyncNotResumable: it has no checkpoint, or continuing from it would be wrong.
            SyncAlreadyRunning: the shop has an active sync.
            RequestIdReused: the request_id came before with other parameters.
        """
        with count_database_failures(self._metrics):
            sync = await self._commands.resume(
                sync_id,
                request_id=request_id,
                correlation_id=correlation_id,
                traceparent=current_traceparent(),
                principal=principal,
            )
        self._wake_worker()
        return sync


@contextmanager
def count_database_failures(metrics: SyncMetrics) -> Iterator[None]:
    """Count a StorageUnavailable that passes."""
    try:
        yield
    except StorageUnavailable:
        metrics.database_failed()
        raise


class PlatformJobCleanup:
    """Cancels the jobs that platforms run for cancelled syncs, in the background: a cancel answers at once.

    Best effort: a job that cannot be cancelled within `timeout` ends by itself.
    """

    def __init__(
        self,
        *,
        syncs: Syncs,
        jobs: PlatformJobs,
        drain: Drain,
        timeout: timedelta = timedelta(minutes=1),
        retry_delay: timedelta = timedelta(seconds=2),
    ) -> None:
        self._syncs = syncs
        self._jobs = jobs
        self._drain = drain
        self._timeout_seconds = timeout.total_seconds()
        self._retry_delay_seconds = retry_delay.total_seconds()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, sync: Sync, checkpoint: bytes | None = None) -> None:
        """Start to cancel the platform job of this sync, and return at once.

        Args:
            sync: The cancelled sync.
            checkpoint: Its checkpoint, which names the job; None: the stored one.
        """
        if self._drain.started or len(self._tasks) >= _MAX_CLEANUPS:
            _log.warning("the platform job may keep running", extra={"sync_id": str(sync.sync_id)})
            return
        task = asyncio.create_task(self._clean_up(sync, checkpoint))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Wait for the drain, then give up the cleanups that have not finished."""
        try:
            while not self._drain.started:
                heartbeat()
                with suppress(ServerDraining):
                    await self._drain.race(asyncio.sleep(_HEARTBEAT_INTERVAL_SECONDS))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _clean_up(self, sync: Sync, checkpoint: bytes | None) -> None:
        context = {"sync_id": str(sync.sync_id), "shop": str(sync.shop.key)}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if await self._cancel_job(sync, checkpoint):
                    _log.info("the platform job was cancelled", extra=context)
        except (TimeoutError, SourceFailed) as problem:
            _log.warning("the platform job may keep running", extra={**context, "problem": str(problem)})
        except Exception:
            _log.exception("the platform job may keep running", extra=context)

    async def _cancel_job(self, sync: Sync, checkpoint: bytes | None) -> bool:
        """Retry until the cancel is answered; return whether there was a job that nobody needs any more."""
        while True:
            try:
                if checkpoint is None:
                    checkpoint = await self._syncs.checkpoint(sync.sync_id)
                if await self._is_resumed(sync.shop):
                    _log.info("the platform job is kept for the resumed sync", extra={"shop": str(sync.shop.key)})
                    return False
                return bool(checkpoint) and await self._jobs.cancel_fetch(sync.shop.key, checkpoint)
            except StorageUnavailable:
                pass
            except SourceFailed as failure:
                if not failure.transient:
                    raise
            await asyncio.sleep(self._retry_delay_seconds)

    async def _is_resumed(self, shop: Shop) -> bool:
        """Return whether the shop's active sync continues from a checkpoint, and may wait for the same job."""
        active = await self._syncs.page(shop=shop, states=_ACTIVE, before=None, limit=1)
        return any(sync.trigger is SyncTrigger.RESUME for sync in active)
