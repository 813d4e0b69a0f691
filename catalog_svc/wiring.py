"""Wires the use cases of catalog_svc to its stores, its connector client and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import grpc
from catalogsync_common.call_limits import CallLimits
from catalogsync_common.drain import Drain
from catalogsync_common.rate_limiter import RateLimit

from catalog_svc.analysis_wiring import AnalysisLoops, wire_analysis_loops, wire_analysis_servicer
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.metrics import CatalogMetrics
from catalog_svc.rpc.analysis_servicer import AnalysisServicer
from catalog_svc.rpc.call_limits import WebhookRate, method_groups, start_limit
from catalog_svc.rpc.page_tokens import PageTokens
from catalog_svc.rpc.servicer import CatalogServicer, CatalogUseCases
from catalog_svc.settings import CatalogSettings
from catalog_svc.source.connector_client import CallCredentials, ConnectorJobs, ConnectorPlatforms, ConnectorSource
from catalog_svc.source.webhook_verifier import ConnectorWebhooks
from catalog_svc.storage.audit_records import AuditRecordStore, audit_lease
from catalog_svc.storage.audits import AuditStore
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.loop_leases import LoopLease
from catalog_svc.storage.monitoring import MonitoringStore
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.shop_webhooks import WebhookRecordStore
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.storage.syncs import IssueStore, SyncStore
from catalog_svc.usecases.analysis_ports import AnalysisMetrics
from catalog_svc.usecases.audit_loop import AuditLoop
from catalog_svc.usecases.audit_run import AuditDependencies, AuditRun
from catalog_svc.usecases.change_hub import ChangeHub
from catalog_svc.usecases.grouped_requests import GroupedRequests
from catalog_svc.usecases.ingest_webhook import IngestWebhook
from catalog_svc.usecases.item_feed_hub import ItemFeedHub
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.refresh_run import RefreshDependencies, RefreshRun
from catalog_svc.usecases.refresh_worker import RefreshWorker
from catalog_svc.usecases.retention import Retention, RetentionPolicy
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig
from catalog_svc.usecases.shop_purge import ShopPurge
from catalog_svc.usecases.shops import DeleteShop, ManageShops
from catalog_svc.usecases.state_monitor import StateMetrics, StateMonitor
from catalog_svc.usecases.sync_commands import ChangeSync, PlatformJobCleanup, StartSync
from catalog_svc.usecases.sync_execution import SyncDependencies
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.sync_limits import RunConfig
from catalog_svc.usecases.verify_catalog import VerifyCatalog
from catalog_svc.usecases.watch_changes import WatchChanges
from catalog_svc.usecases.watch_items import WatchItems
from catalog_svc.usecases.watch_pacing import WatchLimits
from catalog_svc.usecases.watch_sync import WatchSync
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from catalog_svc.usecases.webhook_checks import WebhookChecks
from catalog_svc.usecases.worker import SyncSupervisor, Worker

_MAX_READ_AGE_HEARTBEATS = 3
"""After this many heartbeats without a successful read of a sync its watchers get STORAGE_UNAVAILABLE."""
_MIN_READ_AGE_LIMIT = timedelta(seconds=10)
"""However short the heartbeats are: a slow or repeated read ends no stream."""

_REFRESH_CLAIM_TTL = timedelta(minutes=2)
"""Longer than a read by ids may take. The products of a replica that died are read by another one afterwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """What the background loops of a replica run."""

    hub: SyncHub
    feed_hub: ItemFeedHub
    change_hub: ChangeHub
    worker: Worker
    cleanup: PlatformJobCleanup
    scheduler: Scheduler
    retention: Retention
    shop_purge: ShopPurge
    state_monitor: StateMonitor
    refresh_worker: RefreshWorker
    audit: AuditRun
    audit_loop: AuditLoop | None
    """None: the settings have no interval."""
    webhook_checks: WebhookChecks | None
    """None: the settings have no address."""
    analysis: AnalysisLoops
    announce_change: Callable[[UUID], None]
    """Wakes the followers of a shop that this replica has changed, and the workers that analyze its images."""
    drain: Drain


def wire_replica(
    settings: CatalogSettings,
    database: Database,
    connector: grpc.aio.Channel,
    metrics: CatalogMetrics,
    state_metrics: StateMetrics,
) -> Replica:
    """Wire the background loops of a replica; nothing runs yet.

    Args:
        settings: The settings of the replica.
        database: Connections for syncs and leases.
        connector: The channel to connector_svc.
        metrics: Where syncs are counted.
        state_metrics: Where the state of the whole catalog is shown.
    """
    drain, syncs = Drain(), SyncStore(database)
    max_read_age = max(_MIN_READ_AGE_LIMIT, _MAX_READ_AGE_HEARTBEATS * settings.heartbeat_interval)
    limiter = WatcherLimiter(
        max_watchers=settings.max_watchers, max_watchers_per_shop=settings.max_watchers_per_shop
    )
    hub = SyncHub(syncs, limiter=limiter, max_read_age=max_read_age)
    feed_hub = ItemFeedHub(ItemFeedStore(database), limiter=limiter, max_read_age=max_read_age)
    change_hub = ChangeHub(ChangeFeedStore(database), metrics=metrics, limiter=limiter, max_read_age=max_read_age)
    credentials = _credentials(settings)
    source = ConnectorSource(connector, credentials=credentials)

    def announce_change(shop_id: UUID) -> None:
        feed_hub.announce(shop_id)
        change_hub.announce()
        analysis.hub.announce()

    analysis = wire_analysis_loops(database, limiter=limiter, announce_change=announce_change, drain=drain)
    worker = _worker(settings, database, source, hub, announce_change, drain, metrics)
    refresh_worker = _refresh_worker(settings, database, source, worker, announce_change, drain, metrics)
    audit = _audit(settings, database, source, refresh_worker, metrics)
    return Replica(
        hub=hub,
        feed_hub=feed_hub,
        change_hub=change_hub,
        worker=worker,
        cleanup=PlatformJobCleanup(
            syncs=syncs, jobs=ConnectorJobs(connector, credentials=credentials), drain=drain
        ),
        scheduler=_scheduler(settings, database, worker, drain, metrics),
        retention=Retention(
            records=RetentionStore(database, owner=uuid4()), drain=drain, policy=_retention_policy(settings)
        ),
        shop_purge=ShopPurge(deletions=ShopDeletionStore(database, owner=uuid4()), drain=drain),
        state_monitor=StateMonitor(
            states=MonitoringStore(database),
            refreshes=RefreshRequestStore(database),
            drain=drain,
            metrics=state_metrics,
            interval=settings.metrics_interval,
        ),
        refresh_worker=refresh_worker,
        audit=audit,
        audit_loop=_audit_loop(settings, database, audit, drain),
        webhook_checks=_webhook_checks(settings, database, connector, drain, metrics),
        analysis=analysis,
        announce_change=announce_change,
        drain=drain,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Servicers:
    """The services of a replica."""

    catalog: CatalogServicer
    analysis: AnalysisServicer


def wire_servicers(
    settings: CatalogSettings,
    replica: Replica,
    *,
    writes: Database,
    reads: Database,
    connector: grpc.aio.Channel,
    metrics: CatalogMetrics,
    analysis_metrics: AnalysisMetrics,
    page_tokens: PageTokens,
) -> Servicers:
    """Wire the calls of CatalogService and AnalysisService to a replica.

    `reads` has connections of its own: twenty slow dashboards must not starve syncs and leases.
    """
    platforms = ConnectorPlatforms(connector, credentials=_credentials(settings))
    commands, wake = SyncCommandStore(writes), replica.worker.wake
    shops = ShopStore(writes)
    watch_limits = WatchLimits(heartbeat_every=settings.heartbeat_interval)
    read = _read_catalog(settings, reads, platforms)
    use_cases = CatalogUseCases(
        start=StartSync(
            shops=shops,
            commands=commands,
            platforms=platforms,
            wake_worker=wake,
            overlap=settings.incremental_overlap,
            metrics=metrics,
        ),
        change=ChangeSync(
            commands=commands,
            publish=replica.hub.publish,
            cancel_platform_job=replica.cleanup.start,
            wake_worker=wake,
            metrics=metrics,
        ),
        follow=WatchSync(hub=replica.hub, drain=replica.drain, limits=watch_limits, metrics=metrics),
        read=read,
        watch_changes=WatchChanges(
            feeds=ChangeFeedStore(reads), hub=replica.change_hub, drain=replica.drain, metrics=metrics
        ),
        watch_items=WatchItems(read=read, feeds=ItemFeedStore(reads), hub=replica.feed_hub, drain=replica.drain),
        shops=ManageShops(
            shops=shops,
            directory=ShopDirectoryStore(writes),
            read_directory=ShopDirectoryStore(reads),
            platforms=platforms,
            read=read,
            defaults=_schedule_defaults(settings),
            wake_backfill=replica.analysis.backfill.wake,
        ),
        delete_shop=DeleteShop(
            shops=shops,
            deletions=ShopDeletionStore(writes, owner=uuid4()),
            read=read,
            cancel_platform_job=lambda cancelled: replica.cleanup.start(cancelled.sync, cancelled.checkpoint),
            wake_purge=replica.shop_purge.wake,
            metrics=metrics,
        ),
        ingest_webhook=IngestWebhook(
            verifier=ConnectorWebhooks(connector, credentials=_credentials(settings)),
            platforms=platforms,
            shops=shops,
            requests=GroupedRequests(RefreshRequestStore(writes)),
            limit=WebhookRate(RateLimit(per_second=settings.webhooks_per_second, burst=settings.webhooks_burst)),
            wake_worker=replica.refresh_worker.wake,
            metrics=metrics,
        ),
        verify=VerifyCatalog(read=read, audit=replica.audit, drain=replica.drain),
        syncs=SyncStore(reads),
        issues=IssueStore(reads),
    )
    return Servicers(
        catalog=CatalogServicer(use_cases, page_tokens),
        analysis=wire_analysis_servicer(
            replica.analysis,
            writes=writes,
            reads=reads,
            read=read,
            announce_change=replica.announce_change,
            drain=replica.drain,
            metrics=analysis_metrics,
            page_tokens=page_tokens,
        ),
    )


def _credentials(settings: CatalogSettings) -> CallCredentials:
    return CallCredentials(secret=settings.connector_secret.get_secret_value())


def _read_catalog(settings: CatalogSettings, database: Database, platforms: ConnectorPlatforms) -> ReadCatalog:
    return ReadCatalog(
        shops=ShopStore(database),
        items=ItemStore(database),
        products=ProductStore(database),
        statuses=StatusStore(database),
        platforms=platforms,
        defaults=_schedule_defaults(settings),
    )


def _worker(
    settings: CatalogSettings,
    database: Database,
    source: ProductSource,
    hub: SyncHub,
    announce_change: Callable[[UUID], None],
    drain: Drain,
    metrics: CatalogMetrics,
) -> Worker:
    ttl = settings.lease_ttl
    leases = LeaseStore(database, owner=uuid4(), ttl=ttl)
    dependencies = SyncDependencies(
        leases=leases,
        batches=BatchStore(database, ttl=ttl),
        sweeps=SweepStore(database, ttl=ttl),
        source=source,
        hub=hub,
        metrics=metrics,
        announce_change=announce_change,
        config=RunConfig(
            renew_interval=ttl / 3,
            give_up_after=settings.give_up_after,
            give_up_new_shop_after=settings.give_up_new_shop_after,
            max_claims_without_progress=settings.max_claims_without_progress,
        ),
    )
    return Worker(
        leases=leases,
        supervisor=SyncSupervisor(dependencies, drain=drain),
        drain=drain,
        max_running=settings.max_running_syncs,
        max_per_platform=settings.max_running_per_platform,
        metrics=metrics,
    )


def _refresh_worker(
    settings: CatalogSettings,
    database: Database,
    source: ProductSource,
    worker: Worker,
    announce_change: Callable[[UUID], None],
    drain: Drain,
    metrics: CatalogMetrics,
) -> RefreshWorker:
    refreshes = RefreshStore(database, ttl=_REFRESH_CLAIM_TTL)
    dependencies = RefreshDependencies(
        refreshes=refreshes,
        source=source,
        commands=SyncCommandStore(database),
        metrics=metrics,
        announce_change=announce_change,
        wake_sync_worker=worker.wake,
        overlap=settings.incremental_overlap,
    )
    return RefreshWorker(
        refreshes=refreshes,
        refresh=RefreshRun(dependencies),
        drain=drain,
        max_running=settings.max_running_refreshes,
        max_per_platform=settings.max_refreshes_per_platform,
    )


def _audit(
    settings: CatalogSettings,
    database: Database,
    source: ProductSource,
    refresh_worker: RefreshWorker,
    metrics: CatalogMetrics,
) -> AuditRun:
    return AuditRun(
        AuditDependencies(
            catalog=AuditStore(database, ttl=_REFRESH_CLAIM_TTL),
            records=AuditRecordStore(database),
            new_right=partial(audit_lease, database),
            source=source,
            metrics=metrics,
            overlap=settings.incremental_overlap,
            wake_refresh_worker=refresh_worker.wake,
        )
    )


def _audit_loop(settings: CatalogSettings, database: Database, audit: AuditRun, drain: Drain) -> AuditLoop | None:
    if not settings.audit_every:
        return None
    return AuditLoop(
        records=AuditRecordStore(database),
        shops=ShopStore(database),
        audit=audit,
        lease=LoopLease(database, name="audits", owner=uuid4()),
        drain=drain,
        interval=settings.audit_every,
        sample_size=settings.audit_sample,
    )


def _webhook_checks(
    settings: CatalogSettings,
    database: Database,
    connector: grpc.aio.Channel,
    drain: Drain,
    metrics: CatalogMetrics,
) -> WebhookChecks | None:
    if not settings.webhook_address:
        return None
    credentials = _credentials(settings)
    return WebhookChecks(
        records=WebhookRecordStore(database),
        shops=ShopStore(database),
        platforms=ConnectorPlatforms(connector, credentials=credentials),
        setup=ConnectorWebhooks(connector, credentials=credentials),
        lease=LoopLease(database, name="webhook checks", owner=uuid4()),
        drain=drain,
        metrics=metrics,
        address=settings.webhook_address,
        interval=settings.webhook_check_every,
    )


def _scheduler(
    settings: CatalogSettings, database: Database, worker: Worker, drain: Drain, metrics: CatalogMetrics
) -> Scheduler:
    return Scheduler(
        schedules=ScheduleStore(database),
        commands=SyncCommandStore(database),
        drain=drain,
        wake_worker=worker.wake,
        defaults=_schedule_defaults(settings),
        overlap=settings.incremental_overlap,
        config=SchedulerConfig(),
        metrics=metrics,
    )


def _schedule_defaults(settings: CatalogSettings) -> ScheduleDefaults:
    return ScheduleDefaults(
        incremental_every=settings.incremental_every,
        full_every=settings.full_every,
        silent_every=settings.silent_incremental_every,
    )


def _retention_policy(settings: CatalogSettings) -> RetentionPolicy:
    return RetentionPolicy(
        syncs=settings.sync_retention,
        request_ids=settings.request_id_retention,
        deleted_records=settings.deleted_record_retention,
        changes=settings.change_retention,
    )


def call_limits(settings: CatalogSettings) -> CallLimits:
    """Return the limits of the calls of a replica."""
    interval = settings.start_sync_interval.total_seconds()
    starts = RateLimit(per_second=1 / interval if interval else 0, burst=settings.start_sync_burst)
    return CallLimits(
        clients=RateLimit(per_second=settings.client_calls_per_second, burst=settings.client_calls_burst),
        services=RateLimit(per_second=settings.service_calls_per_second, burst=settings.service_calls_burst),
        groups=method_groups(),
        shops=start_limit(starts),
        peer_failures=RateLimit(per_second=settings.auth_failures_per_second, burst=settings.auth_failures_burst),
        concurrent_calls=settings.max_watchers + settings.max_concurrent_calls,
        concurrent_client_calls=settings.client_concurrent_calls,
    )
