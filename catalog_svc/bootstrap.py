"""Puts the catalog together; the only place that knows all its rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.metrics.ports import MeteredBatches, MeteredLeases, MeteredOrders, MeteredRuns
from catalog_svc.metrics.syncs import SyncMetrics
from catalog_svc.rpc.servicer import CatalogServicer, CatalogUseCases
from catalog_svc.settings import CatalogSettings
from catalog_svc.source.connector import CONNECTOR_CHANNEL, ConnectorSource
from catalog_svc.source.jobs import ConnectorJobs
from catalog_svc.source.platforms import ConnectorPlatforms
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.issues import IssueStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.orders import OrderStore
from catalog_svc.storage.readiness import wait_until_ready, watch_readiness
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.schema import check_schema
from catalog_svc.storage.schema import migrate as migrate_schema
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.syncs import SyncStore
from catalog_svc.usecases.abandon import Abandoner
from catalog_svc.usecases.change_sync import ChangeSync
from catalog_svc.usecases.follow_sync import FollowSync, WatchLimits
from catalog_svc.usecases.patience import RunLimits
from catalog_svc.usecases.ports import Orders, ProductSource
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.retention import Keeping, Retention
from catalog_svc.usecases.run_sync import SyncRunner
from catalog_svc.usecases.schedule import SchedulePace, Scheduler
from catalog_svc.usecases.set_schedule import SetSchedule
from catalog_svc.usecases.start_sync import StartSync
from catalog_svc.usecases.sync_feed import SyncFeed
from catalog_svc.usecases.work import Worker
from servicekit.channel import open_channel
from servicekit.drain import Drain
from servicekit.metrics import CallMetrics, new_registry, serving_metrics
from servicekit.process import ended_within
from servicekit.server import GrpcServer, Service, build_server

_MOST_IDLE = timedelta(seconds=10)
"""That a transaction may be silent; less where leases live shorter."""
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CatalogService"].full_name


async def serve(settings: CatalogSettings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Raises SettingsError, ListenError, SchemaOutdated, EmbeddedUnavailable."""
    with ended_within(settings.stop_bound) as begin_to_end:
        async with running(settings):
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
async def running(settings: CatalogSettings) -> AsyncIterator[int]:
    """The catalog, answering on the port that is yielded; stopped gracefully when the block ends."""
    async with AsyncExitStack() as stack:
        engine = open_engine(
            await stack.enter_async_context(_database_url(settings)),
            pool_size=settings.database_pool_size,
            most_idle=min(_MOST_IDLE, settings.lease_ttl),
        )
        stack.push_async_callback(engine.dispose)
        await wait_until_ready(engine, settings.database_patience, lambda: _prepare_schema(engine, settings))
        channel = open_channel(settings.connector_address, service_config=CONNECTOR_CHANNEL)
        stack.push_async_callback(channel.close)
        registry = new_registry()
        metrics = SyncMetrics(registry)
        parts = _assemble(settings, engine, channel, metrics)
        metrics.watch(lambda: parts.feed.follower_count)
        server = _server(settings, parts, CallMetrics(registry))
        await stack.enter_async_context(serving_metrics(registry, settings.metrics_address))
        port = await server.start()
        background = _Background(
            parts.feed.run(parts.drain),
            parts.worker.run(),
            parts.abandoner.run(),
            parts.scheduler.run(),
            parts.retention.run(),
            watch_readiness(engine, _telling(metrics, server), parts.drain),
        )
        try:
            yield port
        finally:
            # The drain starts within: watchers end, the worker hands its syncs over while calls finish.
            await server.stop(settings.stop_grace, settle=settings.settle_delay)
            await background.ended()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    servicer: CatalogServicer
    feed: SyncFeed
    worker: Worker
    abandoner: Abandoner
    scheduler: Scheduler
    retention: Retention
    drain: Drain


class _Background:
    def __init__(self, *work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [asyncio.create_task(part) for part in work]

    async def ended(self) -> None:
        """When all have ended, which each does by itself after the drain; raises what one of them raised."""
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()


def _telling(metrics: SyncMetrics, server: GrpcServer) -> Callable[[bool], Awaitable[None]]:
    async def tell(ready: bool) -> None:
        metrics.database_up(ready)
        await server.set_serving(ready)

    return tell


def _assemble(
    settings: CatalogSettings, engine: AsyncEngine, channel: grpc.aio.Channel, metrics: SyncMetrics
) -> _Parts:
    drain, database = Drain(), Database(engine)
    shops, syncs = ShopStore(database), SyncStore(database)
    orders = MeteredOrders(OrderStore(database), metrics)
    feed = SyncFeed(syncs, max_followers=settings.max_watchers)
    schedules, defaults = ScheduleStore(database), _schedule_defaults(settings)
    worker = _worker(settings, database, ConnectorSource(channel), feed, drain, metrics)
    abandoner = Abandoner(syncs=syncs, jobs=ConnectorJobs(channel), drain=drain)
    platforms = ConnectorPlatforms(channel)
    read = ReadCatalog(
        shops=shops,
        syncs=syncs,
        items=ItemStore(database),
        schedules=schedules,
        platforms=platforms,
        defaults=defaults,
    )
    use_cases = CatalogUseCases(
        start=StartSync(
            shops=shops,
            orders=orders,
            platforms=platforms,
            wake_worker=worker.wake,
        ),
        change=ChangeSync(orders=orders, publish=feed.publish, abandon=abandoner.abandon, wake_worker=worker.wake),
        follow=FollowSync(syncs=syncs, feed=feed, drain=drain, limits=WatchLimits()),
        read=read,
        set_schedule=SetSchedule(read=read, schedules=schedules, defaults=defaults),
        syncs=syncs,
        issues=IssueStore(database),
        overlap=settings.incremental_overlap,
    )
    return _Parts(
        servicer=CatalogServicer(use_cases),
        feed=feed,
        worker=worker,
        abandoner=abandoner,
        scheduler=_scheduler(settings, database, orders, worker, drain),
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
    runner = SyncRunner(
        leases=leases,
        batches=MeteredBatches(BatchStore(database, ttl=settings.lease_ttl), metrics),
        sweeps=SweepStore(database, ttl=settings.lease_ttl),
        source=source,
        feed=feed,
        drain=drain,
        limits=RunLimits(
            renew_every=settings.lease_ttl / 3,
            give_up_after=settings.give_up_after,
            give_up_new_after=settings.give_up_new_after,
            max_claims_without_progress=settings.max_claims_without_progress,
        ),
    )
    return Worker(
        leases=leases,
        runner=MeteredRuns(runner, metrics),
        drain=drain,
        max_running=settings.max_running_syncs,
        max_per_platform=settings.max_running_per_platform,
    )


def _scheduler(
    settings: CatalogSettings, database: Database, orders: Orders, worker: Worker, drain: Drain
) -> Scheduler:
    return Scheduler(
        schedules=ScheduleStore(database),
        orders=orders,
        drain=drain,
        wake_worker=worker.wake,
        defaults=_schedule_defaults(settings),
        overlap=settings.incremental_overlap,
        pace=SchedulePace(),
    )


def _schedule_defaults(settings: CatalogSettings) -> ScheduleDefaults:
    return ScheduleDefaults(incremental_every=settings.incremental_every, full_every=settings.full_every)


def _keeping(settings: CatalogSettings) -> Keeping:
    return Keeping(syncs=settings.keep_syncs, requests=settings.keep_request_ids, deleted=settings.keep_deleted)


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
