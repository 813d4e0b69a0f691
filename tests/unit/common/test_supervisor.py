"""A background loop never ends silently: it is restarted and counted, or the process stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from catalogsync_common.drain import Drain
from catalogsync_common.metrics import LoopMetrics
from catalogsync_common.supervisor import Heartbeat, Loop, LoopFailed, RestartPolicy, Supervisor
from prometheus_client import CollectorRegistry

from tests.fakes.skipping_loop import skipping

HEARTBEAT_TIMEOUT = timedelta(seconds=30)
Iteration = Callable[[], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


class Process:
    """A process with background loops, in virtual time."""

    def __init__(self, policy: RestartPolicy | None = None) -> None:
        self.drain = Drain()
        self.registry = CollectorRegistry()
        self.metrics = LoopMetrics(self.registry, service="catalog")
        self.health: list[tuple[float, bool]] = []
        self.stopped_at: float | None = None
        self.loops: list[Loop] = []
        self._policy = policy

    def add(self, name: str, iterate: Iteration, *, every: float = 1) -> None:
        """Add a loop that calls `iterate` every so many seconds."""

        async def run(heartbeat: Heartbeat) -> None:
            while not self.drain.started:
                await iterate()
                heartbeat()
                await self.drain.race(asyncio.sleep(every))

        self.loops.append(Loop(name=name, run=run, heartbeat_timeout=HEARTBEAT_TIMEOUT))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        supervisor = Supervisor(
            self.loops,
            drain=self.drain,
            set_healthy=self._set_healthy,
            on_failure=self.metrics.count_failure,
            on_give_up=self._stop,
            policy=self._policy,
            monotonic=now,
        )
        task = asyncio.create_task(supervisor.run())
        try:
            yield task
        finally:
            self.drain.start()
            await asyncio.wait((task,))

    def failures(self, loop: str) -> float | None:
        return self.registry.get_sample_value("catalog_loop_failures_total", {"loop": loop})

    async def _set_healthy(self, healthy: bool) -> None:
        self.health.append((now(), healthy))

    def _stop(self) -> None:
        self.stopped_at = now()


class FailingIterations:
    """Records the times of iterations; those before `until` fail."""

    def __init__(self, error: Exception | None = None, *, until: float = 0) -> None:
        self.at: list[float] = []
        self.error = error
        self.until = until

    async def __call__(self) -> None:
        self.at.append(now())
        if self.error is not None and now() < self.until:
            raise self.error


@skipping
async def test_a_failed_loop_is_logged_by_name_counted_and_restarted() -> None:
    process, iterations = Process(), FailingIterations(KeyError("WEBHOOK"), until=0.01)
    process.metrics.initialize(["worker"])
    process.add("worker", iterations)
    async with process.running():
        assert process.failures("worker") == 0
        await asyncio.sleep(5)
    assert process.failures("worker") == 1
    assert len(iterations.at) > 4


@skipping
async def _a_loop_fails_once() -> None:
    process = Process()
    process.add("worker", FailingIterations(KeyError("WEBHOOK"), until=0.01))
    async with process.running():
        await asyncio.sleep(5)


def test_the_log_line_of_a_failure_names_the_loop_and_has_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        _a_loop_fails_once()
    (record,) = caplog.records
    assert record.getMessage() == "background loop failed: worker"
    assert record.exc_info
    assert isinstance(record.exc_info[1], KeyError)


@skipping
async def test_a_failing_loop_does_not_affect_the_others() -> None:
    process, good = Process(), FailingIterations()
    process.add("bad", FailingIterations(OSError("disk full"), until=60))
    process.add("good", good)
    async with process.running():
        await asyncio.sleep(20)
    assert len(good.at) == 20
    assert process.failures("good") is None


@skipping
async def test_restart_backoff_grows_up_to_its_maximum() -> None:
    process, iterations = Process(), FailingIterations(OSError("read-only"), until=200)
    process.add("worker", iterations)
    async with process.running():
        await asyncio.sleep(100)
    delays = [later - earlier for earlier, later in pairwise(iterations.at)]
    assert delays[0] <= 0.1
    assert 1.9 <= delays[-1] <= 4
    assert max(delays) <= 4


@skipping
async def test_a_loop_that_returns_before_the_drain_is_a_failure() -> None:
    process, starts = Process(), 0

    async def returns(heartbeat: Heartbeat) -> None:
        nonlocal starts
        starts += 1

    process.loops.append(Loop(name="feed", run=returns, heartbeat_timeout=HEARTBEAT_TIMEOUT))
    async with process.running():
        await asyncio.sleep(10)
    assert starts > 2
    assert process.failures("feed") == starts - 1


@skipping
async def test_a_cancelled_error_raised_inside_a_loop_is_a_failure() -> None:
    process, starts = Process(), 0

    async def cancelled(heartbeat: Heartbeat) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise asyncio.CancelledError
        await process.drain.wait()

    process.loops.append(Loop(name="feed", run=cancelled, heartbeat_timeout=HEARTBEAT_TIMEOUT))
    async with process.running() as task:
        await asyncio.sleep(10)
    assert starts == 2
    assert process.failures("feed") == 1
    assert task.exception() is None


@skipping
async def test_a_loop_without_a_heartbeat_is_reported_unhealthy_and_then_stops_the_process() -> None:
    process = Process(RestartPolicy(give_up_after=timedelta(minutes=2)))
    process.add("worker", FailingIterations(OSError("read-only"), until=1e9))
    process.add("feed", FailingIterations())
    async with process.running() as task:
        await asyncio.sleep(200)
        assert process.stopped_at is not None
        assert 120 <= process.stopped_at <= 125
        unhealthy_at, healthy = process.health[1]
        assert (healthy, unhealthy_at <= process.stopped_at) == (False, True)
        assert not any(healthy for _, healthy in process.health[1:])
    with pytest.raises(LoopFailed, match="'worker'"):
        task.result()


@skipping
async def test_a_loop_with_heartbeats_between_its_failures_is_never_given_up() -> None:
    process, count = Process(), 0

    async def fail_every_second_time() -> None:
        nonlocal count
        count += 1
        if count % 2:
            raise OSError

    process.add("worker", fail_every_second_time)
    async with process.running() as task:
        await asyncio.sleep(3_600)
    assert process.stopped_at is None
    assert task.exception() is None


@skipping
async def test_a_loop_that_runs_rarely_is_not_given_up_after_a_few_failures() -> None:
    process, iterations = Process(), FailingIterations(OSError(), until=5_000)

    async def run(heartbeat: Heartbeat) -> None:
        await process.drain.race(asyncio.sleep(1_000))
        await iterations()
        heartbeat()

    process.loops.append(Loop(name="retention", run=run, heartbeat_timeout=timedelta(hours=2)))
    async with process.running():
        await asyncio.sleep(4_500)
    assert len(iterations.at) == 4
    assert process.stopped_at is None


@skipping
async def test_a_stalled_loop_makes_the_process_unhealthy_until_it_continues() -> None:
    process, unblock = Process(), asyncio.Event()

    async def block_once() -> None:
        if now() >= 10:
            await unblock.wait()

    process.add("worker", block_once)
    process.add("feed", FailingIterations())
    async with process.running():
        await asyncio.sleep(60)
        assert [healthy for _, healthy in process.health] == [True, False]
        assert 39 <= process.health[1][0] <= 42
        unblock.set()
        await asyncio.sleep(2)
        assert [healthy for _, healthy in process.health] == [True, False, True]


@skipping
async def test_a_loop_in_backoff_runs_once_more_when_the_drain_starts() -> None:
    process, runs = Process(RestartPolicy(first_delay=timedelta(hours=1), max_delay=timedelta(hours=1))), []

    async def run(heartbeat: Heartbeat) -> None:
        runs.append(process.drain.started)
        if not process.drain.started:
            raise OSError

    process.loops.append(Loop(name="worker", run=run, heartbeat_timeout=HEARTBEAT_TIMEOUT))
    async with process.running():
        await asyncio.sleep(1)
    assert runs == [False, True]
    assert now() < 2


@skipping
async def test_a_cancelled_supervisor_first_ends_its_loops() -> None:
    process, ended = Process(), False

    async def run(heartbeat: Heartbeat) -> None:
        nonlocal ended
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(1)
            ended = True

    process.loops.append(Loop(name="worker", run=run, heartbeat_timeout=HEARTBEAT_TIMEOUT))
    async with process.running() as task:
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait((task,))
        assert ended
        assert task.cancelled()
    assert process.failures("worker") is None
