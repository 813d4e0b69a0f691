"""LeaseTasks: a stream of leased tasks to one worker."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.drain import Drain

from catalog_svc.domain.analysis import LeasedPage, LeasedTask, Worker
from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.usecases.analysis_hub import AnalysisHub, WorkerSubscription
from catalog_svc.usecases.analysis_ports import AnalysisMetrics, AnalysisTasks
from catalog_svc.usecases.stream_lifetime import ReconnectReason, StreamLifetime

_log = logging.getLogger(__name__)

_SHOPS_PER_ROUND: Final = 16
"""Shops that share the free slots of a worker."""
_RESCAN_SECONDS: Final = 5.0
"""A shop's tasks are looked for from the last leased one on, and at this interval from the first one: between them
are rows that are deleted and not yet vacuumed."""
_MAX_SHOPS_REMEMBERED: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseStreamLimits:
    """Times of one stream."""

    heartbeat_every: timedelta = timedelta(seconds=15)
    """Between two messages without tasks; up to 30 % earlier."""
    recount_every: timedelta = timedelta(milliseconds=100)
    """Between two looks whether the worker has free slots: its results may go to another replica."""
    max_age: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseMessage:
    """Leased tasks; none in a heartbeat."""

    tasks: tuple[LeasedTask, ...] = ()
    reconnect: ReconnectReason | None = None
    """Set in the last message of a stream: its client calls again."""


class LeaseTasks:
    """Yields leased tasks to a worker until it must call again."""

    def __init__(
        self,
        *,
        tasks: AnalysisTasks,
        hub: AnalysisHub,
        drain: Drain,
        metrics: AnalysisMetrics,
        limits: LeaseStreamLimits | None = None,
    ) -> None:
        self._tasks = tasks
        self._hub = hub
        self._drain = drain
        self._metrics = metrics
        self._limits = limits or LeaseStreamLimits()
        self._cursors = _ShopCursors()

    async def __call__(self, worker: Worker) -> AsyncGenerator[LeaseMessage, None]:
        """Yield tasks as soon as there are some and the worker has free slots, and heartbeats in between.

        A lease begins when its task is yielded. If the message cannot be written, its leases end.

        Raises:
            TooManyWatchers: The replica has as many streams as it accepts.
            ServerDraining: The replica was shutting down already when the stream began.
            StorageUnavailable: The database was not available.
        """
        lifetime = StreamLifetime(self._drain, max_age=self._limits.max_age)
        with self._hub.subscribe(worker) as subscription:
            pause = _Pause(subscription, self._limits)
            yield LeaseMessage()
            is_full = False
            while (reconnect := lifetime.reconnect_reason()) is None:
                # Whether a full worker has a free slot now is read without a write.
                is_full = is_full and await self._tasks.held_leases(worker.worker_id) >= worker.max_in_flight
                shares = [] if is_full else await self._shares(worker)
                found = 0
                for shop_id, limit in shares:
                    page = await self._lease(worker, shop_id, limit)
                    is_full |= page.is_full
                    if not page.tasks:
                        continue
                    found += len(page.tasks)
                    delivered = False
                    try:
                        yield LeaseMessage(tasks=page.tasks)
                        delivered = True
                    finally:
                        if not delivered:
                            await asyncio.shield(self._give_back(worker, page))
                if found:
                    pause.restart()
                elif await pause.wait(is_full=is_full):
                    yield LeaseMessage()
            yield LeaseMessage(reconnect=reconnect)

    async def _shares(self, worker: Worker) -> list[tuple[UUID, int]]:
        """Return the shops to lease from, and how many tasks of each."""
        shops = await self._tasks.due_shops(worker.analyzer, limit=min(_SHOPS_PER_ROUND, worker.max_in_flight))
        share = math.ceil(worker.max_in_flight / len(shops)) if shops else 0
        return [(shop_id, share) for shop_id in shops]

    async def _lease(self, worker: Worker, shop_id: UUID, limit: int) -> LeasedPage:
        start = self._cursors.start(worker.analyzer, shop_id)
        page = await self._tasks.lease(worker, shop_id, limit=limit, from_position=start)
        if start and not page.tasks and not page.is_full:
            self._cursors.forget(worker.analyzer, shop_id)
            page = await self._tasks.lease(worker, shop_id, limit=limit)
        if page.tasks:
            self._cursors.advance(worker.analyzer, shop_id, page.tasks[0].lease.feed_position)
            self._metrics.tasks_leased(worker.analyzer, len(page.tasks))
        if page.unused:
            await self._tasks.drop_unused(worker.worker_id, page.unused)
        if page.has_exhausted:
            marked = await self._tasks.mark_dead(shop_id, worker.analyzer)
            self._metrics.tasks_marked_dead(worker.analyzer, marked)
        return page

    async def _give_back(self, worker: Worker, page: LeasedPage) -> None:
        """End leases of tasks that the worker has not received. If that fails, they expire."""
        with suppress(StorageUnavailable):
            leases = [task.lease for task in page.tasks]
            await self._tasks.extend(worker.worker_id, leases, timedelta())
            _log.info("tasks given back: the worker has gone", extra={"count": len(leases)})


class _Pause:
    """The waits of a stream without tasks."""

    def __init__(self, subscription: WorkerSubscription, limits: LeaseStreamLimits) -> None:
        self._subscription = subscription
        self._limits = limits
        self._heartbeat_at = 0.0
        self.restart()

    def restart(self) -> None:
        """Say that a message was sent."""
        # Jitter: streams that began together must not all send together.
        interval = self._limits.heartbeat_every.total_seconds() * random.uniform(0.7, 1)
        self._heartbeat_at = asyncio.get_running_loop().time() + interval

    async def wait(self, *, is_full: bool) -> bool:
        """Wait until there may be something to do; return whether a heartbeat is due.

        Args:
            is_full: Whether the worker has no free slot.
        """
        remaining = max(0.0, self._heartbeat_at - asyncio.get_running_loop().time())
        recount = self._limits.recount_every.total_seconds()
        await self._subscription.wait(timeout_seconds=min(remaining, recount) if is_full else remaining)
        if asyncio.get_running_loop().time() < self._heartbeat_at:
            return False
        self.restart()
        return True


class _ShopCursors:
    """From which position on the tasks of a shop are looked for."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, UUID], tuple[float, int]] = {}

    def start(self, analyzer: str, shop_id: UUID) -> int:
        """Return the position; 0: from the first one."""
        rescan_at, position = self._positions.get((analyzer, shop_id), (0.0, 0))
        if asyncio.get_running_loop().time() < rescan_at:
            return position
        self.forget(analyzer, shop_id)
        return 0

    def advance(self, analyzer: str, shop_id: UUID, position: int) -> None:
        """Say that no task of an earlier position could be leased."""
        known = self._positions.get((analyzer, shop_id))
        rescan_at = known[0] if known else asyncio.get_running_loop().time() + _RESCAN_SECONDS
        if len(self._positions) >= _MAX_SHOPS_REMEMBERED and known is None:
            self._positions.clear()
        self._positions[analyzer, shop_id] = (rescan_at, position)

    def forget(self, analyzer: str, shop_id: UUID) -> None:
        """Look from the first task on."""
        self._positions.pop((analyzer, shop_id), None)
