"""Wakes the streams of workers on this replica when there may be tasks for them.

One query per interval finds the analyzers that have tasks, however many workers wait. What this replica itself
writes is announced, and looked for at once. A submitted result wakes the streams of its worker, which has a free
place now.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from catalogsync_common.drain import Drain
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.analysis import Worker
from catalog_svc.usecases.analysis_ports import AnalysisTasks
from catalog_svc.usecases.polling import PollTimer, poll_until_drain
from catalog_svc.usecases.watcher_limits import WatcherLimiter

_JITTER: Final = 0.3
"""Replicas do not look at the same moments."""


class WorkerSubscription:
    """The stream of one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._wakeup.set()

    async def wait(self, *, timeout_seconds: float) -> None:
        """Wait until there may be something to do, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._wakeup.wait()
        self._wakeup.clear()


class AnalysisHub:
    """Wakes workers; `run` polls for tasks."""

    def __init__(
        self,
        tasks: AnalysisTasks,
        *,
        limiter: WatcherLimiter | None = None,
        poll_interval: timedelta = timedelta(seconds=1),
        announced_interval: timedelta = timedelta(milliseconds=10),
    ) -> None:
        """Create a hub without workers.

        Args:
            tasks: Where tasks are looked for.
            limiter: Counts the streams of this replica, and refuses those above its limits; None: it refuses none.
            poll_interval: Between two looks for tasks.
            announced_interval: Between two looks because of what this replica has written.
        """
        self._tasks = tasks
        self._limiter = limiter or WatcherLimiter()
        self._timer = PollTimer(
            poll_interval=poll_interval * random.uniform(1 - _JITTER, 1 + _JITTER),
            announced_interval=announced_interval,
        )
        self._subscriptions: set[WorkerSubscription] = set()

    def announce(self) -> None:
        """Say that this replica may have made tasks."""
        if self._subscriptions:
            self._timer.announce()

    def wake_worker(self, worker_id: str) -> None:
        """Say that the worker may have a free slot."""
        for subscription in self._subscriptions:
            if subscription.worker.worker_id == worker_id:
                subscription.wake()

    @contextmanager
    def subscribe(self, worker: Worker) -> Iterator[WorkerSubscription]:
        """Subscribe the stream of a worker while the context lasts.

        Raises:
            TooManyWatchers: The replica has as many streams as it accepts.
        """
        with self._limiter.place():
            subscription = WorkerSubscription(worker)
            self._subscriptions.add(subscription)
            try:
                yield subscription
            finally:
                self._subscriptions.discard(subscription)

    async def run(self, drain: Drain, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Poll until the drain, then wake all workers."""
        await poll_until_drain(
            self._poll, pause=self._timer.pause, drain=drain, heartbeat=heartbeat, name="analysis hub"
        )
        for subscription in self._subscriptions:
            subscription.wake()

    async def _poll(self) -> None:
        self._timer.begin()
        analyzers = {subscription.worker.analyzer for subscription in self._subscriptions}
        if not analyzers:
            return
        due = set(await self._tasks.due_analyzers(analyzers))
        for subscription in self._subscriptions:
            if subscription.worker.analyzer in due:
                subscription.wake()
