"""The analysis experiment: are tasks lost, or results of lost leases stored, while everything is killed?

Workers of four processes analyze the images of four shops at two replicas over one PostgreSQL. A worker is killed
every few seconds; now and then one is stopped for longer than its leases last, a replica is killed, and
PostgreSQL is stopped immediately. Before a stopped worker continues, images that others have completed meanwhile
are queued again: its late results belong to an earlier task of the image then. Triggers write a journal of all
leases and results.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from google.protobuf.field_mask_pb2 import FieldMask

from bench.read.rows import ITEMS_PER_PRODUCT, generate_shop
from catalog_svc.domain.analysis import TaskLease
from catalog_svc.storage.engine import open_engine
from tests.analysis.journal import (
    JOURNAL,
    completed_by_others,
    done_count,
    image_count,
    open_tasks,
    read_findings,
    seconds_until_store,
    waiting_tasks,
)
from tests.analysis.report import AnalysisReport
from tests.analysis.worker_process import ANALYZER, read_output
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres, running_postgres
from tests.chaos.replicas import connected, prepare_database, start_replicas
from tests.chaos.system import free_port
from tests.feed.pauses import pause
from tests.waiting import until_found

_SHOPS: Final = 4
_LIVE_SHARE: Final = 0.88
"""Products of a generated shop that are not deleted; each has an image, which its items share."""
_STOPPED_SECONDS: Final = 15
"""Longer than a lease."""
_IDLE_SECONDS: Final = 60
"""Without any entry in the journal: nobody completes the open tasks any more."""
_DATABASE_TIME: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisConfig:
    """Size of the experiment."""

    tasks: int
    """Images, about."""
    fenced: bool = True
    slots: tuple[int, ...] = (4, 16, 24, 32)
    """The max_in_flight of each worker."""
    slow_share: float = 0.05
    """Of the images: their analysis takes 3 to 12 s, that of the others up to 0.4 s."""
    kill_seconds: float = 5
    """Between two kills of workers."""
    stop_every: int = 4
    """Kills of workers between two stops of one."""
    replica_every: int = 5
    """Kills of workers between two of a replica."""
    crashes: int = 2
    """Immediate stops of PostgreSQL, at equal parts of the tasks."""


async def run_analysis(directory: Path, config: AnalysisConfig, *, seed: int) -> AnalysisReport:
    """Run the experiment in `directory`, and return what was found."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(directory / "postgres", free_port()))
        await prepare_database(postgres, journal=JOURNAL)
        domains = await _generate_shops(postgres, config)
        module = "catalog_svc" if config.fenced else "tests.analysis.unfenced"
        replicas = await start_replicas(stack, postgres, directory, module=module)
        channels = [await stack.enter_async_context(open_channel(replica.address)) for replica in replicas]
        workers = _workers(config, [replica.address for replica in replicas], directory)
        for worker in workers:
            stack.push_async_callback(worker.stop)
        run = _Run(postgres, replicas, workers, channels, config, seed)
        await run.analyze_and_kill(domains)
        return run.report


async def _generate_shops(postgres: Postgres, config: AnalysisConfig) -> list[str]:
    domains = [f"analysis-{number}.myshopify.com" for number in range(_SHOPS)]
    products = math.ceil(config.tasks / _SHOPS / _LIVE_SHARE)
    engine = open_engine(postgres.url, pool_size=1, command_timeout=None)
    try:
        for domain in domains:
            async with engine.begin() as connection:
                await generate_shop(connection, domain=domain, items=products * ITEMS_PER_PRODUCT)
    finally:
        await engine.dispose()
    async with connected(postgres) as connection_:
        await connection_.execute("VACUUM (ANALYZE)")
    return domains


def _workers(config: AnalysisConfig, addresses: Sequence[str], directory: Path) -> list[Instance]:
    workers = []
    for number, slots in enumerate(config.slots):
        name = f"worker-{number}"
        command = ("-m", "tests.analysis.worker_process", name, str(slots), str(config.slow_share), *addresses)
        workers.append(Instance(name, "", 0, command, {}, directory / f"{name}.log"))
    return workers


class _Run:
    """The workers, the faults and the checks of one run."""

    def __init__(
        self,
        postgres: Postgres,
        replicas: Sequence[Instance],
        workers: Sequence[Instance],
        channels: Sequence[grpc.aio.Channel],
        config: AnalysisConfig,
        seed: int,
    ) -> None:
        slots = {worker.name: slots for worker, slots in zip(workers, config.slots, strict=True)}
        self.report = AnalysisReport(fenced=config.fenced, seed=seed, slots=slots)
        self._postgres = postgres
        self._replicas = replicas
        self._workers = workers
        self._channels = channels
        self._config = config
        self._chance = Random(seed)
        self._stopped: Instance | None = None
        self._moments: list[tuple[str, float]] = []
        """Faults beside which enough tasks waited, and their Unix times."""

    async def analyze_and_kill(self, domains: Sequence[str]) -> None:
        """Run everything, and fill the report."""
        begin = await self._database_time()
        for worker in self._workers:
            await worker.start()
        for domain in domains:
            await self._switch_on(domain)
        async with asyncio.TaskGroup() as stops:
            await self._inject_faults(stops)
        await self._until_idle()
        self.report.seconds = await self._database_time() - begin
        for worker in self._workers:
            await worker.stop()
        await self._check()

    async def _switch_on(self, domain: str) -> None:
        request = pb.UpdateShopRequest(
            shop=pb.ShopRef(platform="shopify", domain=domain),
            update=pb.ShopUpdate(analyzers=[ANALYZER]),
            update_mask=FieldMask(paths=["analyzers"]),
        )
        await CatalogServiceStub(self._channels[0]).UpdateShop(request)

    async def _inject_faults(self, stops: asyncio.TaskGroup) -> None:
        """Break one thing after the other until most tasks are done and each kind of fault has happened.

        Ends as well when nothing is written any more although tasks are open.
        """
        config, faults = self._config, self.report.faults
        async with connected(self._postgres) as connection:
            images = await image_count(connection)
        last, unchanged = 0, 0
        for count in itertools.count(1):
            await pause(config.kill_seconds, config.kill_seconds)
            async with connected(self._postgres) as connection:
                done = await done_count(connection)
                open_count, number = await open_tasks(connection)
            last, unchanged = number, unchanged + 1 if number == last and open_count else 0
            if unchanged * config.kill_seconds >= _IDLE_SECONDS:
                return
            all_kinds = all(faults[kind] for kind in ("kill", "stop", "replica"))
            if done >= 0.95 * images and all_kinds and faults["crash"] == config.crashes:
                return
            if faults["crash"] < config.crashes and done >= images * (faults["crash"] + 1) / (config.crashes + 1):
                # Not right after another fault: how soon that one is over would be the time of the restart.
                await self._crash()
                continue
            await self._kill_worker()
            if count % config.stop_every == 1:
                await self._stop_worker(stops)
            if count % config.replica_every == 2:
                await self._kill_replica()

    async def _kill_worker(self) -> None:
        worker = self._chance.choice([one for one in self._workers if one is not self._stopped])
        await self._record("kill", lambda: worker.signal(signal.SIGKILL))
        await worker.wait_for_exit()
        await worker.start()

    async def _stop_worker(self, stops: asyncio.TaskGroup) -> None:
        """Stop a worker for longer than its leases last."""
        if self._stopped is not None:
            return
        self._stopped = worker = self._chance.choice(self._workers)
        await self._record("stop", lambda: worker.signal(signal.SIGSTOP))
        stops.create_task(self._continue_later(worker))

    async def _continue_later(self, worker: Instance) -> None:
        await pause(_STOPPED_SECONDS, _STOPPED_SECONDS)
        try:
            async with connected(self._postgres) as connection:
                images = await completed_by_others(connection, worker.name)
            await self._requeue(images)
        except (OSError, asyncpg.PostgresError):
            # PostgreSQL is down: this stop has no second task.
            pass
        worker.signal(signal.SIGCONT)
        self._stopped = None

    async def _requeue(self, images: Mapping[str, Sequence[str]]) -> None:
        stub = AnalysisServiceStub(self._channels[0])
        for shop_id, image_ids in images.items():
            request = analysis_pb.RequeueTasksRequest(
                shop=pb.ShopRef(shop_id=shop_id),
                analyzer=ANALYZER,
                image_ids=analysis_pb.ImageIds(ids=image_ids),
            )
            # A replica that is down: these images are not queued again.
            with suppress(grpc.aio.AioRpcError):
                response = await stub.RequeueTasks(request, timeout=10)
                self.report.requeued += response.requeued_count

    async def _kill_replica(self) -> None:
        replica = self._chance.choice(self._replicas)
        await self._record("replica", lambda: replica.signal(signal.SIGKILL))
        await replica.wait_for_exit()
        await replica.start()

    async def _crash(self) -> None:
        """Stop PostgreSQL; the time counts from its return."""
        await self._postgres.crash()
        await pause(0.1, 1)
        await self._postgres.start()
        now = await self._database_time()
        await self._record("crash", lambda: now)

    async def _record(self, kind: str, inject: Callable[[], float]) -> None:
        """Inject a fault. How soon the next result comes is of interest only while tasks wait for workers."""
        async with connected(self._postgres) as connection:
            waiting = await waiting_tasks(connection)
        at = inject()
        self.report.faults[kind] += 1
        if waiting >= sum(self._config.slots):
            self._moments.append((kind, at))

    async def _database_time(self) -> float:
        async with connected(self._postgres) as connection:
            now: float = await connection.fetchval(_DATABASE_TIME)
        return now

    async def _until_idle(self) -> None:
        """Wait until no task is open, or nothing has happened to the open ones for a minute."""
        last = -1
        while True:

            async def changed(last: int = last) -> tuple[int, int] | None:
                async with connected(self._postgres) as connection:
                    open_count, number = await open_tasks(connection)
                return (open_count, number) if not open_count or number > last else None

            try:
                open_count, last = await until_found(changed, seconds=_IDLE_SECONDS)
            except TimeoutError:
                return
            if not open_count:
                return

    async def _check(self) -> None:
        report = self.report
        acknowledged: list[TaskLease] = []
        for worker in self._workers:
            output = read_output(worker.log)
            report.streams[worker.name] = output.streams
            for outcome, leases in output.outcomes.items():
                report.outcomes[outcome] += len(leases)
            acknowledged += output.outcomes.get("STORED", [])
        async with connected(self._postgres) as connection:
            for kind, at in self._moments:
                seconds = await seconds_until_store(connection, at)
                if seconds is not None:
                    report.recovery.setdefault(kind, []).append(seconds)
            report.conclude(await read_findings(connection, acknowledged))
        for process in (*self._replicas, *self._workers):
            report.violations += process.violations
