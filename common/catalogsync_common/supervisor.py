"""Runs the background loops of a process, restarts those that fail, and knows which of them still turn.

A loop reports a heartbeat after each turn that succeeded. An unexpected exception, or a return before the drain,
is logged with the loop's name, counted, and answered by a restart with exponential backoff. A loop that fails
again and again without one heartbeat cannot go on: the supervisor then reports the process unhealthy and asks for
its stop, and `run` raises LoopFailed once all loops have ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from catalogsync_common.drain import Drain, ServerDraining

LOGGER: Final = logging.getLogger(__name__)

Heartbeat: TypeAlias = Callable[[], None]
"""Reports that a loop has turned once more."""


def no_heartbeat() -> None:
    """Is the heartbeat of a loop that nobody supervises."""


class LoopFailed(Exception):
    """A background loop cannot go on; the process must end, so that whoever watches it starts another one."""

    def __init__(self, loop: str, failures: int) -> None:
        super().__init__(f"the background loop {loop!r} failed {failures} times in a row and cannot go on")
        self.loop = loop


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One background loop of a process."""

    name: str
    """A label of metrics and log lines."""
    run: Callable[[Heartbeat], Coroutine[Any, Any, None]]
    """Runs until the drain and then returns; called again after a failure, and once more if the drain begins while
    it waits for its restart."""
    heartbeat_timeout: timedelta
    """Between two heartbeats of a healthy loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """When a failed loop is started again, and when it is given up."""

    first_delay: timedelta = timedelta(milliseconds=100)
    max_delay: timedelta = timedelta(seconds=4)
    """A database that is back after a failover is used within this time."""
    give_up_after: timedelta = timedelta(minutes=5)
    """Without one heartbeat."""
    give_up_failures: int = 10
    """In a row, at least: a loop that turns once an hour is not given up after its second failure."""

    def delay(self, failures: int) -> float:
        """Seconds before the restart after so many failures in a row, with jitter."""
        grown = self.first_delay.total_seconds() * 2.0 ** min(failures - 1, 20)
        return random.uniform(0.5, 1) * min(grown, self.max_delay.total_seconds())


class _Record:
    """What the supervisor knows of one loop."""

    def __init__(self, now: float) -> None:
        self.last_heartbeat_at = now
        self.failures = 0
        """In a row."""


class Supervisor:
    """The one group of all background loops of a process.

    Args:
        loops: started by `run`.
        drain: begins the end of all loops.
        set_healthy: is told whether all loops turn, at first and at each change.
        on_failure: is called with the name of a loop at each of its failures, to count them.
        on_give_up: asks for the graceful stop of the process.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        *,
        drain: Drain,
        set_healthy: Callable[[bool], Awaitable[None]],
        on_failure: Callable[[str], None],
        on_give_up: Callable[[], None],
        policy: RestartPolicy | None = None,
        check_interval: timedelta = timedelta(seconds=1),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loops = tuple(loops)
        self._drain = drain
        self._set_healthy = set_healthy
        self._on_failure = on_failure
        self._on_give_up = on_give_up
        self._policy = policy or RestartPolicy()
        self._check_interval = check_interval.total_seconds()
        self._monotonic = monotonic
        self._records = {loop.name: _Record(monotonic()) for loop in self._loops}
        self._given_up: LoopFailed | None = None

    @property
    def names(self) -> list[str]:
        """Of the loops."""
        return [loop.name for loop in self._loops]

    async def run(self) -> None:
        """Runs all loops until they have ended after the drain. Raises LoopFailed when one was given up.

        A cancelled supervisor cancels its loops and waits for their ends.
        """
        async with asyncio.TaskGroup() as group:
            for loop in self._loops:
                self._records[loop.name].last_heartbeat_at = self._monotonic()
                group.create_task(self._keep_running(loop))
            group.create_task(self._report_health())
        if self._given_up is not None:
            raise self._given_up

    def stalled_loops(self) -> list[str]:
        """Returns the names of the loops that have not turned for longer than they may."""
        now = self._monotonic()
        return [
            loop.name
            for loop in self._loops
            if now - self._records[loop.name].last_heartbeat_at > loop.heartbeat_timeout.total_seconds()
        ]

    async def _keep_running(self, loop: Loop) -> None:
        while True:
            is_last = self._drain.started
            error = await self._run_once(loop)
            if error is not None:
                self._failed(loop, error)
            if is_last or (error is None and self._drain.started):
                return
            # After the drain began the loop runs once more: it may have work to hand over.
            with suppress(ServerDraining):
                await self._drain.race(self._before_restart(loop))

    async def _run_once(self, loop: Loop) -> BaseException | None:
        """What ended the loop; None: it returned because of the drain."""
        # A task of its own: a CancelledError that is raised inside the loop is a failure like any other.
        task = asyncio.create_task(loop.run(self._heartbeat_of(loop)), name=f"loop {loop.name}")
        try:
            await asyncio.wait((task,))
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        error = asyncio.CancelledError("cancelled from within") if task.cancelled() else task.exception()
        if self._drain.started and isinstance(error, ServerDraining):
            return None
        if error is None and not self._drain.started:
            return RuntimeError("returned before the drain")
        return error

    def _heartbeat_of(self, loop: Loop) -> Heartbeat:
        record = self._records[loop.name]

        def heartbeat() -> None:
            record.last_heartbeat_at = self._monotonic()
            record.failures = 0

        return heartbeat

    def _failed(self, loop: Loop, error: BaseException) -> None:
        record = self._records[loop.name]
        record.failures += 1
        self._on_failure(loop.name)
        LOGGER.error(
            "background loop failed: %s", loop.name, exc_info=error, extra={"failures_in_a_row": record.failures}
        )

    async def _before_restart(self, loop: Loop) -> None:
        record, policy = self._records[loop.name], self._policy
        silence = self._monotonic() - record.last_heartbeat_at
        if record.failures >= policy.give_up_failures and silence >= policy.give_up_after.total_seconds():
            await self._give_up(loop)
        await asyncio.sleep(policy.delay(record.failures))

    async def _give_up(self, loop: Loop) -> None:
        """Returns never: the drain ends the wait."""
        if self._given_up is None:
            self._given_up = LoopFailed(loop.name, self._records[loop.name].failures)
            LOGGER.critical("%s: the process stops", self._given_up)
            await self._set_healthy(False)
            self._on_give_up()
        await self._drain.begun()

    async def _report_health(self) -> None:
        reported: list[str] | None = None
        while not self._drain.started:
            silent = self.stalled_loops() if self._given_up is None else [self._given_up.loop]
            if silent != reported:
                if silent:
                    LOGGER.error("background loops do not turn: %s", ", ".join(silent))
                elif reported:
                    LOGGER.info("all background loops turn again")
                reported = silent
                await self._set_healthy(not silent)
            with suppress(ServerDraining):
                await self._drain.race(asyncio.sleep(self._check_interval))
