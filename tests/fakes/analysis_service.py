"""An in-memory AnalysisService: real tasks, leases and results. A lease expires when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import Any

from catalogsync.catalog.v1 import analysis_pb2, catalog_service_pb2
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceServicer
from catalogsync_common.failure import FieldViolation, InvalidRequest

MAX_ATTEMPTS = 5
Context = Any
WatchSyncResponse = catalog_service_pb2.WatchSyncResponse


@dataclass(eq=False, kw_only=True)
class FakeTask:
    """An image with its task and its result."""

    task: pb.AnalysisTask
    analyzer: str
    is_open: bool = True
    lease_id: str = ""
    """Of the current lease; "": the task waits for a worker."""
    attempt_count: int = 0
    result: pb.AnalysisResult | None = None
    failure: pb.TaskFailure | None = None

    @property
    def is_dead(self) -> bool:
        return not self.is_open and self.failure is not None

    def state(self) -> analysis_pb2.AnalysisState.ValueType:
        if self.is_open:
            return analysis_pb2.ANALYSIS_STATE_PENDING
        return analysis_pb2.ANALYSIS_STATE_FAILED if self.is_dead else analysis_pb2.ANALYSIS_STATE_ANALYZED

    def analysis(self) -> pb.ImageAnalysis:
        return pb.ImageAnalysis(
            image_id=self.task.image_id,
            image_url=self.task.image_url,
            analyzer=self.analyzer,
            state=self.state(),
            result=self.result,
            failure=self.failure,
            attempt_count=self.attempt_count,
            item_id=self.task.item_id,
        )


@dataclass(kw_only=True)
class FakeLease:
    """A lease, also after its end."""

    task: FakeTask
    worker_id: str
    outcome: pb.TaskOutcome.Outcome.ValueType | None = None
    """What became of the result; None: none was submitted."""
    extended_count: int = 0


class FakeAnalysis(AnalysisServiceServicer):
    """A servicer whose store outlives the servers that serve it, as a database does: see `CatalogServer`."""

    def __init__(self) -> None:
        self.tasks: list[FakeTask] = []
        self.leases: dict[str, FakeLease] = {}
        self.requests: list[tuple[str, Any]] = []
        """Every call: method, request."""
        self.errors: dict[str, list[BaseException]] = {}
        """Per method, the errors that the next calls raise."""
        self.late_errors: dict[str, list[BaseException]] = {}
        """Per method, the errors that the next calls raise after their work: the response is lost."""
        self.stalled = False
        """Whether streams neither send a message nor end."""
        self.reconnects: list[WatchSyncResponse.ReconnectReason.ValueType] = []
        """Why the next streams end with OK after their first message."""
        self.most_held: dict[str, int] = {}
        """The highest number of leases at one time, by worker_id."""
        self.stream_count = 0
        self._changed = asyncio.Event()
        self._ids = count(1)

    def add_tasks(self, number: int, *, analyzer: str = "image-quality", **fields: Any) -> list[FakeTask]:
        """Store open tasks, and return them."""
        added = []
        for _ in range(number):
            id_ = str(next(self._ids))
            own = {"shop_id": "shop-1", "item_id": id_, "image_url": f"https://cdn.example/{id_}.jpg", **fields}
            added.append(FakeTask(task=pb.AnalysisTask(image_id=f"image-{id_}", **own), analyzer=analyzer))
        self.tasks += added
        self.wake()
        return added

    def wake(self) -> None:
        """Let the streams look for tasks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def expire(self, lease_id: str) -> None:
        """End a lease as its time would: another worker may lease the task."""
        assert self._is_held(lease_id)
        lease = self.leases[lease_id]
        lease.task.lease_id = ""
        self._end_attempt(lease.task, pb.TaskFailure(reason="LEASE_EXPIRED"))

    def held(self, worker_id: str) -> list[str]:
        """Return the current leases of a worker."""
        return [id_ for id_, lease in self.leases.items() if lease.worker_id == worker_id and self._is_held(id_)]

    def calls(self, method: str) -> list[Any]:
        """Return the requests of a method."""
        return [request for called, request in self.requests if called == method]

    # Workers

    async def LeaseTasks(
        self, request: pb.LeaseTasksRequest, context: Context
    ) -> AsyncIterator[pb.LeaseTasksResponse]:
        self._record("LeaseTasks", request)
        self.stream_count += 1
        try:
            while True:
                if self.stalled:
                    await asyncio.Event().wait()
                changed = self._changed
                tasks = self._lease(request)
                none = WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
                reconnect = self.reconnects.pop(0) if self.reconnects else none
                if tasks or reconnect:
                    yield pb.LeaseTasksResponse(tasks=tasks, reconnect_reason=reconnect)
                if reconnect:
                    return
                await changed.wait()
        finally:
            self.stream_count -= 1

    async def ExtendLeases(self, request: pb.ExtendLeasesRequest, context: Context) -> pb.ExtendLeasesResponse:
        self._record("ExtendLeases", request)
        held = [id_ for id_ in request.lease_ids if self._is_held(id_)]
        for id_ in held:
            lease = self.leases[id_]
            if not request.HasField("lease_duration") or request.lease_duration.ToTimedelta():
                lease.extended_count += 1
            else:
                lease.task.lease_id = ""
                lease.task.attempt_count -= 1
        self.wake()
        lost = [id_ for id_ in request.lease_ids if id_ not in held]
        return pb.ExtendLeasesResponse(extended_lease_ids=held, lost_lease_ids=lost)

    async def SubmitResults(self, request: pb.SubmitResultsRequest, context: Context) -> pb.SubmitResultsResponse:
        self._record("SubmitResults", request)
        _validate(request.results)
        outcomes = [
            pb.TaskOutcome(lease_id=result.lease_id, outcome=self._submit(result)) for result in request.results
        ]
        self.wake()
        if self.late_errors.get("SubmitResults"):
            raise self.late_errors["SubmitResults"].pop(0)
        return pb.SubmitResultsResponse(outcomes=outcomes)

    def _lease(self, request: pb.LeaseTasksRequest) -> list[pb.AnalysisTask]:
        free = (request.max_in_flight or 10) - len(self.held(request.worker_id))
        waiting = [each for each in self.tasks if self._waits(each) and each.analyzer == request.analyzer]
        leased = []
        for each in waiting[:free]:
            each.lease_id = f"lease-{next(self._ids)}"
            each.attempt_count += 1
            self.leases[each.lease_id] = FakeLease(task=each, worker_id=request.worker_id)
            task = pb.AnalysisTask(lease_id=each.lease_id, attempt=each.attempt_count)
            task.MergeFrom(each.task)
            leased.append(task)
        held = len(self.held(request.worker_id))
        self.most_held[request.worker_id] = max(self.most_held.get(request.worker_id, 0), held)
        return leased

    def _submit(self, result: pb.TaskResult) -> pb.TaskOutcome.Outcome.ValueType:
        lease = self.leases[result.lease_id]
        if lease.outcome is not None:
            return lease.outcome
        if not self._is_held(result.lease_id):
            return pb.TaskOutcome.OUTCOME_STALE
        task = lease.task
        task.lease_id = ""
        if result.HasField("analysis"):
            task.result, task.failure, task.is_open = result.analysis, None, False
            lease.outcome = pb.TaskOutcome.OUTCOME_STORED
        else:
            self._end_attempt(task, result.failure)
            lease.outcome = pb.TaskOutcome.OUTCOME_RETRY if task.is_open else pb.TaskOutcome.OUTCOME_DEAD
        return lease.outcome

    def _end_attempt(self, task: FakeTask, failure: pb.TaskFailure) -> None:
        task.failure = failure
        task.is_open = not failure.permanent and task.attempt_count < MAX_ATTEMPTS
        self.wake()

    def _is_held(self, lease_id: str) -> bool:
        lease = self.leases.get(lease_id)
        return lease is not None and lease.outcome is None and lease.task.lease_id == lease_id

    @staticmethod
    def _waits(task: FakeTask) -> bool:
        return task.is_open and not task.lease_id

    # Results

    async def GetAnalysis(self, request: pb.GetAnalysisRequest, context: Context) -> pb.GetAnalysisResponse:
        self._record("GetAnalysis", request)
        found = [each for each in self.tasks if each.task.item_id == request.item_id]
        state = found[0].state() if found else analysis_pb2.ANALYSIS_STATE_NOT_APPLICABLE
        return pb.GetAnalysisResponse(state=state, analyses=[each.analysis() for each in found])

    async def ListAnalyses(self, request: pb.ListAnalysesRequest, context: Context) -> pb.ListAnalysesResponse:
        self._record("ListAnalyses", request)
        state = request.state or analysis_pb2.ANALYSIS_STATE_ANALYZED
        found = [
            each.analysis() for each in self.tasks if (each.analyzer, each.state()) == (request.analyzer, state)
        ]
        found.sort(key=lambda each: (each.result.quality_score, each.image_id))
        page, token = _page(found, request.page_size or 50, request.page_token)
        return pb.ListAnalysesResponse(analyses=page, next_page_token=token)

    async def ListDeadTasks(self, request: pb.ListDeadTasksRequest, context: Context) -> pb.ListDeadTasksResponse:
        self._record("ListDeadTasks", request)
        found = [
            each.analysis() for each in self.tasks if each.is_dead and request.analyzer in ("", each.analyzer)
        ]
        page, token = _page(found, request.page_size or 50, request.page_token)
        return pb.ListDeadTasksResponse(tasks=page, next_page_token=token)

    async def RequeueTasks(self, request: pb.RequeueTasksRequest, context: Context) -> pb.RequeueTasksResponse:
        self._record("RequeueTasks", request)
        found = [each for each in self.tasks if each.analyzer == request.analyzer and _is_selected(each, request)]
        for each in found[:1_000]:
            each.is_open, each.failure, each.attempt_count = True, None, 0
        self.wake()
        return pb.RequeueTasksResponse(requeued_count=len(found[:1_000]), remaining=len(found) > 1_000)

    def _record(self, method: str, request: Any) -> None:
        self.requests.append((method, request))
        if self.errors.get(method):
            raise self.errors[method].pop(0)


def _is_selected(task: FakeTask, request: pb.RequeueTasksRequest) -> bool:
    match request.WhichOneof("images"):
        case "dead":
            return task.is_dead
        case "image_ids":
            return task.task.image_id in request.image_ids.ids
        case _:
            version = request.other_than_model_version
            return not task.is_open and task.result is not None and task.result.model_version != version


def _validate(results: Iterable[pb.TaskResult]) -> None:
    violations = [
        FieldViolation(
            field=f"results[{index}].analysis.quality_score", description="must be a decimal from 0 to 1"
        )
        for index, result in enumerate(results)
        if result.HasField("analysis") and not _is_score(result.analysis.quality_score)
    ]
    if violations:
        raise InvalidRequest(*violations)


def _is_score(text: str) -> bool:
    try:
        return 0 <= Decimal(text) <= 1
    except InvalidOperation:
        return False


def _page(found: Sequence[pb.ImageAnalysis], size: int, token: str) -> tuple[Sequence[pb.ImageAnalysis], str]:
    start = int(token or 0)
    return found[start : start + size], str(start + size) if start + size < len(found) else ""
