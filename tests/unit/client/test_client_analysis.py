"""A worker loses no task by outages, lost leases and errors of its analyzer, and holds no more than it may."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2 import WatchSyncResponse
from catalogsync_client import AnalysisWorker, CatalogClient, RetryPolicy, TaskFailed, WorkerCounts, reasons
from catalogsync_client.analysis_calls import AnalysisCalls

from tests.fakes.analysis_service import FakeAnalysis
from tests.fakes.catalog_service import CatalogServer, FailureWithReason
from tests.waiting import forever, let_tasks_run, until, until_stable, within_timeout

NAME = "shopify:demo.myshopify.com"
ME = "worker-1"
# A stream that is given up only because the machine is busy would hold leases of which the worker knows nothing.
QUICK = RetryPolicy(stall_seconds=60, give_up_seconds=20, initial_backoff_seconds=0.05, max_backoff_seconds=0.2)


def unavailable() -> FailureWithReason:
    return FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta())


class Recorder:
    """An analyzer that keeps what it was asked; a test sets what it does."""

    def __init__(self) -> None:
        self.started: list[str] = []
        """The image ids, in order."""
        self.running: list[str] = []
        self.cancelled: list[str] = []
        self.most_running = 0
        self.act: Callable[[pb.AnalysisTask], Any] = lambda task: None
        """What to do with a task before its result: raises, or returns something to wait for."""
        self.score = "0.5"

    async def analyze(self, task: pb.AnalysisTask) -> pb.AnalysisResult:
        self.started.append(task.image_id)
        self.running.append(task.image_id)
        self.most_running = max(self.most_running, len(self.running))
        try:
            waited = self.act(task)
            if waited is not None:
                await waited
        except asyncio.CancelledError:
            self.cancelled.append(task.image_id)
            raise
        finally:
            self.running.remove(task.image_id)
        return pb.AnalysisResult(quality_score=self.score, confidence_score="1")


@pytest.fixture
def analysis(server: CatalogServer) -> FakeAnalysis:
    return server.analysis


@pytest.fixture
async def client(server: CatalogServer) -> AsyncIterator[CatalogClient]:
    async with CatalogClient(server.address) as client:
        yield client


@pytest.fixture
def analyzer() -> Recorder:
    return Recorder()


@asynccontextmanager
async def working(
    client: CatalogClient, analyzer: Recorder, *, worker_id: str = ME, max_in_flight: int = 4, **options: Any
) -> AsyncIterator[tuple[AnalysisWorker, asyncio.Task[None]]]:
    """Run a worker, and stop it as a program does: by a cancel."""
    options = {"retry_policy": QUICK, "lease_duration": timedelta(seconds=10), "model_version": "7", **options}
    worker = AnalysisWorker(
        client, analyzer, name="image-quality", worker_id=worker_id, max_in_flight=max_in_flight, **options
    )
    task: asyncio.Task[None] = asyncio.ensure_future(worker.run())
    try:
        yield worker, task
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await within_timeout(task)


def stored(analysis: FakeAnalysis) -> int:
    return sum(task.result is not None for task in analysis.tasks)


def test_every_method_of_the_service_is_called_by_the_client() -> None:
    service = pb.DESCRIPTOR.services_by_name["AnalysisService"]
    source = inspect.getsource(AnalysisCalls)
    missing = [method.name for method in service.methods if f"self._analysis_stub.{method.name}" not in source]
    assert missing == []


async def test_each_task_gets_one_result_with_the_version_of_the_model_and_its_time(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analysis.add_tasks(30)
    async with working(client, analyzer) as (worker, _):
        await until(lambda: stored(analysis) == 30)
        await until(lambda: worker.counts == WorkerCounts(leased=30, stored=30))
    assert len(analyzer.started) == len(set(analyzer.started)) == 30
    for task in analysis.tasks:
        assert task.result is not None
        assert task.result.model_version == "7"
        assert task.result.HasField("processing_time")


async def test_a_worker_never_holds_more_than_it_asked_for_over_20_reconnects(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analysis.add_tasks(100)
    analysis.reconnects = [WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED] * 20
    analyzer.act = lambda task: asyncio.sleep(0)
    async with working(client, analyzer):
        await until(lambda: stored(analysis) == 100)
    assert len(analysis.calls("LeaseTasks")) == 21
    assert analysis.most_held == {ME: 4}
    assert analyzer.most_running == 4


async def test_tasks_that_the_service_leases_too_early_wait_for_a_free_slot(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    analysis.add_tasks(6)
    async with working(client, analyzer, max_in_flight=2):
        await until(lambda: len(analyzer.running) == 2)
        for lease_id in analysis.held(ME):
            analysis.expire(lease_id)
        await until(lambda: len(analysis.held(ME)) == 2)
        gate.set()
        await until(lambda: stored(analysis) == 6)
    assert analyzer.most_running == 2


async def test_a_worker_whose_leases_expire_again_and_again_does_not_collect_tasks(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: forever()
    analysis.add_tasks(2)
    async with working(client, analyzer, max_in_flight=2) as (worker, _):
        for leased in (2, 4, 6, 8):
            await until(lambda now=leased: len(analysis.leases) == now)  # type: ignore[misc]
            for lease_id in analysis.held(ME):
                analysis.expire(lease_id)
        assert await until_stable(lambda: worker.counts.leased) == 4


async def test_analyses_go_on_while_the_service_is_down_and_their_results_are_stored_afterwards(
    server: CatalogServer, analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    analysis.add_tasks(4)
    async with working(client, analyzer) as (worker, _):
        await until(lambda: len(analyzer.running) == 4)
        await server.kill()
        gate.set()
        await until(lambda: not analyzer.running)
        assert stored(analysis) == 0
        await server.start()
        await until(lambda: worker.counts.stored == 4)
    assert len(analyzer.started) == 4


async def test_results_whose_response_was_lost_are_submitted_again_and_counted_once(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analysis.late_errors["SubmitResults"] = [unavailable(), unavailable()]
    analysis.add_tasks(3)
    async with working(client, analyzer) as (worker, _):
        await until(lambda: worker.counts.stored == 3)
        assert worker.counts == WorkerCounts(leased=3, stored=3)
    first, *repeated = analysis.calls("SubmitResults")
    assert repeated == [first, first]


async def test_the_leases_of_work_in_progress_are_extended_also_after_errors(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    analysis.add_tasks(2)
    analysis.errors["ExtendLeases"] = [unavailable() for _ in range(6)]
    async with working(client, analyzer) as (worker, _):
        await until(lambda: len(analysis.leases) == 2)
        await until(lambda: all(lease.extended_count for lease in analysis.leases.values()))
        gate.set()
        await until(lambda: worker.counts.stored == 2)
    assert analysis.calls("ExtendLeases")[-1].lease_duration.seconds == 10


async def test_work_whose_lease_is_lost_is_cancelled_and_the_task_done_again(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer, max_in_flight=2) as (worker, _):
        await until(lambda: len(analyzer.running) == 1)
        analysis.expire(task.lease_id)
        await until(lambda: analyzer.cancelled == [task.task.image_id])
        assert worker.counts.lost == 1
        gate.set()
        await until(lambda: stored(analysis) == 1)
    assert task.attempt_count == 2


async def test_a_result_of_an_analyzer_that_ignores_its_cancel_is_dropped(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    async def ignore_cancel() -> None:
        with suppress(asyncio.CancelledError):
            await forever()

    analyzer.act = lambda task: ignore_cancel() if len(analyzer.started) == 1 else None
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer, max_in_flight=2) as (worker, _):
        await until(lambda: len(analyzer.running) == 1)
        lost = task.lease_id
        analysis.expire(lost)
        await until(lambda: worker.counts.lost == 1)
        analysis.add_tasks(1)
        await until(lambda: worker.counts.stored == 2)
    assert lost not in {result.lease_id for call in analysis.calls("SubmitResults") for result in call.results}


async def test_a_result_that_comes_after_the_lease_is_lost_is_stale(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer, max_in_flight=1) as (worker, _):
        await until(lambda: len(analyzer.running) == 1)
        analysis.expire(task.lease_id)
        gate.set()
        await until(lambda: worker.counts.stale == 1)
        await until(lambda: worker.counts.stored == 1)


async def test_an_unexpected_exception_becomes_a_failure_that_names_its_class_only(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    seen: list[str] = []

    def act(task: pb.AnalysisTask) -> None:
        if task.image_id == "image-1":
            raise LookupError("password=hunter2")

    analyzer.act = act
    first, _ = analysis.add_tasks(2)
    async with working(client, analyzer, on_error=lambda task, error: seen.append(str(error))) as (worker, _):
        await until(lambda: first.is_dead and worker.counts.stored == 1)
        await until(lambda: worker.counts == WorkerCounts(leased=6, stored=1, retry=4, dead=1))
    assert first.failure == pb.TaskFailure(reason="INTERNAL", message="LookupError")
    assert seen == ["password=hunter2"] * 5


async def test_a_cancel_inside_of_the_analyzer_is_a_failure_and_does_not_end_the_worker(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    async def cancelled_elsewhere() -> None:
        inner = asyncio.ensure_future(forever())
        inner.cancel()
        await inner

    analyzer.act = lambda task: cancelled_elsewhere() if task.image_id == "image-1" else None
    first, _ = analysis.add_tasks(2)
    async with working(client, analyzer) as (worker, _):
        await until(lambda: first.is_dead and worker.counts.stored == 1)
    assert first.failure == pb.TaskFailure(reason="INTERNAL", message="CancelledError")


async def test_a_failure_of_the_analyzer_keeps_its_reason_and_a_permanent_one_is_not_attempted_again(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    def act(task: pb.AnalysisTask) -> None:
        raise TaskFailed("IMAGE_NOT_FOUND", "x" * 2_000, permanent=True)

    analyzer.act = act
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer) as (worker, _):
        await until(lambda: worker.counts == WorkerCounts(leased=1, dead=1))
    assert task.failure == pb.TaskFailure(reason="IMAGE_NOT_FOUND", message="x" * 1_000, permanent=True)


async def test_an_analysis_that_exceeds_the_time_limit_fails(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: forever()
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer, time_limit=timedelta(milliseconds=10)):
        await until(lambda: task.is_dead)
    assert task.failure == pb.TaskFailure(reason="TIMED_OUT", message="no result after 0.01 s")


async def test_an_invalid_result_becomes_a_failure_and_the_others_of_its_batch_are_stored(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    def act(task: pb.AnalysisTask) -> None:
        analyzer.score = "1.5" if task.image_id == "image-2" else "1"

    analyzer.act = act
    first, invalid, third = analysis.add_tasks(3)
    async with working(client, analyzer):
        await until(lambda: invalid.is_dead and stored(analysis) == 2)
    assert first.result is not None
    assert third.result is not None
    assert invalid.failure is not None
    assert invalid.failure.reason == "RESULT_INVALID"
    assert "quality_score: must be a decimal" in invalid.failure.message


async def test_a_result_of_a_huge_size_is_not_sent(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.score = "0" * 1_000_000
    (task,) = analysis.add_tasks(1)
    async with working(client, analyzer):
        await until(lambda: task.is_dead)
    assert task.failure is not None
    assert task.failure.reason == "RESULT_INVALID"
    assert all(call.ByteSize() < 10_000 for call in analysis.calls("SubmitResults"))


async def test_results_that_are_ready_together_are_submitted_together_at_most_50_per_call(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    gate = asyncio.Event()
    analyzer.act = lambda task: gate.wait()
    analysis.add_tasks(100)
    async with working(client, analyzer, max_in_flight=100) as (worker, _):
        await until(lambda: len(analyzer.running) == 100)
        gate.set()
        await until(lambda: worker.counts.stored == 100)
    assert [len(call.results) for call in analysis.calls("SubmitResults")] == [50, 50]


async def test_a_result_waits_for_those_that_come_soon_after_it(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: let_tasks_run(10 * int(task.item_id))
    analysis.add_tasks(3)
    # Longer than the test: only the end of the last analysis ends the wait.
    async with working(client, analyzer, batch_delay=timedelta(hours=1)) as (worker, _):
        await until(lambda: worker.counts.stored == 3)
    assert [len(call.results) for call in analysis.calls("SubmitResults")] == [3]


async def test_a_worker_that_is_stopped_submits_what_is_ready_and_gives_the_rest_back(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: None if task.image_id == "image-1" else forever()
    ready, *others = analysis.add_tasks(3)
    # The first result is not stored while the worker runs: after gRPC has repeated the call, it waits for an hour.
    in_an_hour = FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(hours=1))
    analysis.errors["SubmitResults"] = [in_an_hour] * 4
    async with working(client, analyzer) as (worker, _):
        await until(lambda: len(analyzer.running) == 2 and not analysis.errors["SubmitResults"])
    assert worker.counts == WorkerCounts(leased=3, stored=1, returned=2)
    assert ready.result is not None
    assert [(task.is_open, task.lease_id, task.attempt_count) for task in others] == [(True, "", 0)] * 2
    assert analyzer.running == []
    assert sorted(analyzer.cancelled) == ["image-2", "image-3"]
    await until(lambda: analysis.stream_count == 0)


async def test_nothing_is_left_running_when_a_worker_is_stopped_during_an_outage(
    server: CatalogServer, analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: forever()
    analysis.add_tasks(2)
    before = asyncio.all_tasks()
    async with working(client, analyzer):
        await until(lambda: len(analyzer.running) == 2)
        await server.kill()
    assert analyzer.running == []
    assert {task for task in asyncio.all_tasks() - before if not _is_of_grpc(task)} == set()


def _is_of_grpc(task: asyncio.Task[Any]) -> bool:
    return "grpc" in repr(task.get_coro())


async def test_an_error_that_is_not_transient_ends_the_worker_and_its_leases_are_given_back(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analyzer.act = lambda task: None if task.image_id == "image-1" else forever()
    _, other = analysis.add_tasks(2)
    analysis.errors["SubmitResults"] = [
        FailureWithReason("PERMISSION_DENIED"),
        FailureWithReason("PERMISSION_DENIED"),
    ]
    async with working(client, analyzer) as (_, task):
        with pytest.raises(reasons.PermissionDenied):
            await within_timeout(task)
    assert analysis.held(ME) == []
    assert other.attempt_count == 0


async def test_a_silent_stream_is_opened_again(
    analysis: FakeAnalysis, client: CatalogClient, analyzer: Recorder
) -> None:
    analysis.stalled = True
    analysis.add_tasks(1)
    async with working(client, analyzer, retry_policy=replace(QUICK, stall_seconds=0.5)):
        await until(lambda: len(analysis.calls("LeaseTasks")) >= 2)
        analysis.stalled = False
        await until(lambda: stored(analysis) == 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"worker_id": ""},
        {"max_in_flight": 0},
        {"max_in_flight": 101},
        {"lease_duration": timedelta(seconds=9)},
        {"lease_duration": timedelta(minutes=11)},
    ],
)
async def test_an_argument_out_of_its_range_is_refused(
    client: CatalogClient, analyzer: Recorder, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="must"):
        AnalysisWorker(client, analyzer, **{"name": "image-quality", "worker_id": ME, **arguments})


def test_a_failure_can_be_sent_from_a_process_that_analyzes() -> None:
    sent = pickle.loads(pickle.dumps(TaskFailed("IMAGE_NOT_FOUND", "the host answered 404", permanent=True)))
    assert (str(sent), sent.permanent) == ("IMAGE_NOT_FOUND: the host answered 404", True)


@pytest.mark.parametrize("reason", ["", "not found", "X" * 64])
def test_a_reason_of_another_form_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match="is not a reason"):
        TaskFailed(reason)


async def test_lists_of_analyses_and_dead_tasks_are_read_page_by_page(
    analysis: FakeAnalysis, client: CatalogClient
) -> None:
    for number, task in enumerate(analysis.add_tasks(5)):
        task.is_open, task.result = False, pb.AnalysisResult(quality_score=f"0.{9 - number}")
    for task in analysis.add_tasks(3):
        task.is_open, task.failure = False, pb.TaskFailure(reason="IMAGE_NOT_FOUND")
    request = pb.ListAnalysesRequest(analyzer="image-quality", page_size=2)
    scores = [each.result.quality_score async for each in client.analyses(request)]
    dead = [each.failure.reason async for each in client.dead_tasks(pb.ListDeadTasksRequest(page_size=2))]
    assert scores == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    assert dead == ["IMAGE_NOT_FOUND"] * 3
    assert (len(analysis.calls("ListAnalyses")), len(analysis.calls("ListDeadTasks"))) == (3, 2)


async def test_requeue_goes_on_until_nothing_remains(analysis: FakeAnalysis, client: CatalogClient) -> None:
    for task in analysis.add_tasks(2_500):
        task.is_open, task.failure = False, pb.TaskFailure(reason="DOWNLOAD_FAILED")
    request = pb.RequeueTasksRequest(analyzer="image-quality", dead=True)
    assert await client.requeue(request) == 2_500
    assert len(analysis.calls("RequeueTasks")) == 3
    assert all(task.is_open for task in analysis.tasks)


async def test_the_analysis_of_an_item_is_read_by_its_id(analysis: FakeAnalysis, client: CatalogClient) -> None:
    (task,) = analysis.add_tasks(1)
    found = await client.get_analysis(NAME, task.task.item_id)
    assert [each.image_id for each in found.analyses] == ["image-1"]


async def test_an_analyzer_that_the_shop_does_not_use_is_an_error_of_its_own(
    analysis: FakeAnalysis, client: CatalogClient
) -> None:
    analysis.errors["RequeueTasks"] = [FailureWithReason("ANALYZER_NOT_ENABLED")]
    with pytest.raises(reasons.AnalyzerNotEnabled):
        await client.requeue(pb.RequeueTasksRequest(analyzer="image-quality", dead=True))
