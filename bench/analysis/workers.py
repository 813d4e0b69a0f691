"""Workers of the benchmark: they lease tasks, take a while over each, and submit results in batches of 50."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync_common.channel import open_channel
from google.protobuf.struct_pb2 import Struct

from bench.common.measure import BenchFailed

ANALYZER = "image-quality"
"""Of the workers."""
BATCH = 50


class Worker:
    """One worker: a stream of tasks, and a task that submits."""

    def __init__(
        self,
        stub: AnalysisServiceStub,
        name: str,
        *,
        max_in_flight: int = 100,
        work_seconds: float = 0,
        record: bool = False,
    ) -> None:
        """Create a worker.

        Args:
            stub: The calls of a replica.
            name: Its worker id.
            max_in_flight: How many tasks it holds at most.
            work_seconds: How long it takes over each task.
            record: Whether `received` is filled; the caller must read it then.
        """
        self._stub = stub
        self._name = name
        self._max_in_flight = max_in_flight
        self._work_seconds = work_seconds
        self._ready: asyncio.Queue[pb.AnalysisTask] = asyncio.Queue(maxsize=max_in_flight)
        self._record = record
        self.received: asyncio.Queue[tuple[float, pb.AnalysisTask]] = asyncio.Queue()
        """Tasks with the time at which they came."""
        self.stored = 0
        self.stored_by_shop: Counter[str] = Counter()
        self.last_stored_at: dict[str, float] = {}
        """By shop."""

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(tasks))
            tasks.create_task(self._submit())

    async def _receive(self, tasks: asyncio.TaskGroup) -> None:
        request = pb.LeaseTasksRequest(worker_id=self._name, analyzer=ANALYZER, max_in_flight=self._max_in_flight)
        async for message in self._stub.LeaseTasks(request):
            now = time.perf_counter()
            for task in message.tasks:
                if self._record:
                    self.received.put_nowait((now, task))
                if self._work_seconds:
                    tasks.create_task(self._work(task))
                else:
                    await self._ready.put(task)

    async def _work(self, task: pb.AnalysisTask) -> None:
        await asyncio.sleep(self._work_seconds)
        await self._ready.put(task)

    async def _submit(self) -> None:
        while True:
            batch = [await self._ready.get()]
            # What is ready within a moment goes along.
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    while len(batch) < BATCH:
                        batch.append(await self._ready.get())
            await self._submit_batch(batch)

    async def _submit_batch(self, batch: Sequence[pb.AnalysisTask]) -> None:
        results = [pb.TaskResult(lease_id=task.lease_id, analysis=_result()) for task in batch]
        answer = await self._stub.SubmitResults(pb.SubmitResultsRequest(worker_id=self._name, results=results))
        if any(one.outcome != pb.TaskOutcome.OUTCOME_STORED for one in answer.outcomes):
            raise BenchFailed("a result was not stored")
        now = time.perf_counter()
        self.stored += len(batch)
        for task in batch:
            self.stored_by_shop[task.shop_id] += 1
            self.last_stored_at[task.shop_id] = now


@asynccontextmanager
async def running_workers(
    addresses: Sequence[str], *, max_in_flight: int = 100, work_seconds: float = 0, record: bool = False
) -> AsyncIterator[list[Worker]]:
    """Run a worker on each of these addresses of replicas."""
    workers: list[Worker] = []
    channels: list[grpc.aio.Channel] = []
    running: set[asyncio.Task[None]] = set()
    try:
        for number, address in enumerate(addresses):
            channel = open_channel(address)
            channels.append(channel)
            worker = Worker(
                AnalysisServiceStub(channel),
                f"worker-{number}",
                max_in_flight=max_in_flight,
                work_seconds=work_seconds,
                record=record,
            )
            workers.append(worker)
            running.add(asyncio.create_task(worker.run()))
        yield workers
        for task in running:
            if task.done():
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for channel in channels:
            await channel.close()


def _result() -> pb.AnalysisResult:
    attributes = Struct()
    attributes.update({"width": 800, "height": 600, "sharpness": 0.71, "colours": ["#102030", "#ffffff"]})
    return pb.AnalysisResult(
        model_version="1",
        category="Shirts",
        description="A shirt on a plain background.",
        attributes=attributes,
        quality_score="0.71",
        confidence_score="0.9",
    )
