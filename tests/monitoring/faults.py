"""Faults of a running system, each until its alerts fire; then it is repaired, until they resolve."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import aiohttp
import asyncpg
from aiohttp import web
from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import AnalysisWorker, CatalogSyncError, ConnectorClient, ShopName, TaskFailed, error_info
from google.protobuf.field_mask_pb2 import FieldMask

from connector_svc.domain.shop import Shop
from devstore.faults import Fault, FaultKind, RequestMatcher, ScriptedFault
from tests.fakes.webhook_deliveries import shopify_headers
from tests.monitoring.monitored_system import (
    HEALTHY,
    MISCOUNTING,
    REFUSING,
    SLOW,
    UNREACHABLE,
    WEBHOOKS,
    MonitoredSystem,
)

_EXPECTED_ERRORS = (CatalogSyncError, asyncpg.PostgresError, aiohttp.ClientError)
_ANALYZER, _BROKEN_ANALYZER = "quality", "broken"


@asynccontextmanager
async def repeated(action: Callable[[], Awaitable[object]], *, at_once: int = 1) -> AsyncIterator[None]:
    """Repeat an action, which may fail, while the block lasts."""

    async def repeat() -> NoReturn:
        while True:
            try:
                await action()
            except _EXPECTED_ERRORS:
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(repeat()) for _ in range(at_once)]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def broken_shop(system: MonitoredSystem, domain: str, fault: Fault) -> Iterator[None]:
    """Add a fault to a shop of the devstore while the block lasts."""
    system.store.add_fault(domain, fault)
    try:
        yield
    finally:
        system.store.clear_faults(domain)


@asynccontextmanager
async def held_shops(system: MonitoredSystem) -> AsyncIterator[None]:
    """Run a sync of each of the slow shops, which answer no request while the block lasts, to their ends."""
    released, asked = asyncio.Event(), {domain: asyncio.Event() for domain in SLOW}

    def hold(domain: str) -> Fault:
        async def answer(request: web.Request) -> web.StreamResponse | None:
            asked[domain].set()
            await released.wait()
            return None

        return answer

    for domain in SLOW:
        system.store.add_fault(domain, hold(domain))
    syncs = [await system.client.start_sync(f"shopify:{domain}", mode=pb.Sync.MODE_FULL) for domain in SLOW]
    try:
        async with asyncio.timeout(60):
            for event in asked.values():
                await event.wait()
        yield
    finally:
        released.set()
        for domain in SLOW:
            system.store.clear_faults(domain)
    for started in syncs:
        last = await system.ended(started)
        assert last.state == pb.Sync.STATE_SUCCEEDED, last


# -- faults beside which the rest of the system works


async def certificate_expires(system: MonitoredSystem) -> None:
    system.authority.issue("server", not_after=datetime.now(UTC) + timedelta(hours=1))
    await system.alerts.until_firing("CatalogsyncCertificateExpires")
    system.authority.issue("server")
    await system.alerts.until_resolved("CatalogsyncCertificateExpires")


async def client_calls_too_often(system: MonitoredSystem) -> None:
    async with repeated(lambda: system.client.start_sync(f"shopify:{SLOW[0]}")):
        await system.alerts.until_firing("CatalogsyncCallsRefused")
    await system.alerts.until_resolved("CatalogsyncCallsRefused")


async def transaction_stays_open(system: MonitoredSystem) -> None:
    async def follow() -> None:
        async for _ in system.client.watch_changes():
            pass

    connection = await system.postgres.connect()
    try:
        async with repeated(follow):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SELECT pg_current_xact_id()")
            async with repeated(lambda: system.sync(HEALTHY)):
                await system.alerts.until_firing("CatalogsyncChangesDelayed")
            await transaction.rollback()
            await system.alerts.until_resolved("CatalogsyncChangesDelayed")
    finally:
        await connection.close()


async def shops_refuse(system: MonitoredSystem) -> None:
    """Both shops of a platform revoke the permission of the app."""

    async def sync_both() -> None:
        for domain in REFUSING:
            await system.sync(domain, "woocommerce")

    refused = ScriptedFault(kind=FaultKind.STATUS, status=403)
    with broken_shop(system, REFUSING[0], refused), broken_shop(system, REFUSING[1], refused):
        async with repeated(sync_both):
            await system.alerts.until_firing("CatalogsyncSyncsFailing")
    async with repeated(sync_both):
        await system.alerts.until_resolved("CatalogsyncSyncsFailing")


async def shop_drops_products(system: MonitoredSystem) -> None:
    dropped = ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="products"))
    with broken_shop(system, MISCOUNTING, dropped):
        failed = await system.sync(MISCOUNTING, "bigcommerce")
        assert error_info(failed).reason == "SOURCE_COUNT_MISMATCH", failed
        await system.alerts.until_firing("CatalogsyncCountMismatch")
    assert (await system.sync(MISCOUNTING, "bigcommerce")).state == pb.Sync.STATE_SUCCEEDED
    await system.alerts.until_resolved("CatalogsyncCountMismatch")


async def shop_is_unreachable(system: MonitoredSystem) -> None:
    """A shop resets all connections, after a webhook named one of its products and while an operator checks it."""
    assert (await system.sync(UNREACHABLE)).state == pb.Sync.STATE_SUCCEEDED
    items = await system.client.list_items(
        pb.ListItemsRequest(shop=pb.ShopRef(platform="shopify", domain=UNREACHABLE), page_size=1)
    )
    body = json.dumps({"id": int(items.items[0].product_id)}).encode()
    headers = shopify_headers(body, system.secrets[UNREACHABLE], shop=Shop("shopify", UNREACHABLE))
    with broken_shop(system, UNREACHABLE, ScriptedFault(kind=FaultKind.RESET_BEFORE)):
        await system.client.ingest_webhook("shopify", body, headers)
        async with (
            ConnectorClient(system.connector.address) as connector,
            repeated(lambda: connector.check_shop(ShopName("shopify", UNREACHABLE))),
        ):
            await system.alerts.until_firing("CatalogsyncRefreshesDelayed")
    await system.alerts.until_resolved("CatalogsyncRefreshesDelayed")


async def platform_fails(system: MonitoredSystem) -> None:
    """All requests to the shops of a platform are answered with 500, while operators check them."""
    failing = ScriptedFault(kind=FaultKind.STATUS, status=500)
    async with ConnectorClient(system.connector.address) as connector:
        with broken_shop(system, MISCOUNTING, failing):
            async with repeated(lambda: connector.check_shop(ShopName("bigcommerce", MISCOUNTING)), at_once=4):
                await system.alerts.until_firing("CatalogsyncPlatformErrors")
        async with repeated(lambda: connector.check_shop(ShopName("bigcommerce", MISCOUNTING))):
            await system.alerts.until_resolved("CatalogsyncPlatformErrors")


async def webhooks_cannot_be_listed(system: MonitoredSystem) -> None:
    """They are checked once the shop has been synced."""
    refused = ScriptedFault(
        kind=FaultKind.STATUS, status=403, matcher=RequestMatcher(where="webhookSubscriptions")
    )
    with broken_shop(system, WEBHOOKS, refused):
        assert (await system.sync(WEBHOOKS)).state == pb.Sync.STATE_SUCCEEDED
        await system.alerts.until_firing("CatalogsyncWebhookChecksFailing")
    await system.alerts.until_resolved("CatalogsyncWebhookChecksFailing")


async def stored_products_are_changed(system: MonitoredSystem) -> None:
    """Rows of the database are changed by hand."""
    shop = f"shopify:{SLOW[1]}"
    assert (await system.sync(SLOW[1])).state == pb.Sync.STATE_SUCCEEDED
    connection = await system.postgres.connect()
    try:
        await connection.execute(
            "UPDATE item SET title = 'wrong' WHERE shop_id = (SELECT shop_id FROM shop WHERE domain = $1)", SLOW[1]
        )
    finally:
        await connection.close()
    async for answer in system.client.verify_catalog(shop, sample_size=20):
        last = answer
    assert isinstance(last, pb.CatalogAudit)
    await system.alerts.until_firing("CatalogsyncDrift")
    await system.alerts.until_resolved("CatalogsyncDrift")


async def no_worker_analyzes(system: MonitoredSystem) -> None:
    """Images wait for an analyzer that has no worker, and another one whose worker fails."""
    assert (await system.sync(SLOW[2])).state == pb.Sync.STATE_SUCCEEDED
    shop = pb.ShopRef(platform="shopify", domain=SLOW[2])
    await system.client.update_shop(
        pb.UpdateShopRequest(
            shop=shop,
            update=pb.ShopUpdate(analyzers=[_ANALYZER, _BROKEN_ANALYZER]),
            update_mask=FieldMask(paths=["analyzers"]),
        )
    )
    async with _worker(system, _BROKEN_ANALYZER, _FailingAnalyzer()):
        await system.alerts.until_firing("CatalogsyncAnalysisTasksDead")
    await system.client.requeue(analysis_pb.RequeueTasksRequest(shop=shop, analyzer=_BROKEN_ANALYZER, dead=True))
    async with _worker(system, _BROKEN_ANALYZER, _WorkingAnalyzer()):
        await system.alerts.until_resolved("CatalogsyncAnalysisTasksDead")
        await system.alerts.until_firing("CatalogsyncAnalysisDelayed")
    async with _worker(system, _ANALYZER, _WorkingAnalyzer()):
        await system.alerts.until_resolved("CatalogsyncAnalysisDelayed")


class _FailingAnalyzer:
    async def analyze(self, task: analysis_pb.AnalysisTask) -> analysis_pb.AnalysisResult:
        raise TaskFailed("MODEL_MISSING", permanent=True)


class _WorkingAnalyzer:
    async def analyze(self, task: analysis_pb.AnalysisTask) -> analysis_pb.AnalysisResult:
        return analysis_pb.AnalysisResult(category="Shirts", quality_score="0.5", confidence_score="0.9")


@asynccontextmanager
async def _worker(system: MonitoredSystem, name: str, analyzer: Any) -> AsyncIterator[None]:
    worker = AnalysisWorker(system.client, analyzer, name=name, worker_id=f"worker of {name}", max_in_flight=50)
    async with repeated(worker.run):
        yield


async def backup_is_restored(system: MonitoredSystem) -> None:
    """The database is as it was three days ago, until the shops are synced again."""
    domains = (*SLOW, HEALTHY)
    for domain in domains:
        assert (await system.sync(domain)).state == pb.Sync.STATE_SUCCEEDED
    connection = await system.postgres.connect()
    try:
        await connection.execute("UPDATE shop_state SET watermark = watermark - interval '3 days'")
    finally:
        await connection.close()
    await system.alerts.until_firing("CatalogsyncShopsStale")
    for platform, some in (
        ("shopify", (*domains, UNREACHABLE)),
        ("woocommerce", REFUSING),
        ("bigcommerce", (MISCOUNTING,)),
    ):
        for domain in some:
            assert (await system.sync(domain, platform)).state == pb.Sync.STATE_SUCCEEDED
    await system.alerts.until_resolved("CatalogsyncShopsStale")


# -- faults that stop a part of the system


async def tables_are_locked(system: MonitoredSystem) -> None:
    """A maintenance job locks the items again and again, and callers read them."""
    names = ("CatalogsyncDatabasePoolExhausted", "CatalogsyncCallsSlow")
    request = pb.ListItemsRequest(shop=pb.ShopRef(platform="shopify", domain=HEALTHY), page_size=10)
    connection = await system.postgres.connect()

    async def lock() -> None:
        async with connection.transaction():
            await connection.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            await connection.execute("SELECT pg_sleep(4)")

    try:
        async with repeated(lambda: system.client.list_items(request), at_once=20):
            async with repeated(lock):
                await system.alerts.until_firing(*names)
            await system.alerts.until_resolved(*names)
    finally:
        await connection.close()


async def schema_is_damaged(system: MonitoredSystem) -> None:
    """A function that a background loop needs is renamed, and a table that a call needs."""
    names = ("CatalogsyncLoopFailing", "CatalogsyncUnexpectedErrors")
    sync = (await system.client.list_syncs(pb.ListSyncsRequest(page_size=1))).syncs[0]
    connection = await system.postgres.connect()
    try:
        await connection.execute("ALTER FUNCTION active_syncs RENAME TO no_active_syncs")
        await connection.execute("ALTER TABLE sync_issue RENAME TO no_sync_issue")
        async with repeated(lambda: system.client.list_issues(pb.ListSyncIssuesRequest(sync_id=sync.sync_id))):
            await system.alerts.until_firing(*names)
        await connection.execute("ALTER TABLE no_sync_issue RENAME TO sync_issue")
        await connection.execute("ALTER FUNCTION no_active_syncs RENAME TO active_syncs")
    finally:
        await connection.close()
    await system.alerts.until_resolved(*names)


async def process_is_frozen(system: MonitoredSystem) -> None:
    """The BFF gets no CPU half of the time."""

    async def freeze() -> None:
        system.bff.signal(signal.SIGSTOP)
        await _pass_time(0.6)
        system.bff.signal(signal.SIGCONT)
        await _pass_time(0.6)

    try:
        async with repeated(freeze):
            await system.alerts.until_firing("CatalogsyncEventLoopBlocked")
    finally:
        system.bff.signal(signal.SIGCONT)
    await system.alerts.until_resolved("CatalogsyncEventLoopBlocked")


async def worker_is_killed(system: MonitoredSystem) -> None:
    """The only replica that runs syncs is killed, while one more sync is started."""
    names = ("CatalogsyncInstanceDown", "CatalogsyncSyncsUnowned", "CatalogsyncSyncsPending")
    async with held_shops(system):
        await system.worker.stop()
        pending = await system.client.start_sync(f"shopify:{HEALTHY}", mode=pb.Sync.MODE_FULL)
        await system.alerts.until_firing(*names)
        await system.worker.start()
        await system.worker.wait_until_ready()
        await system.alerts.until_firing("CatalogsyncTakeovers")
    assert (await system.ended(pending)).state == pb.Sync.STATE_SUCCEEDED
    await system.alerts.until_resolved(*names, "CatalogsyncTakeovers")


async def connector_is_killed(system: MonitoredSystem) -> None:
    async with held_shops(system):
        await system.connector.stop()
        await system.alerts.until_firing("CatalogsyncSyncsBlocked")
        await system.connector.start()
        await system.connector.wait_until_ready()
    await system.alerts.until_resolved("CatalogsyncSyncsBlocked", "CatalogsyncInstanceDown")


async def front_is_killed(system: MonitoredSystem) -> None:
    """The BFF has no catalog_svc while browsers ask it."""
    async with system.browser() as browser:
        await system.front.stop()
        async with repeated(lambda: browser.get("/shops")):
            await system.alerts.until_firing("CatalogsyncBffErrors")
            await system.front.start()
            await system.front.wait_until_ready()
            await system.alerts.until_resolved("CatalogsyncBffErrors", "CatalogsyncInstanceDown")


async def database_crashes(system: MonitoredSystem) -> None:
    await system.postgres.crash()
    await system.alerts.until_firing("CatalogsyncDatabaseDown")
    await system.postgres.start()
    await system.alerts.until_resolved("CatalogsyncDatabaseDown")


async def _pass_time(seconds: float) -> None:
    """Let a fault last so long; nothing is ordered by it."""
    await asyncio.sleep(seconds)


BESIDE = (
    certificate_expires,
    client_calls_too_often,
    transaction_stays_open,
    shops_refuse,
    shop_drops_products,
    shop_is_unreachable,
    webhooks_cannot_be_listed,
    stored_products_are_changed,
    no_worker_analyzes,
)
"""Faults that are caused at once."""
ALONE = (
    platform_fails,
    backup_is_restored,
    tables_are_locked,
    schema_is_damaged,
    process_is_frozen,
    worker_is_killed,
    connector_is_killed,
    front_is_killed,
    database_crashes,
)
"""Faults that are caused one after the other."""
