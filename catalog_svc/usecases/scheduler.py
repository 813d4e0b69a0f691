"""Scheduler: starts the syncs that are due.

Each replica runs a scheduler; the database decides which of them starts a due sync.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from catalogsync_common.call_context import correlated, correlation_id
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable, SyncAlreadyRunning
from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncTrigger
from catalog_svc.usecases.catalog_ports import Schedules
from catalog_svc.usecases.ports import SyncCommands, SyncMetrics
from catalog_svc.usecases.sync_commands import count_database_failures

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """Configuration of a scheduler."""

    poll_interval: timedelta = timedelta(seconds=5)
    batch_size: int = 200
    """Shops that are planned or started at a time."""
    concurrency: int = 4
    """Transactions at the same time: each waits for the database most of its time."""
    max_pending_per_platform: int = 500
    """Scheduled syncs of one platform that may wait for a worker. Requested syncs are claimed first anyway, and a
    platform at its limit delays no other one."""
    busy_delay: timedelta = timedelta(minutes=1)
    """After which a due sync is tried again whose shop has an active sync, or whose start failed unexpectedly."""


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
        self._has_set_defaults = False

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain."""
        while True:
            try:
                await self._drain.race(self._sleep())
                while await self._drain.race(self.tick()):
                    heartbeat()
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("cannot look for due syncs: the database is unavailable")
            heartbeat()

    async def tick(self) -> bool:
        """Plan shops without due times, start up to a batch of due syncs, and return whether to go on at once.

        An unexpected error of one shop is logged and holds up no other shop: its sync is tried again later.

        Raises:
            StorageUnavailable: the database is unavailable.
        """
        if not self._has_set_defaults:
            await self._schedules.set_defaults(self._defaults)
            self._has_set_defaults = True
        await self._plan()
        due = await self._schedules.due(
            most_per_platform=self._config.max_pending_per_platform, limit=self._config.batch_size
        )
        started = sum(await self._for_each(due, self._start))
        # After a whole batch more shops are due, also when other replicas started some of its syncs.
        return started > 0 and len(due) >= self._config.batch_size

    async def _plan(self) -> None:
        while unplanned := await self._schedules.unplanned(limit=self._config.batch_size):
            planned = sum(await self._for_each(unplanned, self._plan_shop))
            if planned < len(unplanned):
                return

    async def _plan_shop(self, shop: ScheduledShop) -> bool:
        planned = shop.schedule.planned(self._defaults, shop.now)
        await self._schedules.plan(shop.shop, old=shop.schedule, new=planned, defaults=self._defaults)
        return True

    async def _for_each(
        self, shops: Sequence[ScheduledShop], work: Callable[[ScheduledShop], Awaitable[bool]]
    ) -> list[bool]:
        """Return the results of `work`, some shops at a time; False for a shop with an unexpected error.

        Raises:
            StorageUnavailable: the database is unavailable.
        """
        remaining, results = iter(shops), list[bool]()

        async def work_off() -> None:
            for shop in remaining:
                if self._drain.started:
                    return
                try:
                    results.append(await work(shop))
                except StorageUnavailable:
                    raise
                except Exception:
                    _log.exception("cannot start a scheduled sync", extra={"shop": str(shop.shop.key)})
                    results.append(False)
                    await self._postpone_failed(shop)

        workers = (work_off() for _ in range(self._config.concurrency))
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return results

    async def _postpone_failed(self, shop: ScheduledShop) -> None:
        """Let other shops be due before this one, so that shops with unexpected errors never fill a batch."""
        try:
            await self._schedules.postpone(shop.shop, delay=self._config.busy_delay)
        except StorageUnavailable:
            raise
        except Exception:
            _log.exception("cannot postpone a scheduled sync", extra={"shop": str(shop.shop.key)})

    async def _start(self, due: ScheduledShop) -> bool:
        """Start the sync of a due shop; return whether this replica did."""
        mode = due.schedule.due(due.now)
        if mode is None:
            return False
        context = {"shop": str(due.shop.key), "mode": mode.value}
        try:
            sync = await self._create_sync(due, mode)
        except SyncAlreadyRunning:
            # The shop stays due until that sync has ended.
            await self._schedules.postpone(due.shop, delay=self._config.busy_delay)
            return False
        if sync is None:
            return False
        self._wake_worker()
        _log.info("sync scheduled", extra={**context, "sync_id": str(sync.sync_id), "mode": sync.mode.value})
        return True

    async def _create_sync(self, due: ScheduledShop, mode: SyncMode) -> Sync | None:
        def plan_next(started: SyncMode) -> StoredSchedule:
            return due.schedule.after_start(started, self._defaults, due.now)

        with correlated(), count_database_failures(self._metrics):
            command = StartSyncCommand(
                shop=due.shop.key,
                mode=mode,
                overlap=self._overlap,
                trigger=SyncTrigger.SCHEDULE,
                correlation_id=correlation_id.get(),
            )
            return await self._commands.start_due(due, command, plan_next)

    async def _sleep(self) -> None:
        await asyncio.sleep(self._config.poll_interval.total_seconds() * random.uniform(0.7, 1.3))
