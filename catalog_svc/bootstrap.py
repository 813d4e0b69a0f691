"""Starts and stops catalog_svc: database, gRPC server, background loops and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import add_AnalysisServiceServicer_to_server
from catalogsync.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.auth.settings import token_access
from catalogsync_common.call_context import remaining_seconds
from catalogsync_common.certificate_monitor import CertificateMonitor
from catalogsync_common.drain import Drain
from catalogsync_common.event_loop_monitor import EventLoopMonitor
from catalogsync_common.metrics import CallMetrics, LoopMetrics, new_registry, serve_metrics
from catalogsync_common.process import stop_deadline
from catalogsync_common.production import refuse_unsafe_production
from catalogsync_common.server import GrpcServer, Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.supervisor import Loop, RestartPolicy, Supervisor
from catalogsync_common.tls_settings import open_client_tls, open_server_tls
from catalogsync_common.trace_export import traced_process
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from catalog_svc.analysis_metrics import PrometheusAnalysisMetrics
from catalog_svc.database_metrics import DatabaseMetrics
from catalog_svc.metrics import CatalogMetrics
from catalog_svc.production import PRODUCTION_RULES
from catalog_svc.rpc.page_tokens import PageTokens
from catalog_svc.rpc.shop_access import OwnShops, authorized_shop
from catalog_svc.settings import CatalogSettings
from catalog_svc.source.connector_channel import open_connector_channel
from catalog_svc.state_metrics import CatalogStateMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import SERVICE_ROLE, embedded_postgres, service_url
from catalog_svc.storage.engine import DATABASE_URL, MIGRATE_DATABASE_URL, connection_replacer, open_engine
from catalog_svc.storage.page_token_key import load_page_token_key
from catalog_svc.storage.pooler import check_pooler
from catalog_svc.storage.readiness import wait_until_ready, watch_readiness
from catalog_svc.storage.roles import check_role
from catalog_svc.storage.schema import check_schema
from catalog_svc.storage.schema import migrate as migrate_schema
from catalog_svc.storage.shops import ShopStore
from catalog_svc.wiring import Replica, Servicers, call_limits, wire_replica, wire_servicers

_MAX_TRANSACTION_IDLE_TIME = timedelta(seconds=10)
"""How long a transaction may be idle; less if the lease TTL is shorter."""
_MAX_LOOP_SILENCE = timedelta(minutes=1)
"""Between two heartbeats of a background loop: longer than a transaction with all its retries may take."""
_MAX_AUDIT_SILENCE = timedelta(minutes=5)
"""Between two heartbeats of the audit loop: longer than a read of products by their ids may take."""
_MAX_MESSAGE_WRITE_TIME = timedelta(minutes=1)
"""For one message to a watcher; one that reads nothing for longer must not hold a place among the watchers."""
_CONNECTION_GRACE_MS = 20 * 60_000
"""After the maximum age of a connection: longer than a watch, which ends by itself after 15 minutes. It ends the
stream of a client that does not read, which nothing else can end while the client keeps its connection."""
_SERVICES = (
    pb.DESCRIPTOR.services_by_name["CatalogService"],
    analysis_pb.DESCRIPTOR.services_by_name["AnalysisService"],
)
SERVICE_NAME, ANALYSIS_SERVICE_NAME = (service.full_name for service in _SERVICES)


async def serve(
    settings: CatalogSettings, stop: asyncio.Event, *, restart_policy: RestartPolicy | None = None
) -> None:
    """Serve until `stop` is set, or a background loop cannot go on.

    Raises:
        SettingsError: a setting is wrong, or the database was not ready in time.
        ListenError: the port is in use.
        LoopFailed: a background loop failed too often in a row.
        SchemaOutdated: the database must be migrated first.
        EmbeddedUnavailable: the embedded PostgreSQL cannot be started.
    """
    with stop_deadline(settings.stop_timeout) as begin_to_end:
        async with (
            traced_process(settings, "catalog_svc"),
            running(settings, on_give_up=stop.set, restart_policy=restart_policy),
        ):
            await stop.wait()
            begin_to_end()


async def migrate(settings: CatalogSettings) -> str:
    """Migrate the schema to the version of this release, and return that version.

    Raises:
        SettingsError: a setting is wrong, or the database was not ready in time.
        MigrationThroughPooler: the URL leads to a connection pooler.
        MigrationBlocked: another migration, or a user of a table, did not end in time.
        ServiceRoleUnusable: the service role does not exist, or lacks what cannot be granted.
        SchemaTooNew: a newer release has migrated the database.
    """
    direct = settings.migrate_database_url.get_secret_value()
    setting = MIGRATE_DATABASE_URL if direct else DATABASE_URL
    async with nullcontext(_Urls(owner=direct, service="")) if direct else _database_urls(settings) as urls:
        engine = open_engine(
            urls.owner,
            pool_size=2,
            command_timeout=None,
            # Without start-up parameters a pooler accepts the connection, and `migrate_schema` says what is wrong.
            pooled=settings.database_pooled and not direct,
            setting=setting,
        )
        try:
            await wait_until_ready(engine, settings.database_startup_timeout, setting=setting)
            return await migrate_schema(
                engine, text_search=settings.text_search, service_role=_service_role(settings)
            )
        finally:
            await engine.dispose()


@asynccontextmanager
async def running(
    settings: CatalogSettings,
    *,
    on_give_up: Callable[[], None] = lambda: None,
    restart_policy: RestartPolicy | None = None,
) -> AsyncIterator[int]:
    """Run catalog_svc while the context lasts, and stop it gracefully afterwards.

    Args:
        settings: The settings of the replica.
        on_give_up: Called when a background loop cannot go on and the context must end.
        restart_policy: Of the background loops; None: the default one.

    Yields:
        The port that the service listens on.

    Raises:
        LoopFailed: a background loop failed too often in a row.
    """
    refuse_unsafe_production(settings, PRODUCTION_RULES)
    server_tls, connector_tls = open_server_tls(settings), open_client_tls(settings, "connector")
    async with AsyncExitStack() as stack:
        engines = await _open_engines(stack, settings)
        channel = open_connector_channel(
            settings.connector_address, connector_tls, server_name=settings.connector_tls_server_name
        )
        stack.push_async_callback(channel.close)
        registry = new_registry()
        metrics, database_metrics = CatalogMetrics(registry), DatabaseMetrics(registry)
        writes, reads = _databases(engines, database_metrics)
        replica = wire_replica(settings, writes, channel, metrics, CatalogStateMetrics(registry))
        metrics.read_watchers_from(
            lambda: replica.hub.watcher_count, changes=lambda: replica.change_hub.follower_count
        )
        servicers = wire_servicers(
            settings,
            replica,
            writes=writes,
            reads=reads,
            connector=channel,
            metrics=metrics,
            analysis_metrics=PrometheusAnalysisMetrics(registry),
            page_tokens=PageTokens(await load_page_token_key(reads)),
        )
        access = token_access(
            (SERVICE_NAME, ANALYSIS_SERVICE_NAME),
            settings,
            settings.service_secrets,
            OwnShops(ShopStore(reads)),
            prefix="CATALOG_",
        )
        server = _server(settings, servicers, replica.drain, CallMetrics(registry, _SERVICES), server_tls, access)
        certificates = CertificateMonitor(
            (*((server_tls.files,) if server_tls else ()), *((connector_tls,) if connector_tls else ())),
            drain=replica.drain,
            registry=registry,
        )
        event_loop = EventLoopMonitor(registry, drain=replica.drain)
        await stack.enter_async_context(serve_metrics(registry, settings.metrics_address))
        port = await server.start()
        loop_metrics, health = LoopMetrics(registry, service="catalog"), _Health(server, database_metrics)
        supervisor = Supervisor(
            (*_loops(replica, engines, health), *certificates.loops(), *event_loop.loops()),
            drain=replica.drain,
            set_healthy=health.set_loops_healthy,
            on_failure=loop_metrics.count_failure,
            on_give_up=on_give_up,
            policy=restart_policy,
        )
        loop_metrics.initialize(supervisor.names)
        # The stop starts the drain: watchers end, and the worker hands its syncs over while calls finish.
        async with supervisor.running(stop=lambda: server.stop(settings.stop_grace, settle=settings.settle_delay)):
            yield port


@dataclass(frozen=True, kw_only=True, slots=True)
class _Engines:
    writes: AsyncEngine
    reads: AsyncEngine
    pings: AsyncEngine


async def _open_engines(stack: AsyncExitStack, settings: CatalogSettings) -> _Engines:
    """Open the connection pools once the database is ready; the stack closes them.

    Calls that read, and pings, have connections of their own.
    """
    urls = await stack.enter_async_context(_database_urls(settings))
    url, pooled = urls.service, settings.database_pooled
    writes = open_engine(
        url,
        pool_size=settings.database_pool_size,
        max_idle_in_transaction=min(_MAX_TRANSACTION_IDLE_TIME, settings.lease_ttl),
        pooled=pooled,
    )
    stack.push_async_callback(writes.dispose)
    await wait_until_ready(
        writes, settings.database_startup_timeout, lambda: _prepare_schema(writes, urls, settings)
    )
    reads = open_engine(url, pool_size=settings.database_read_pool_size, max_overflow=0, pooled=pooled)
    stack.push_async_callback(reads.dispose)
    pings = open_engine(url, pool_size=1, max_overflow=0, pooled=pooled)
    stack.push_async_callback(pings.dispose)
    return _Engines(writes=writes, reads=reads, pings=pings)


def _databases(engines: _Engines, metrics: DatabaseMetrics) -> tuple[Database, Database]:
    """Return the database of syncs and of calls that write, and that of calls that read."""

    def observe(pool: str, engine: AsyncEngine) -> Callable[[float], None]:
        connections = engine.pool
        assert isinstance(connections, QueuePool)
        return metrics.observe_pool(pool, connections.checkedout)

    return (
        Database(engines.writes, allowed_shop=authorized_shop, observe_wait=observe("writes", engines.writes)),
        Database(
            engines.reads,
            remaining=remaining_seconds,
            allowed_shop=authorized_shop,
            observe_wait=observe("reads", engines.reads),
        ),
    )


class _Health:
    """Health of the replica: live while all background loops run, SERVING while the database is ready as well."""

    def __init__(self, server: GrpcServer, metrics: DatabaseMetrics) -> None:
        self._server = server
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._database_ready = False
        self._loops_healthy = False

    async def set_database_ready(self, ready: bool) -> None:
        self._metrics.database_up(ready)
        self._database_ready = ready
        await self._update()

    async def set_loops_healthy(self, healthy: bool) -> None:
        self._loops_healthy = healthy
        await self._server.set_live(healthy)
        await self._update()

    async def _update(self) -> None:
        async with self._lock:
            await self._server.set_serving(self._database_ready and self._loops_healthy)


def _loops(replica: Replica, engines: _Engines, health: _Health) -> tuple[Loop, ...]:
    """Return the background loops; one iteration is short unless it waits for the database or sleeps."""
    drain, replace_reads = replica.drain, connection_replacer(engines.reads)
    return (
        Loop(name="watch_hub", run=lambda beat: replica.hub.run(drain, beat), heartbeat_timeout=_MAX_LOOP_SILENCE),
        Loop(
            name="item_feed_hub",
            run=lambda beat: replica.feed_hub.run(drain, beat),
            heartbeat_timeout=_MAX_LOOP_SILENCE,
        ),
        Loop(
            name="change_hub",
            run=lambda beat: replica.change_hub.run(drain, beat),
            heartbeat_timeout=_MAX_LOOP_SILENCE,
        ),
        Loop(
            name="analysis_hub",
            run=lambda beat: replica.analysis.hub.run(drain, beat),
            heartbeat_timeout=_MAX_LOOP_SILENCE,
        ),
        Loop(name="analysis_backfill", run=replica.analysis.backfill.run, heartbeat_timeout=2 * _MAX_LOOP_SILENCE),
        Loop(name="worker", run=replica.worker.run, heartbeat_timeout=_MAX_LOOP_SILENCE),
        Loop(name="refresh_worker", run=replica.refresh_worker.run, heartbeat_timeout=_MAX_LOOP_SILENCE),
        Loop(name="job_cleanup", run=replica.cleanup.run, heartbeat_timeout=_MAX_LOOP_SILENCE),
        Loop(name="scheduler", run=replica.scheduler.run, heartbeat_timeout=2 * _MAX_LOOP_SILENCE),
        Loop(name="state_monitor", run=replica.state_monitor.run, heartbeat_timeout=2 * _MAX_LOOP_SILENCE),
        Loop(name="retention", run=replica.retention.run, heartbeat_timeout=timedelta(hours=2)),
        *(
            (Loop(name="audits", run=replica.audit_loop.run, heartbeat_timeout=_MAX_AUDIT_SILENCE),)
            if replica.audit_loop
            else ()
        ),
        *(
            (Loop(name="webhook_checks", run=replica.webhook_checks.run, heartbeat_timeout=_MAX_AUDIT_SILENCE),)
            if replica.webhook_checks
            else ()
        ),
        Loop(name="shop_purge", run=replica.shop_purge.run, heartbeat_timeout=2 * _MAX_LOOP_SILENCE),
        Loop(
            name="readiness",
            run=lambda beat: watch_readiness(
                engines.pings, health.set_database_ready, drain, beat, on_read_only=replace_reads
            ),
            heartbeat_timeout=_MAX_LOOP_SILENCE,
        ),
    )


def _server(
    settings: CatalogSettings,
    servicers: Servicers,
    drain: Drain,
    meter: CallMetrics,
    tls: ServerTls | None,
    access: CallAccess | None,
) -> GrpcServer:
    def register(server: grpc.aio.Server) -> None:
        add_CatalogServiceServicer_to_server(servicers.catalog, server)

    def register_analysis(server: grpc.aio.Server) -> None:
        add_AnalysisServiceServicer_to_server(servicers.analysis, server)

    return build_server(
        (
            Service(name=SERVICE_NAME, register=register),
            Service(name=ANALYSIS_SERVICE_NAME, register=register_analysis),
        ),
        listen_address=settings.listen_address,
        drain=drain,
        reflection=settings.reflection,
        tls=tls,
        health_address=settings.health_address,
        allow_insecure=settings.allow_insecure,
        settings_prefix="CATALOG_",
        meter=meter,
        write_timeout=_MAX_MESSAGE_WRITE_TIME,
        access=access,
        limits=call_limits(settings),
        options={"grpc.max_connection_age_grace_ms": _CONNECTION_GRACE_MS},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Urls:
    """URLs of one database. They hold passwords."""

    owner: str = field(repr=False)
    service: str = field(repr=False)


@asynccontextmanager
async def _database_urls(settings: CatalogSettings) -> AsyncIterator[_Urls]:
    url = settings.database_url.get_secret_value()
    if url:
        yield _Urls(owner=url, service=url)
    else:
        async with embedded_postgres(settings.data_dir) as embedded:
            yield _Urls(owner=embedded, service=service_url(embedded))


def _service_role(settings: CatalogSettings) -> str:
    # `migrate` needs the URL of the owner alone, and not that of the service.
    urls = (settings.database_url, settings.migrate_database_url)
    return settings.service_role if any(url.get_secret_value() for url in urls) else SERVICE_ROLE


async def _prepare_schema(engine: AsyncEngine, urls: _Urls, settings: CatalogSettings) -> None:
    """Migrate an embedded database, which only this process uses; only check one that its operator migrates."""
    if settings.database_url.get_secret_value():
        await check_pooler(engine, pooled=settings.database_pooled)
        await check_schema(engine)
    else:
        owner = open_engine(urls.owner, pool_size=2)
        try:
            await migrate_schema(owner, text_search=settings.text_search, service_role=SERVICE_ROLE)
        finally:
            await owner.dispose()
    await check_role(engine, production=settings.environment == "production")
