"""The process of a worker: `python -m tests.analysis.worker_process WORKER SLOTS SLOW_SHARE ADDRESS...`.

It calls the service directly, and is worse than the client's AnalysisWorker: it goes on with leases that are lost,
submits their results as well, and opens its stream again every few seconds, at the other replica. It runs until it
is killed, and prints a line for each stream and for the outcome of each result.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync_common.channel import open_channel
from google.protobuf.duration_pb2 import Duration

from catalog_svc.domain.analysis import TaskLease
from catalog_svc.rpc.lease_ids import decode_lease
from tests.feed.pauses import pause

ANALYZER: Final = "chaos"
LEASE_SECONDS: Final = 10
"""The shortest that the service accepts."""
_EXTEND_SECONDS: Final = LEASE_SECONDS / 3
_CALL_TIMEOUT_SECONDS: Final = 5.0
_STREAM_SECONDS: Final = (2.0, 8.0)
"""How long a stream is read before another one is opened."""
_QUICK_SECONDS: Final = (0.0, 0.4)
_SLOW_SECONDS: Final = (3.0, 12.0)
_FAILURE_SHARE: Final = 0.01
_MAX_RESULTS: Final = 50
_MAX_LEASES: Final = 100
"""Of one call."""
_STREAM: Final = "STREAM"
_MAY_HAPPEN: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
}
"""What calls end with while replicas are killed and the database is down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOutput:
    """What the processes of a worker have printed."""

    streams: int
    outcomes: dict[str, list[TaskLease]]
    """The leases of results by the name of their outcome: "STORED", "STALE"."""


def read_output(file: Path) -> WorkerOutput:
    """Return what was printed; a line that a kill has cut off is left out."""
    streams, outcomes = 0, dict[str, list[TaskLease]]()
    for line in file.read_text(errors="replace").splitlines():
        kind, _, lease_id = line.partition(" ")
        streams += kind == _STREAM
        lease = decode_lease(lease_id)
        if lease is not None:
            outcomes.setdefault(kind, []).append(lease)
    return WorkerOutput(streams=streams, outcomes=outcomes)


def work_seconds(image_id: str, slow_share: float) -> float:
    """Return how long an image takes: the same at each attempt, as with images of different sizes."""
    chance = random.Random(image_id)
    return chance.uniform(*(_SLOW_SECONDS if chance.random() < slow_share else _QUICK_SECONDS))


class RecklessWorker:
    """A worker that leases, works, extends and submits, whatever becomes of its leases."""

    def __init__(
        self, worker_id: str, slots: int, slow_share: float, stubs: Sequence[AnalysisServiceStub]
    ) -> None:
        self._worker_id = worker_id
        self._slots = slots
        self._slow_share = slow_share
        self._stubs: Iterator[AnalysisServiceStub] = itertools.cycle(stubs)
        self._working: set[str] = set()
        self._finished: asyncio.Queue[pb.TaskResult] = asyncio.Queue()
        self._images: dict[str, tuple[str, str]] = {}
        """Shop and image of each lease: a call has at most one result of an image."""

    async def run(self) -> None:
        """Work until the process is killed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease(group))
            group.create_task(self._extend())
            group.create_task(self._submit())

    async def _lease(self, group: asyncio.TaskGroup) -> None:
        duration = Duration(seconds=LEASE_SECONDS)
        request = pb.LeaseTasksRequest(
            worker_id=self._worker_id,
            analyzer=ANALYZER,
            max_in_flight=self._slots,
            lease_duration=duration,
        )
        while True:
            print(_STREAM, flush=True)
            seconds = random.uniform(*_STREAM_SECONDS)
            try:
                async with asyncio.timeout(seconds):
                    async for message in next(self._stubs).LeaseTasks(request):
                        for task in message.tasks:
                            group.create_task(self._work(task))
                        if message.reconnect_reason:
                            break
            except TimeoutError:
                continue
            except grpc.aio.AioRpcError as error:
                await _backoff(error)

    async def _work(self, task: pb.AnalysisTask) -> None:
        seconds = work_seconds(task.image_id, self._slow_share)
        self._images[task.lease_id] = (task.shop_id, task.image_id)
        self._working.add(task.lease_id)
        await asyncio.sleep(seconds)
        result = pb.TaskResult(lease_id=task.lease_id)
        if random.random() < _FAILURE_SHARE:
            result.failure.CopyFrom(pb.TaskFailure(reason="UNLUCKY"))
        else:
            found = pb.AnalysisResult(quality_score="0.5", confidence_score="0.9")
            found.model_version = self._worker_id
            result.analysis.CopyFrom(found)
        self._finished.put_nowait(result)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(_EXTEND_SECONDS)
            working = list(self._working)
            for start in range(0, len(working), _MAX_LEASES):
                some = working[start : start + _MAX_LEASES]
                request = pb.ExtendLeasesRequest(worker_id=self._worker_id, lease_ids=some)
                request.lease_duration.seconds = LEASE_SECONDS
                try:
                    await next(self._stubs).ExtendLeases(request, timeout=_CALL_TIMEOUT_SECONDS)
                except grpc.aio.AioRpcError as error:
                    await _backoff(error)

    async def _submit(self) -> None:
        while True:
            results = [await self._finished.get()]
            while len(results) < _MAX_RESULTS and not self._finished.empty():
                results.append(self._finished.get_nowait())
            request = pb.SubmitResultsRequest(worker_id=self._worker_id, results=self._one_of_each_image(results))
            while (response := await self._submit_once(request)) is None:
                pass
            for outcome in response.outcomes:
                name = pb.TaskOutcome.Outcome.Name(outcome.outcome).removeprefix("OUTCOME_")
                print(name, outcome.lease_id, flush=True)
                self._working.discard(outcome.lease_id)
                del self._images[outcome.lease_id]

    def _one_of_each_image(self, results: Sequence[pb.TaskResult]) -> list[pb.TaskResult]:
        """Return one result of each image, and put the others back."""
        chosen: dict[tuple[str, str], pb.TaskResult] = {}
        for result in results:
            if chosen.setdefault(self._images[result.lease_id], result) is not result:
                self._finished.put_nowait(result)
        return list(chosen.values())

    async def _submit_once(self, request: pb.SubmitResultsRequest) -> pb.SubmitResultsResponse | None:
        try:
            return await next(self._stubs).SubmitResults(request, timeout=_CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            await _backoff(error)
            return None


async def _backoff(error: grpc.aio.AioRpcError) -> None:
    if error.code() not in _MAY_HAPPEN:
        raise error
    await pause(0.05, 0.3)


async def _run(worker_id: str, slots: str, slow_share: str, *addresses: str) -> None:
    stubs = [AnalysisServiceStub(open_channel(address)) for address in addresses]
    await RecklessWorker(worker_id, int(slots), float(slow_share), stubs).run()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
