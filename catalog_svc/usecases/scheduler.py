"""Schedules: changes a shop's schedule, and starts the syncs that are due.

Each replica runs a scheduler; the database decides which of them starts a due sync.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from catalogsync_common.call_context import correlated, correlation_id
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import RequestIdReused, StorageUnavailable, SyncAlreadyRunning
from catalog_svc.domain.schedule import ScheduleChange, ScheduleDefaults, ScheduledShop, ShopSchedule
from catalog_svc.domain.shop import ShopRef
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncTrigger
from catalog_svc.usecases.ports import Schedules, SyncCommands, SyncMetrics
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.sync_commands import count_database_failures

_log = logging.getLogger(__name__)


class SetSchedule:
    """Changes the schedule of a registered shop."""

    def __init__(self, *, read: ReadCatalog, schedules: Schedules, defaults: ScheduleDefaults) -> None:
        self._read = read
        self._schedules = schedules
        self._defaults = defaults

    async def __call__(self, ref: ShopRef, change: ScheduleChange) -> ShopSchedule:
        """Store the change and return the schedule that is in effect after it.

        Raises:
            ShopNotFound: the shop is not registered.
        """
        shop = await self._read.shop(ref)
        await self._schedules.change(shop, change, self._defaults)
        return await self._read.schedule(ref)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """Configuration of a scheduler."""

    poll_interval: timedelta = timedelta(seconds=5)
    plan_interval: timedelta = timedelta(minutes=1)
    """How soon new shops and changed defaults are noticed."""
    plan_batch_size: int = 200
    """Shops planned at a time."""
    max_pending_per_platform: int = 20
    """Scheduled syncs of one platform that may wait for a worker, so that requested syncs do not wait long behind
    them, and a platform at its limit delays no other one."""
    hold: timedelta = timedelta(minutes=1)
    """After which a due sync is started again if its replica died while starting it, or met an active sync."""


class Scheduler:
    """The scheduler loop of one replica."""

    def __init__(
        self,
        *,
        schedules: Schedules,
        commands: SyncCommands,
        drain: Drain,
        wake_worker: Callable[[], None],
        defaults: ScheduleDefaults,
        overlap: timedelta,
        config: SchedulerConfig,
        metrics: SyncMetrics,
    ) -> None:
        self._schedules = schedules
        self._commands = commands
        self._drain = drain
        self._wake_worker = wake_worker
        self._defaults = defaults
        self._overlap = overlap
        self._config = config
        self._metrics = metrics
        self._plan_at = time.monotonic()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain."""
        while True:
            try:
                await self._drain.race(self._sleep())
                await self.tick()
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("cannot look for due syncs: the database is unavailable")
            heartbeat()

    async def tick(self) -> None:
        """Plan due times if it is time for that, and start the syncs that are due.

        An unexpected error of one shop is logged and holds up no other shop.

        Raises:
            StorageUnavailable: the database is unavailable.
        """
        if time.monotonic() >= self._plan_at:
            await self._plan()
        for due in await self._schedules.due(most_per_platform=self._config.max_pending_per_platform):
            if self._drain.started:
                return
            try:
                await self._start(due)
            except StorageUnavailable:
                raise
            except Exception:
                _log.exception("cannot start a scheduled sync", extra={"shop": str(due.shop.key)})

    async def _plan(self) -> None:
        unplanned = await self._schedules.unplanned(self._defaults, limit=self._config.plan_batch_size)
        for shop in unplanned:
            planned = shop.schedule.planned(self._defaults, shop.now)
            await self._schedules.plan(shop.shop, old=shop.schedule, new=planned)
        if len(unplanned) < self._config.plan_batch_size:
            self._plan_at = time.monotonic() + self._config.plan_interval.total_seconds()

    async def _start(self, due: ScheduledShop) -> None:
        mode = due.schedule.due(due.now)
        if mode is None or not await self._schedules.take(due.shop, hold=self._config.hold):
            return
        context = {"shop": str(due.shop.key), "mode": mode.value}
        try:
            sync = await self._create_sync(due, mode)
        except SyncAlreadyRunning:
            # Another sync was started first. The shop stays due until that sync has ended.
            return
        except RequestIdReused:
            # A caller has used this request_id for something else: skip this sync; the next one has another id.
            _log.warning("a scheduled sync is skipped: its request_id is in use", extra=context)
            await self._plan_next(due, mode)
            return
        await self._plan_next(due, sync.mode)
        _log.info("sync scheduled", extra={**context, "sync_id": str(sync.sync_id), "mode": sync.mode.value})

    async def _plan_next(self, due: ScheduledShop, mode: SyncMode) -> None:
        following = due.schedule.after_start(mode, self._defaults, due.now)
        await self._schedules.plan(due.shop, old=due.schedule, new=following)

    async def _create_sync(self, due: ScheduledShop, mode: SyncMode) -> Sync:
        due_at = due.schedule.full_due_at if mode is SyncMode.FULL else due.schedule.incremental_due_at
        with correlated(), count_database_failures(self._metrics):
            sync = await self._commands.start(
                StartSyncCommand(
                    shop=due.shop.key,
                    mode=mode,
                    overlap=self._overlap,
                    trigger=SyncTrigger.SCHEDULE,
                    # One due time is one sync, also when a replica dies before it has planned the next one.
                    request_id=f"schedule:{due.shop.shop_id}:{mode.value}:{due_at:%Y%m%dT%H%M%S.%f}",
                    correlation_id=correlation_id.get(),
                )
            )
        self._wake_worker()
        return sync

    async def _sleep(self) -> None:
        await asyncio.sleep(self._config.poll_interval.total_seconds() * random.uniform(0.7, 1.3))
