"""Starting what is due: each replica looks, the database decides who starts it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from catalogsync_common.correlation import correlated, correlation_id
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import RequestIdReused, StorageUnavailable, SyncAlreadyRunning
from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncTrigger
from catalog_svc.usecases.ports import Schedules, SyncCommands

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulePace:
    """How a replica looks for what is due."""

    poll_every: timedelta = timedelta(seconds=5)
    plan_every: timedelta = timedelta(minutes=1)
    """How soon new shops, and changed defaults, are noticed."""
    plan_at_once: int = 200
    most_waiting: int = 20
    """Scheduled syncs of one platform that may wait for a worker, so that those that people order are not far
    behind, and a platform that takes no more holds up no other one."""
    hold: timedelta = timedelta(minutes=1)
    """After which a turn is started again whose replica has died in the middle, or met an active sync."""


class Scheduler:
    """The loop of one replica."""

    def __init__(
        self,
        *,
        schedules: Schedules,
        commands: SyncCommands,
        drain: Drain,
        wake_worker: Callable[[], None],
        defaults: ScheduleDefaults,
        overlap: timedelta,
        pace: SchedulePace,
    ) -> None:
        self._schedules = schedules
        self._commands = commands
        self._drain = drain
        self._wake_worker = wake_worker
        self._defaults = defaults
        self._overlap = overlap
        self._pace = pace
        self._plan_at = time.monotonic()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Looks until the drain."""
        while True:
            try:
                await self._drain.race(self._rest())
                await self.look()
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("cannot look for what is due: the database does not answer")
            heartbeat()

    async def look(self) -> None:
        """Plans turns where it is time for that, and starts what is due. Raises StorageUnavailable.

        An unexpected error of one shop is logged and holds up no other shop.
        """
        if time.monotonic() >= self._plan_at:
            await self._plan()
        for due in await self._schedules.due(most_per_platform=self._pace.most_waiting):
            if self._drain.started:
                return
            try:
                await self._start(due)
            except StorageUnavailable:
                raise
            except Exception:
                _log.exception("cannot start a scheduled sync", extra={"shop": str(due.shop.key)})

    async def _plan(self) -> None:
        unplanned = await self._schedules.unplanned(self._defaults, limit=self._pace.plan_at_once)
        for one in unplanned:
            planned = one.schedule.planned(self._defaults, one.now)
            await self._schedules.plan(one.shop, old=one.schedule, new=planned)
        if len(unplanned) < self._pace.plan_at_once:
            self._plan_at = time.monotonic() + self._pace.plan_every.total_seconds()

    async def _start(self, due: ScheduledShop) -> None:
        mode = due.schedule.due(due.now)
        if mode is None or not await self._schedules.take(due.shop, hold=self._pace.hold):
            return
        about = {"shop": str(due.shop.key), "mode": mode.value}
        try:
            sync = await self._order(due, mode)
        except SyncAlreadyRunning:
            # Somebody else was faster. The turn stays due, and is looked at again when that sync has ended.
            return
        except RequestIdReused:
            # A caller has used the turn's id for something else: the turn is lost, the next one has another id.
            _log.warning("a scheduled turn is skipped: its request_id is taken", extra=about)
            await self._plan_after(due, mode)
            return
        await self._plan_after(due, sync.mode)
        _log.info("sync scheduled", extra={**about, "sync_id": str(sync.sync_id), "mode": sync.mode.value})

    async def _plan_after(self, due: ScheduledShop, mode: SyncMode) -> None:
        following = due.schedule.after_start(mode, self._defaults, due.now)
        await self._schedules.plan(due.shop, old=due.schedule, new=following)

    async def _order(self, due: ScheduledShop, mode: SyncMode) -> Sync:
        turn = due.schedule.full_due_at if mode is SyncMode.FULL else due.schedule.incremental_due_at
        with correlated():
            sync = await self._commands.start(
                StartSyncCommand(
                    shop=due.shop.key,
                    mode=mode,
                    overlap=self._overlap,
                    trigger=SyncTrigger.SCHEDULE,
                    # One turn is one sync, also when a replica dies before it has planned the next one.
                    request_id=f"schedule:{due.shop.shop_id}:{mode.value}:{turn:%Y%m%dT%H%M%S.%f}",
                    correlation_id=correlation_id.get(),
                )
            )
        self._wake_worker()
        return sync

    async def _rest(self) -> None:
        await asyncio.sleep(self._pace.poll_every.total_seconds() * random.uniform(0.7, 1.3))
