"""Runs the background loops of a process, restarts those that fail, and reports those that stall.

A loop reports a heartbeat after each successful iteration. An unexpected exception, or a return before the drain,
is logged with the loop's name, counted, and followed by a restart with exponential backoff. A loop that keeps
failing without a heartbeat is given up: the supervisor then reports the process unhealthy and requests its stop,
and `run` raises LoopFailed once all loops have ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from catalogsync_common.drain import Drain, ServerDraining

LOGGER: Final = logging.getLogger(__name__)

Heartbeat: TypeAlias = Callable[[], None]
"""Called by a loop after each successful iteration."""


def no_heartbeat() -> None:
    """Do nothing: the heartbeat of a loop without a supervisor."""


class LoopFailed(Exception):
    """A background loop was given up; the process must end, so that whatever supervises it starts a new one."""

    def __init__(self, loop: str, failures: int) -> None:
        super().__init__(f"the background loop {loop!r} failed {failures} times in a row and was given up")
        self.loop = loop


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One background loop of a process."""

    name: str
    """The label in metrics and log lines."""
    run: Callable[[Heartbeat], Coroutine[Any, Any, None]]
    """Runs until the drain and then returns.

    Called again after a failure, and once more if the drain starts during the backoff.
    """
    heartbeat_timeout: timedelta
    """Maximum time between two heartbeats of a healthy loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """When a failed loop is restarted, and when it is given up."""

    first_delay: timedelta = timedelta(milliseconds=100)
    max_delay: timedelta = timedelta(seconds=4)
    """Maximum backoff: after a failover the database is used again within this time."""
    give_up_after: timedelta = timedelta(minutes=5)
    """Time without a heartbeat after which a loop may be given up."""
    give_up_failures: int = 10
    """Minimum failures in a row: a loop that runs once an hour is not given up after its second failure."""

    def delay(self, failures: int) -> float:
        """Return the seconds before the restart after `failures` in a row, with jitter."""
        grown = self.first_delay.total_seconds() * 2.0 ** min(failures - 1, 20)
        return random.uniform(0.5, 1) * min(grown, self.max_delay.total_seconds())


class _LoopState:
    """The last heartbeat and the failures of one loop."""

    def __init__(self, now: float) -> None:
        self.last_heartbeat_at = now
        self.failures = 0
        """Failures in a row."""


class Supervisor:
    """Runs all background loops of a process as one group.

    Args:
        loops: the loops that `run` starts.
        drain: ends all loops when it starts.
        set_healthy: called with whether no loop is stalled, first and after each change.
        on_failure: called with the name of a loop after each of its failures, to count them.
        on_give_up: requests the graceful stop of the process.
        policy: backoff and limits of restarts.
        check_interval: how often stalled loops are looked for.
        monotonic: the clock, in seconds.
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
        self._states = {loop.name: _LoopState(monotonic()) for loop in self._loops}
        self._given_up: LoopFailed | None = None

    @property
    def names(self) -> list[str]:
        """The names of the loops."""
        return [loop.name for loop in self._loops]

    async def run(self) -> None:
        """Run all loops until they have ended after the drain.

        When cancelled, it cancels the loops and waits until they have ended.

        Raises:
            LoopFailed: a loop was given up.
        """
        async with asyncio.TaskGroup() as group:
            for loop in self._loops:
                self._states[loop.name].last_heartbeat_at = self._monotonic()
                group.create_task(self._keep_running(loop))
            group.create_task(self._report_health())
        if self._given_up is not None:
            raise self._given_up

    @asynccontextmanager
    async def running(self, *, stop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Run all loops beside a block; afterwards await `stop`, which starts the drain, and wait for the loops.

        Raises:
            LoopFailed: a loop was given up.
        """
        background = asyncio.create_task(self.run())
        background.add_done_callback(lambda _: self._on_give_up())
        try:
            yield
        finally:
            try:
                await stop()
                await background
            finally:
                background.cancel()
                await asyncio.wait((background,))

    def stalled_loops(self) -> list[str]:
        """Return the names of the loops whose last heartbeat is older than their heartbeat timeout."""
        now = self._monotonic()
        return [
            loop.name
            for loop in self._loops
            if now - self._states[loop.name].last_heartbeat_at > loop.heartbeat_timeout.total_seconds()
        ]

    async def _keep_running(self, loop: Loop) -> None:
        while True:
            is_last = self._drain.started
            error = await self._run_once(loop)
            if error is not None:
                self._count_failure(loop, error)
            if is_last or (error is None and self._drain.started):
                return
            # After the drain started the loop runs once more: it may have work to hand over.
            with suppress(ServerDraining):
                await self._drain.race(self._wait_for_restart(loop))

    async def _run_once(self, loop: Loop) -> BaseException | None:
        """Run the loop once and return the error that ended it; None: it returned because of the drain."""
        # A separate task: a CancelledError raised inside the loop is a failure like any other.
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
        state = self._states[loop.name]

        def heartbeat() -> None:
            state.last_heartbeat_at = self._monotonic()
            state.failures = 0

        return heartbeat

    def _count_failure(self, loop: Loop, error: BaseException) -> None:
        state = self._states[loop.name]
        state.failures += 1
        self._on_failure(loop.name)
        LOGGER.error(
            "background loop failed: %s", loop.name, exc_info=error, extra={"failures_in_a_row": state.failures}
        )

    async def _wait_for_restart(self, loop: Loop) -> None:
        state, policy = self._states[loop.name], self._policy
        silence = self._monotonic() - state.last_heartbeat_at
        if state.failures >= policy.give_up_failures and silence >= policy.give_up_after.total_seconds():
            await self._give_up(loop)
        await asyncio.sleep(policy.delay(state.failures))

    async def _give_up(self, loop: Loop) -> None:
        """Request the stop of the process and wait for the drain."""
        if self._given_up is None:
            self._given_up = LoopFailed(loop.name, self._states[loop.name].failures)
            LOGGER.critical("%s: stopping the process", self._given_up)
            await self._set_healthy(False)
            self._on_give_up()
        await self._drain.wait_started()

    async def _report_health(self) -> None:
        reported: list[str] | None = None
        while not self._drain.started:
            stalled = self.stalled_loops() if self._given_up is None else [self._given_up.loop]
            if stalled != reported:
                if stalled:
                    LOGGER.error("background loops stalled: %s", ", ".join(stalled))
                elif reported:
                    LOGGER.info("all background loops have recovered")
                reported = stalled
                await self._set_healthy(not stalled)
            with suppress(ServerDraining):
                await self._drain.race(asyncio.sleep(self._check_interval))
