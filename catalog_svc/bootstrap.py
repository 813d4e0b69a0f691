"""Puts the catalog together; the only place that knows all its rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from catalogsync_common.channel import open_channel
from catalogsync_common.deadline import remaining_seconds
from catalogsync_common.drain import Drain
from catalogsync_common.metrics import CallMetrics, LoopMetrics, new_registry, serving_metrics
from catalogsync_common.process import ended_within
from catalogsync_common.server import GrpcServer, Service, build_server
from catalogsync_common.supervisor import Loop, RestartPolicy, Supervisor
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.metrics.ports import MeteredBatches, MeteredLeases, MeteredSupervisor, MeteredSyncCommands
from catalog_svc.metrics.syncs import SyncMetrics
from catalog_svc.rpc.servicer import CatalogServicer, CatalogUseCases
from catalog_svc.settings import CatalogSettings
from catalog_svc.source.connector import CONNECTOR_CHANNEL, ConnectorSource
from catalog_svc.source.jobs import ConnectorJobs
from catalog_svc.source.platforms import ConnectorPlatforms
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import connection_replacer, open_engine
from catalog_svc.storage.issues import IssueStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.readiness import wait_until_ready, watch_readiness
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.schema import check_schema
from catalog_svc.storage.schema import migrate as migrate_schema
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.storage.syncs import SyncStore
from catalog_svc.usecases.change_sync import ChangeSync
from catalog_svc.usecases.platform_job_cleanup import PlatformJobCleanup
from catalog_svc.usecases.ports import ProductSource, SyncCommands
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.retention import Retention, RetentionPolicy
from catalog_svc.usecases.retry_policy import RunConfig
from catalog_svc.usecases.schedule import SchedulePace, Scheduler
from catalog_svc.usecases.set_schedule import SetSchedule
from catalog_svc.usecases.sync_commands import StartSync
from catalog_svc.usecases.sync_hub import SyncFeed
from catalog_svc.usecases.sync_supervisor import SyncSupervisor
from catalog_svc.usecases.watch_pacing import WatchLimits
from catalog_svc.usecases.watch_sync import FollowSync
from catalog_svc.usecases.worker import Worker

_MOST_IDLE = timedelta(seconds=10)
"""That a transaction may be silent; less where leases live shorter."""
_LONGEST_TURN = timedelta(minutes=1)
"""Of a background loop: above what a transaction with all its retries may take."""
_LONGEST_WRITE = timedelta(minutes=1)
"""Of one message to a watcher; one that reads nothing for longer must not keep its place among the watchers."""
_HEARTBEATS_PER_READ = 3
"""After so many without a successful read of a sync its watchers are told."""
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CatalogService"].full_name


async def serve(
    settings: CatalogSettings, stop: asyncio.Event, *, restart_policy: RestartPolicy | None = None
) -> None:
    """Serves until `stop` is set, or a background loop cannot go on.

    Raises SettingsError, ListenError, LoopFailed, SchemaOutdated, EmbeddedUnavailable.
    """
    with ended_within(settings.stop_bound) as begin_to_end:
        async with running(settings, on_give_up=stop.set, restart_policy=restart_policy):
            await stop.wait()
            begin_to_end()


async def migrate(settings: CatalogSettings) -> str:
    """Brings the schema to this version and returns it."""
    async with _database_url(settings) as url:
        engine = open_engine(url, pool_size=2, command_timeout=None)
        try:
            await wait_until_ready(engine, settings.database_patience)
            return await migrate_schema(engine)
        finally:
            await engine.dispose()


@asynccontextmanager
async def running(
    settings: CatalogSettings,
    *,
    on_give_up: Callable[[], None] = lambda: None,
    restart_policy: RestartPolicy | None = None,
) -> AsyncIterator[int]:
    """The catalog, answering on the port that is yielded; stopped gracefully when the block ends.

    `on_give_up` is called when a background loop cannot go on and the block shall end. Raises LoopFailed then.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(_database_url(settings))
        engine = open_engine(
            url,
            pool_size=settings.database_pool_size,
            most_idle=min(_MOST_IDLE, settings.lease_ttl),
            pooled=settings.database_pooled,
        )
        stack.push_async_callback(engine.dispose)
        await wait_until_ready(engine, settings.database_patience, lambda: _prepare_schema(engine, settings))
        pooled = settings.database_pooled
        reads = open_engine(url, pool_size=settings.database_read_pool_size, max_overflow=0, pooled=pooled)
        stack.push_async_callback(reads.dispose)
        pings = open_engine(url, pool_size=1, max_overflow=0, pooled=pooled)
        stack.push_async_callback(pings.dispose)
        channel = open_channel(settings.connector_address, service_config=CONNECTOR_CHANNEL)
        stack.push_async_callback(channel.close)
        registry = new_registry()
        metrics = SyncMetrics(registry)
        parts = _assemble(settings, engine, reads, channel, metrics)
        metrics.watch(lambda: parts.feed.follower_count)
        server = _server(settings, parts, CallMetrics(registry))
        await stack.enter_async_context(serving_metrics(registry, settings.metrics_address))
        port = await server.start()
        loops, serving = LoopMetrics(registry, service="catalog"), _Serving(server, metrics)
        supervisor = Supervisor(
            _loops(parts, serving, pings=pings, reads=reads),
            drain=parts.drain,
            set_healthy=serving.loops_turn,
            on_failure=loops.failed,
            on_give_up=on_give_up,
            policy=restart_policy,
        )
        loops.watch(supervisor.names)
        background = asyncio.create_task(supervisor.run())
        background.add_done_callback(lambda _: on_give_up())
        try:
            yield port
        finally:
            try:
                # The drain starts within: watchers end, the worker hands its syncs over while calls finish.
                await server.stop(settings.stop_grace, settle=settings.settle_delay)
                await background
            finally:
                background.cancel()
                await asyncio.wait((background,))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    servicer: CatalogServicer
    feed: SyncFeed
    worker: Worker
    cleanup: PlatformJobCleanup
    scheduler: Scheduler
    retention: Retention
    drain: Drain


class _Serving:
    """What health answers: live while all background loops turn, SERVING while the database answers as well."""

    def __init__(self, server: GrpcServer, metrics: SyncMetrics) -> None:
        self._server = server
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._database = False
        self._loops = False

    async def database_answers(self, ready: bool) -> None:
        self._metrics.database_up(ready)
        self._database = ready
        await self._update()

    async def loops_turn(self, healthy: bool) -> None:
        self._loops = healthy
        await self._server.set_live(healthy)
        await self._update()

    async def _update(self) -> None:
        async with self._lock:
            await self._server.set_serving(self._database and self._loops)


def _loops(parts: _Parts, serving: _Serving, *, pings: AsyncEngine, reads: AsyncEngine) -> tuple[Loop, ...]:
    """A turn of a loop is short, unless the database keeps it waiting or the loop rests."""
    drain, replace_reads = parts.drain, connection_replacer(reads)
    return (
        Loop(name="feed", run=lambda beat: parts.feed.run(drain, beat), max_silence=_LONGEST_TURN),
        Loop(name="worker", run=parts.worker.run, max_silence=_LONGEST_TURN),
        Loop(name="job_cleanup", run=parts.cleanup.run, max_silence=_LONGEST_TURN),
        Loop(name="scheduler", run=parts.scheduler.run, max_silence=2 * _LONGEST_TURN),
        Loop(name="retention", run=parts.retention.run, max_silence=timedelta(hours=2)),
        Loop(
            name="readiness",
            run=lambda beat: watch_readiness(
                pings, serving.database_answers, drain, beat, on_read_only=replace_reads
            ),
            max_silence=_LONGEST_TURN,
        ),
    )


def _assemble(
    settings: CatalogSettings,
    engine: AsyncEngine,
    reads: AsyncEngine,
    channel: grpc.aio.Channel,
    metrics: SyncMetrics,
) -> _Parts:
    drain, database = Drain(), Database(engine)
    # What callers read has its own connections: twenty slow dashboards must not starve syncs and leases.
    read_database = Database(reads, remaining=remaining_seconds)
    syncs = SyncStore(database)
    read_syncs = SyncStore(read_database)
    commands = MeteredSyncCommands(SyncCommandStore(database), metrics)
    feed = SyncFeed(
        syncs, max_followers=settings.max_watchers, max_read_age=_HEARTBEATS_PER_READ * settings.heartbeat_interval
    )
    schedules, defaults = ScheduleStore(database), _schedule_defaults(settings)
    worker = _worker(settings, database, ConnectorSource(channel), feed, drain, metrics)
    cleanup = PlatformJobCleanup(syncs=syncs, jobs=ConnectorJobs(channel), drain=drain)
    platforms = ConnectorPlatforms(channel)
    read = ReadCatalog(
        shops=ShopStore(read_database),
        syncs=read_syncs,
        items=ItemStore(read_database),
        schedules=ScheduleStore(read_database),
        platforms=platforms,
        defaults=defaults,
    )
    use_cases = CatalogUseCases(
        start=StartSync(
            shops=ShopStore(database),
            commands=commands,
            platforms=platforms,
            wake_worker=worker.wake,
        ),
        change=ChangeSync(
            commands=commands, publish=feed.publish, cancel_platform_job=cleanup.start, wake_worker=worker.wake
        ),
        follow=FollowSync(feed=feed, drain=drain, limits=WatchLimits(heartbeat_every=settings.heartbeat_interval)),
        read=read,
        set_schedule=SetSchedule(read=read, schedules=schedules, defaults=defaults),
        syncs=read_syncs,
        issues=IssueStore(read_database),
        overlap=settings.incremental_overlap,
    )
    return _Parts(
        servicer=CatalogServicer(use_cases),
        feed=feed,
        worker=worker,
        cleanup=cleanup,
        scheduler=_scheduler(settings, database, commands, worker, drain),
        retention=Retention(leftovers=RetentionStore(database), drain=drain, keeping=_keeping(settings)),
        drain=drain,
    )


def _worker(
    settings: CatalogSettings,
    database: Database,
    source: ProductSource,
    feed: SyncFeed,
    drain: Drain,
    metrics: SyncMetrics,
) -> Worker:
    leases = MeteredLeases(LeaseStore(database, owner=uuid4(), ttl=settings.lease_ttl), metrics)
    runner = SyncSupervisor(
        leases=leases,
        batches=MeteredBatches(BatchStore(database, ttl=settings.lease_ttl), metrics),
        sweeps=SweepStore(database, ttl=settings.lease_ttl),
        source=source,
        feed=feed,
        drain=drain,
        limits=RunConfig(
            renew_every=settings.lease_ttl / 3,
            give_up_after=settings.give_up_after,
            give_up_new_after=settings.give_up_new_after,
            max_claims_without_progress=settings.max_claims_without_progress,
        ),
    )
    return Worker(
        leases=leases,
        runner=MeteredSupervisor(runner, metrics),
        drain=drain,
        max_running=settings.max_running_syncs,
        max_per_platform=settings.max_running_per_platform,
    )


def _scheduler(
    settings: CatalogSettings, database: Database, commands: SyncCommands, worker: Worker, drain: Drain
) -> Scheduler:
    return Scheduler(
        schedules=ScheduleStore(database),
        commands=commands,
        drain=drain,
        wake_worker=worker.wake,
        defaults=_schedule_defaults(settings),
        overlap=settings.incremental_overlap,
        pace=SchedulePace(),
    )


def _schedule_defaults(settings: CatalogSettings) -> ScheduleDefaults:
    return ScheduleDefaults(incremental_every=settings.incremental_every, full_every=settings.full_every)


def _keeping(settings: CatalogSettings) -> RetentionPolicy:
    return RetentionPolicy(
        syncs=settings.keep_syncs, requests=settings.keep_request_ids, deleted=settings.keep_deleted
    )


def _server(settings: CatalogSettings, parts: _Parts, meter: CallMetrics) -> GrpcServer:
    def register(server: grpc.aio.Server) -> None:
        add_CatalogServiceServicer_to_server(parts.servicer, server)

    return build_server(
        (Service(name=SERVICE_NAME, register=register),),
        listen_address=settings.listen_address,
        drain=parts.drain,
        reflection=settings.reflection,
        allow_insecure=settings.allow_insecure,
        settings_prefix="CATALOG_",
        meter=meter,
        max_write=_LONGEST_WRITE,
    )


@asynccontextmanager
async def _database_url(settings: CatalogSettings) -> AsyncIterator[str]:
    url = settings.database_url.get_secret_value()
    if url:
        yield url
    else:
        async with embedded_postgres(settings.data_dir) as embedded:
            yield embedded


async def _prepare_schema(engine: AsyncEngine, settings: CatalogSettings) -> None:
    """An embedded database is ours alone and is brought up to date; another one only by the operator's command."""
    if settings.database_url.get_secret_value():
        await check_schema(engine)
    else:
        await migrate_schema(engine)
