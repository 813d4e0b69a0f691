"""A worker that analyzes images: it leases tasks, runs an analyzer, extends the leases and submits the results."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Final, NoReturn

from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from catalogsync_client.analyzer import INTERNAL, RESULT_INVALID, TIMED_OUT, Analyzer, TaskFailed, failed_result
from catalogsync_client.client import CatalogClient
from catalogsync_client.errors import CallTimedOut, CatalogSyncError
from catalogsync_client.reasons import InvalidRequest
from catalogsync_client.resuming_stream import ConnectionCallback
from catalogsync_client.retry_policy import RetryPolicy

_MAX_LEASES_PER_CALL: Final = 100
_MAX_RESULTS_PER_CALL: Final = 50
_MAX_BATCH_BYTES: Final = 1024 * 1024
"""Of all results of a call; a message of gRPC may have 4 MiB."""
_MAX_RESULT_BYTES: Final = 256 * 1024
"""Of one result: several times what the service accepts."""
_CALL_TIMEOUT_SECONDS: Final = 10.0
_SHUTDOWN_TIMEOUT_SECONDS: Final = 5.0


@dataclass(kw_only=True, slots=True)
class WorkerCounts:
    """What became of the tasks of a worker since it was created."""

    leased: int = 0
    """Received."""
    stored: int = 0
    """The result is stored."""
    retry: int = 0
    """The failure is recorded, and the task is leased again later."""
    dead: int = 0
    """The failure is recorded, and the task is dead."""
    stale: int = 0
    """The result came after the lease was lost, and is not stored."""
    lost: int = 0
    """The lease was lost before there was a result; the analysis was cancelled."""
    returned: int = 0
    """Given back at the end, so that another worker leases the task at once."""


@dataclass(eq=False, kw_only=True, slots=True)
class _Lease:
    """A task that this worker holds until its result is submitted."""

    task: pb.AnalysisTask
    work: asyncio.Task[None] | None = field(default=None, repr=False)
    result: pb.TaskResult | None = None


class AnalysisWorker:
    """Leases the tasks of one analyzer and submits their results; `run` does so until it is cancelled.

    1. The service never leases more than `max_in_flight` tasks to a worker_id, reconnects included; results that
       wait for their submission count.
    2. The leases of tasks in progress are extended each third of `lease_duration`. The analysis of a task whose
       lease is lost is cancelled.
    3. While the service is unavailable, analyses go on, and results wait and are submitted again with backoff: the
       service stores each once.
    """

    def __init__(
        self,
        client: CatalogClient,
        analyzer: Analyzer,
        *,
        name: str,
        worker_id: str,
        model_version: str = "",
        max_in_flight: int = 10,
        lease_duration: timedelta = timedelta(seconds=60),
        time_limit: timedelta = timedelta(minutes=10),
        batch_delay: timedelta = timedelta(milliseconds=20),
        on_connection: ConnectionCallback | None = None,
        on_error: Callable[[pb.AnalysisTask, Exception], None] | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """Create a worker.

        Args:
            client: a service or an operator, with the scope to sync.
            analyzer: analyzes one task.
            name: the name of the analyzer, such as "image-quality"; update_shop switches it on for a shop.
            worker_id: the worker's own name, unique among all workers. Choose one that a restarted process has
                again, such as the name of its pod: the leases of a killed process then count as its own until they
                expire. Two processes with one name share its slots.
            model_version: of all results that name no other one.
            max_in_flight: how many tasks to hold at most, from 1 to 100.
            lease_duration: how long a task stays with a worker that has died: 10 s to 10 min.
            time_limit: of one analysis; afterwards it is cancelled, and the task fails with TIMED_OUT.
            batch_delay: how long a result may wait for others, to be submitted with them, while analyses run.
            on_connection: called with a Disconnect when the stream broke, and with None when messages arrive
                again.
            on_error: called with each unexpected exception of the analyzer, to log it. The service receives the
                name of its class only, since the text may contain secrets.
            retry_policy: time limits and backoff; None: transient errors are retried without end.

        Raises:
            ValueError: an argument is out of its range.
        """
        if not worker_id:
            raise ValueError("worker_id must not be empty")
        if not 1 <= max_in_flight <= _MAX_LEASES_PER_CALL:
            raise ValueError("max_in_flight must be from 1 to 100")
        if not timedelta(seconds=10) <= lease_duration <= timedelta(minutes=10):
            raise ValueError("lease_duration must be from 10 seconds to 10 minutes")
        self._client = client
        self._analyzer = analyzer
        self._name = name
        self._worker_id = worker_id
        self._model_version = model_version
        self._max_in_flight = max_in_flight
        self._lease_duration = Duration()
        self._lease_duration.FromTimedelta(lease_duration)
        self._extend_interval_seconds = lease_duration.total_seconds() / 3
        self._time_limit_seconds = time_limit.total_seconds()
        self._batch_delay_seconds = batch_delay.total_seconds()
        self._on_connection = on_connection
        self._on_error = on_error
        self._retry_policy = retry_policy or RetryPolicy(give_up_seconds=math.inf)
        self._free_slots = asyncio.Semaphore(max_in_flight)
        self._held: dict[str, _Lease] = {}
        """By lease_id, until the result is submitted or the lease is lost."""
        self._finished: deque[_Lease] = deque()
        """Those held whose result waits for its submission."""
        self._work_ended = asyncio.Event()
        self._lease_ended = asyncio.Event()
        self.counts = WorkerCounts()

    async def run(self) -> NoReturn:
        """Lease, analyze and submit until this task is cancelled.

        At the end, whatever its cause, running analyses are cancelled and awaited, results that are ready are
        submitted, and the other leases are given back.

        Raises:
            CatalogSyncError: the service does not accept this worker, for a reason that is not transient.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (self._lease_tasks(group), self._extend_leases(), self._submit_results()):
                    group.create_task(loop)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._give_back()
        raise AssertionError("the loops do not end")

    # Leases

    async def _lease_tasks(self, group: asyncio.TaskGroup) -> None:
        request = pb.LeaseTasksRequest(
            worker_id=self._worker_id,
            analyzer=self._name,
            model_version=self._model_version,
            max_in_flight=self._max_in_flight,
            lease_duration=self._lease_duration,
        )
        stream = self._client.lease_tasks(
            request, on_connection=self._on_connection, retry_policy=self._retry_policy
        )
        async with aclosing(stream) as messages:
            async for message in messages:
                for task in message.tasks:
                    self.counts.leased += 1
                    lease = self._held[task.lease_id] = _Lease(task=task)
                    lease.work = group.create_task(self._work(lease))
                # The service has leased more only if it took leases to be expired that this worker still works on.
                while len(self._held) > self._max_in_flight:
                    self._lease_ended.clear()
                    await self._lease_ended.wait()

    async def _extend_leases(self) -> None:
        attempts, delay = 0, self._extend_interval_seconds
        while True:
            await asyncio.sleep(delay)
            try:
                await self._extend(list(self._held))
                attempts, delay = 0, self._extend_interval_seconds
            except CatalogSyncError as error:
                delay = min(self._backoff_seconds(error, attempts), self._extend_interval_seconds)
                attempts += 1

    async def _extend(self, lease_ids: Sequence[str]) -> None:
        for start in range(0, len(lease_ids), _MAX_LEASES_PER_CALL):
            request = pb.ExtendLeasesRequest(
                worker_id=self._worker_id,
                lease_ids=lease_ids[start : start + _MAX_LEASES_PER_CALL],
                lease_duration=self._lease_duration,
            )
            timeout = min(self._extend_interval_seconds, _CALL_TIMEOUT_SECONDS)
            response = await self._client.extend_leases(request, timeout_seconds=timeout)
            for lease_id in response.lost_lease_ids:
                self._cancel(lease_id)

    def _cancel(self, lease_id: str) -> None:
        """Cancel the analysis of a lost lease. A result that is ready is submitted: the service decides on it."""
        lease = self._held.get(lease_id)
        if lease is not None and lease.work is not None and lease.result is None:
            self.counts.lost += 1
            self._release(lease)
            lease.work.cancel()

    def _release(self, lease: _Lease) -> None:
        del self._held[lease.task.lease_id]
        self._lease_ended.set()

    # Analyses

    async def _work(self, lease: _Lease) -> None:
        async with self._free_slots:
            result = await self._analyze(lease.task)
        if self._held.get(lease.task.lease_id) is lease:
            lease.result = result
            self._finished.append(lease)
            self._work_ended.set()

    async def _analyze(self, task: pb.AnalysisTask) -> pb.TaskResult:
        began = time.monotonic()
        limit = asyncio.timeout(self._time_limit_seconds)
        try:
            async with limit:
                found = await self._analyzer.analyze(task)
            return self._completed(task, found, seconds=time.monotonic() - began)
        except TaskFailed as failed:
            return failed_result(task, failed.reason, failed.message, permanent=failed.permanent)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            # Not this task was cancelled, but something that the analyzer waits for.
            return failed_result(task, INTERNAL, type(error).__name__)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return failed_result(task, TIMED_OUT, f"no result after {self._time_limit_seconds:g} s")
            if self._on_error is not None:
                self._on_error(task, error)
            return failed_result(task, INTERNAL, type(error).__name__)

    def _completed(self, task: pb.AnalysisTask, found: pb.AnalysisResult, *, seconds: float) -> pb.TaskResult:
        result = pb.TaskResult(lease_id=task.lease_id, analysis=found)
        result.analysis.model_version = found.model_version or self._model_version
        if not found.HasField("processing_time"):
            result.analysis.processing_time.FromNanoseconds(round(seconds * 1e9))
        if result.ByteSize() > _MAX_RESULT_BYTES:
            return failed_result(task, RESULT_INVALID, f"the result has {result.ByteSize()} bytes")
        return result

    # Results

    async def _submit_results(self) -> None:
        while True:
            await self._wait_for_batch()
            await self._submit(self._next_batch())

    async def _wait_for_batch(self) -> None:
        """Return when there are 50 results, or one has waited for long enough, or no analysis is running."""
        while not self._finished:
            self._work_ended.clear()
            await self._work_ended.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._batch_delay_seconds):
                while len(self._finished) < min(_MAX_RESULTS_PER_CALL, len(self._held)):
                    self._work_ended.clear()
                    await self._work_ended.wait()

    def _next_batch(self) -> list[_Lease]:
        batch: list[_Lease] = []
        size = 0
        for lease in self._finished:
            assert lease.result is not None
            size += lease.result.ByteSize()
            if batch and (size > _MAX_BATCH_BYTES or len(batch) == _MAX_RESULTS_PER_CALL):
                break
            batch.append(lease)
        return batch

    async def _submit(self, batch: Sequence[_Lease]) -> None:
        """Submit the results of the batch, again with backoff while the service is unavailable."""
        for attempts in count():
            try:
                await self._submit_once(batch)
            except InvalidRequest as error:
                await self._submit_apart(batch, error)
            except CatalogSyncError as error:
                await asyncio.sleep(self._backoff_seconds(error, attempts))
                continue
            return

    async def _submit_apart(self, batch: Sequence[_Lease], error: InvalidRequest) -> None:
        """Submit each result alone, so that an invalid one, which becomes a failure, does not delay the others."""
        if len(batch) > 1:
            for lease in batch:
                await self._submit([lease])
            return
        (lease,) = batch
        assert lease.result is not None
        if lease.result.HasField("failure"):
            raise error
        message = "; ".join(f"{each.field}: {each.description}" for each in error.violations)
        lease.result = failed_result(lease.task, RESULT_INVALID, message or error.message)
        await self._submit(batch)

    async def _submit_once(self, batch: Sequence[_Lease]) -> None:
        results = [lease.result for lease in batch if lease.result is not None]
        response = await self._client.submit_results(
            pb.SubmitResultsRequest(worker_id=self._worker_id, results=results)
        )
        for outcome in response.outcomes:
            self._count(outcome.outcome)
        for lease in batch:
            self._finished.remove(lease)
            self._release(lease)

    def _count(self, outcome: pb.TaskOutcome.Outcome.ValueType) -> None:
        match outcome:
            case pb.TaskOutcome.OUTCOME_STORED:
                self.counts.stored += 1
            case pb.TaskOutcome.OUTCOME_STALE:
                self.counts.stale += 1
            case pb.TaskOutcome.OUTCOME_RETRY:
                self.counts.retry += 1
            case pb.TaskOutcome.OUTCOME_DEAD:
                self.counts.dead += 1

    def _backoff_seconds(self, error: CatalogSyncError, attempts: int) -> float:
        """Return the time until the next attempt; raise the error if there must be none."""
        if not (error.is_transient or isinstance(error, CallTimedOut)):
            raise error
        return self._retry_policy.backoff_seconds(error.failure, attempts=attempts)

    async def _give_back(self) -> None:
        """Submit the results that are ready, and give the other leases back; what fails expires by itself."""
        with suppress(CatalogSyncError, TimeoutError):
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT_SECONDS):
                while self._finished:
                    await self._submit_once(self._next_batch())
        lease_ids = list(self._held)
        self._held.clear()
        self._finished.clear()
        with suppress(CatalogSyncError, TimeoutError):
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT_SECONDS):
                for start in range(0, len(lease_ids), _MAX_LEASES_PER_CALL):
                    ended = await self._client.extend_leases(
                        pb.ExtendLeasesRequest(
                            worker_id=self._worker_id,
                            lease_ids=lease_ids[start : start + _MAX_LEASES_PER_CALL],
                            lease_duration=Duration(),
                        )
                    )
                    self.counts.returned += len(ended.extended_lease_ids)
