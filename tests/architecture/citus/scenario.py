"""A scenario in which the stores execute each of their statements, for two shops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from catalogsync_common.diagnosis import Findings, Outcome
from catalogsync_common.endpoint_checks import utc_now
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.analysis import AnalysisState
from catalog_svc.domain.catalog_reads import ItemCursor, ItemFilter, ProductFilter
from catalog_svc.domain.change_feed import ChangeFilter, ChangeKind
from catalog_svc.domain.errors import MassDeleteBlocked, ShopNotFound, SyncAlreadyRunning
from catalog_svc.domain.item_feed import FeedCursor
from catalog_svc.domain.records import RecordIssue
from catalog_svc.domain.refresh import QueuedRefresh, RefreshReason, RefreshRequest
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopChange, ShopField, ShopKey
from catalog_svc.domain.source import Offer, SourceBatch, StockLevel
from catalog_svc.domain.status import ConnectionState, ShopFilter
from catalog_svc.domain.sync import (
    BlockedDeletion,
    ClaimedSync,
    Lease,
    StartSyncCommand,
    Sync,
    SyncMode,
    SyncPosition,
    SyncState,
    Waiting,
    WaitReason,
)
from catalog_svc.domain.webhook_health import EnsuredWebhooks
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.analyzers import AnalyzerStore
from catalog_svc.storage.audit_records import AuditRecordStore
from catalog_svc.storage.audits import AuditStore
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.database_checks import check_database
from catalog_svc.storage.embedded import SERVICE_ROLE
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.monitoring import MonitoringStore
from catalog_svc.storage.page_token_key import load_page_token_key
from catalog_svc.storage.pooler import check_pooler, pooled_options
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.readiness import wait_until_ready
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.roles import check_role
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.schema import check_schema, migrate
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.shop_webhooks import WebhookRecordStore, expire_silence, record_unannounced
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.storage.syncs import IssueStore, SyncStore
from tests.architecture.citus.analysis_scenario import AnalysisScenario, pictured
from tests.architecture.citus.recorder import Recorder
from tests.contract.catalog_stores.conftest import HEADER, batch
from tests.contract.catalog_stores.steps import DOLLARS, REVOKED
from tests.fakes.product_source import product

SHOPS: Final = (ShopKey("shopify", "demo.myshopify.com"), ShopKey("woocommerce", "shop.example.com"))
_TTL: Final = timedelta(minutes=5)
_DEFAULTS: Final = ScheduleDefaults(incremental_every=timedelta(minutes=15), full_every=timedelta(days=1))
_WAITING: Final = Waiting(reason=WaitReason.THROTTLED, until=datetime(2026, 11, 1, tzinfo=UTC))
_REJECTED: Final = RecordIssue(
    reason="MISSING_ID", product_id="5", item_id="", field="id", message="", sample="", product_rejected=True
)
_MANY_ITEMS: Final = 60
"""So many that the statistics of the tables must be renewed."""
_MORE_THAN_KEPT: Final = 7
"""More ended syncs than `sync` keeps of a shop."""


class Scenario:
    """The stores of one replica; `recorder` records what they execute, and not what the scenario itself does."""

    def __init__(self, engine: AsyncEngine, owner: AsyncEngine, outside: AsyncEngine) -> None:
        """Create the stores.

        Args:
            engine: Connections of the replica, to an empty database.
            owner: Connections with which it is migrated.
            outside: Other connections of the superuser to the same database, which are not recorded.
        """
        self.recorder = Recorder()
        self.recorder.attach(engine)
        self.recorder.attach(owner)
        self._engine = engine
        self._owner = owner
        self._outside = outside
        database = Database(engine, remaining=lambda: 60.0)
        observed = self.recorder.observed
        self._shops = observed(ShopStore(database))
        self._directory = observed(ShopDirectoryStore(database))
        self._deletions = observed(ShopDeletionStore(database, owner=uuid4(), rows_per_chunk=2))
        self._database = database
        self._commands = observed(SyncCommandStore(database))
        self._leases = observed(LeaseStore(database, owner=uuid4(), ttl=_TTL))
        self._batches = observed(BatchStore(database, ttl=_TTL))
        self._sweeps = observed(SweepStore(database, ttl=_TTL))
        self._syncs = observed(SyncStore(database))
        self._issues = observed(IssueStore(database))
        self._items = observed(ItemStore(database))
        self._feeds = observed(ItemFeedStore(database))
        self._changes_of_all = observed(ChangeFeedStore(database))
        self._monitoring = observed(MonitoringStore(database))
        self._products = observed(ProductStore(database))
        # So small that a search goes on in the trigram indexes.
        self._small_windows = (
            observed(ItemStore(database, text_window=1)),
            observed(ProductStore(database, text_window=1)),
        )
        self._refresh_requests = observed(RefreshRequestStore(database, max_products=3))
        self._refreshes = observed(RefreshStore(database, ttl=_TTL))
        self._audits = observed(AuditStore(database, ttl=_TTL))
        self._audit_records = observed(AuditRecordStore(database))
        self._webhook_records = observed(WebhookRecordStore(database))
        self._status = observed(StatusStore(database))
        self._schedules = observed(ScheduleStore(database))
        self._retention = observed(RetentionStore(database, owner=uuid4()))
        self._analysis = AnalysisScenario(
            tasks=observed(AnalysisTaskStore(database, write_ttl=_TTL)),
            analyzers=observed(AnalyzerStore(database, write_ttl=_TTL)),
            analyses=observed(AnalysisStore(database)),
            execute=self._outside_execute,
        )

    async def _diagnose(self) -> None:
        """The checks of `python -m catalog_svc doctor`."""
        found = [
            finding
            async for finding in check_database(
                Findings("catalog_svc"), self._engine, address="", pooled=False, production=True, clock=utc_now
            )
        ]
        assert all(finding.outcome is Outcome.OK for finding in found), found

    async def run(self) -> None:
        """Run the scenario."""
        with self.recorder.step("migrate"):
            await migrate(self._owner, text_search=True, service_role=SERVICE_ROLE)
            await self._outside_execute(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = CAST('item_title_trgm' AS regclass)"
            )
            await migrate(self._owner, text_search=True, service_role=SERVICE_ROLE)
            await migrate(self._owner, text_search=False, service_role=SERVICE_ROLE)
            await migrate(self._owner, text_search=True, service_role=SERVICE_ROLE)
            await wait_until_ready(self._engine, timedelta(minutes=1))
            await check_role(self._engine, production=True)
            await self._diagnose()
            await load_page_token_key(self._database)
        for shop in SHOPS:
            first = await self._first_load(shop)
            await self._changes(shop)
            await self._sweep(shop)
            await self._new_currency(shop)
            await self._commands_of(shop)
            await self._reads(shop, first)
            await self._schedule(shop)
            await self._directory_of(shop)
            await self._analyze(shop)
            await self._refresh(shop)
            await self._audit(shop)
            await self._webhooks(shop)
        await self._change_feed()
        await self._same_store()
        await self._blocked(SHOPS[0])
        await self._pooled_load(SHOPS[0])
        await self._purge()
        for shop in SHOPS:
            await self._delete(shop)
        everything = replace(await self._changes_of_all.end(), xid=1)
        assert await self._changes_of_all.events(everything, limit=9)
        assert await self._retention.purge_changes(older_than=timedelta())
        await self._retention.purge_workers(older_than=timedelta())
        assert await self._retention.purge_deletions(older_than=timedelta()) == len(SHOPS)
        with self.recorder.step("check_schema"):
            await self._outside_execute("UPDATE alembic_version SET version_num = '9999'")
            await check_schema(self._engine)

    async def _first_load(self, shop: ShopKey) -> Sync:
        sync = await self._start(shop, request_id=f"load {shop}")
        with pytest.raises(SyncAlreadyRunning):
            await self._start(shop)
        claimed = await self._claim()
        await self._leases.wait(claimed.lease, claimed.sync.shop, _WAITING)
        await self._leases.begin(claimed.lease, HEADER)
        first = replace(batch(product("1"), product("2", items=2)), issues=(_REJECTED,))
        lease = await self._apply(claimed, first)
        assert await self._apply(claimed, first) == lease
        await self._leases.pause(lease, claimed.sync.shop, _WAITING)
        await self._leases.release(lease)
        claimed = await self._claim()
        await self._leases.renew(claimed.lease)
        claimed = await self._leases.reacquire(claimed.lease)
        lease = await self._apply(claimed, batch(product("3", items=_MANY_ITEMS), checkpoint=b"2"))
        ended = await self._succeed(claimed, lease)
        assert await self._leases.end(lease, SyncState.SUCCEEDED) == ended
        assert (await self._start(shop, request_id=f"load {shop}")).sync_id == sync.sync_id
        return ended

    async def _same_store(self) -> None:
        """A sync that finds that another shop of the merchant is the same store."""
        key = ShopKey("shopify", "same.myshopify.com")
        await self._directory.register(key, merchant_id="acme", caller_name="", defaults=_DEFAULTS)
        sync = await self._start(key)
        claimed = await self._claim()
        assert (await self._leases.begin(claimed.lease, HEADER)).sync.notes
        await self._commands.cancel(sync.sync_id)

    async def _blocked(self, shop: ShopKey) -> None:
        """A pass that the deletion guard stops, and the queue before it."""
        sync = await self._start(shop)
        assert (await self._monitoring.read()).active_syncs
        assert await self._syncs.queue_positions([sync.sync_id])
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, DOLLARS)
        many = batch(product("7", items=_MANY_ITEMS), checkpoint=b"7")
        lease = await self._apply(claimed, many)
        with pytest.raises(MassDeleteBlocked):
            await self._apply(replace(claimed, lease=lease), batch(deleted_product_ids=["7"], checkpoint=b"8"))
        deletion = BlockedDeletion(digest=b"7", count=_MANY_ITEMS)
        assert not await self._sweeps.agrees(lease, deletion)
        await self._leases.end(lease, SyncState.FAILED, REVOKED, blocked=deletion)

    async def _pooled_load(self, shop: ShopKey) -> None:
        """A batch as a replica stores it that reaches the database through a pooler."""
        pooled = self._engine.execution_options(**pooled_options(True))
        with self.recorder.step("check_pooler"):
            await check_pooler(pooled, pooled=True)
        await self._start(shop)
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, DOLLARS)
        batches = self.recorder.observed(BatchStore(Database(pooled), ttl=_TTL))
        lease, _ = await batches.apply(
            claimed.lease, claimed.sync.shop, batch(product("9")), full=True, items_per_second=None
        )
        await self._leases.end(lease, SyncState.FAILED, REVOKED)

    async def _changes(self, shop: ShopKey) -> None:
        """An incremental sync with products that are new, changed, deleted and unchanged, and new stock."""
        await self._start(shop, mode=SyncMode.INCREMENTAL)
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, HEADER)
        changed = batch(
            product("2", title="Blouse"), product("4", items=2), product("1"), deleted_product_ids=["1"]
        )
        lease = await self._apply(claimed, changed)
        offer = Offer(sku="S", price="7.30", compare_at_price=None)
        stock = StockLevel(item_id="4-1", stock_quantity=7, available=True, offer=offer)
        only_stock = replace(batch(listed_product_ids=["9"], checkpoint=b"2"), stock_levels=(stock,))
        lease = await self._apply(replace(claimed, lease=lease), only_stock)
        await self._succeed(claimed, lease)

    async def _sweep(self, shop: ShopKey) -> None:
        """A full sync that finds products missing."""
        await self._start(shop, allow_mass_delete=True)
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, HEADER)
        lease = await self._apply(claimed, batch(product("2", title="Blouse")))
        assert await self._sweeps.missing(lease, after="", limit=10)
        assert await self._sweeps.live_items(lease)
        assert await self._sweeps.step(lease, claimed.sync.shop) == await self._sweeps.step(
            lease, claimed.sync.shop
        )
        await self._succeed(claimed, replace(lease, next_seq=lease.next_seq + 1))

    async def _new_currency(self, shop: ShopKey) -> None:
        """A sync that starts again because of another currency, fails, and is resumed."""
        failed = await self._start(shop)
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, HEADER)
        lease = await self._apply(claimed, batch(product("2", items=3)))
        assert (await self._leases.begin(lease, DOLLARS)).checkpoint == b""
        lease = await self._apply(replace(claimed, lease=lease), batch(product("2", items=4)))
        await self._leases.end(lease, SyncState.FAILED, REVOKED)
        request = {"request_id": str(failed.sync_id), "correlation_id": ""}
        resumed = await self._commands.resume(failed.sync_id, **request)
        assert await self._commands.resume(failed.sync_id, **request) == resumed
        await self._commands.cancel(resumed.sync_id)

    async def _commands_of(self, shop: ShopKey) -> None:
        """More syncs than the shop keeps, and a start while another transaction holds the write lock."""
        for _ in range(_MORE_THAN_KEPT):
            sync = await self._start(shop)
            async with self._locked_shops():
                with pytest.raises(SyncAlreadyRunning):
                    await self._start(shop)
                assert await self._leases.claim(without_platforms=[shop.platform]) == []
            assert (await self._commands.cancel(sync.sync_id)).state is SyncState.CANCELLED
        assert (await self._commands.cancel(sync.sync_id)).state is SyncState.CANCELLED

    async def _reads(self, key: ShopKey, first: Sync) -> None:
        shop = await self._shops.find(key)
        assert shop is not None
        latest = (await self._syncs.latest(shop)).last_finished
        assert latest is not None
        ids = [first.sync_id, latest.sync_id]
        assert (await self._syncs.get(first.sync_id)).sync_id == first.sync_id
        assert {sync.sync_id for sync in await self._syncs.get_many(ids)} == set(ids)
        assert (await self._syncs.changed_revisions(dict.fromkeys(ids, 0))).keys() == set(ids)
        assert await self._syncs.checkpoint(first.sync_id)
        before = SyncPosition(created_at=latest.created_at, sync_id=latest.sync_id)
        for which in (shop, None):
            assert await self._syncs.page(shop=which, states=[SyncState.SUCCEEDED], before=before, limit=9)
        assert await self._issues.page(first.sync_id, after=0, limit=9)
        assert await self._items.get(shop, "2-1")
        await self._lists(shop)
        assert (await self._status.get(shop, _DEFAULTS)).counts.items

    async def _lists(self, shop: Shop) -> None:
        feed, _ = await self._items.page(shop, ItemFilter(), after=None, limit=9)
        for snapshot_position in (feed.position, None):
            for item_id in ("", "2-1"):
                begin = FeedCursor(
                    incarnation=feed.incarnation, snapshot_position=snapshot_position, position=1, item_id=item_id
                )
                await self._feeds.page(shop, begin, limit=9)
        await self._feeds.heads([shop.shop_id])
        everything = ItemFilter(sku="S", product_id="4", after_position=1, include_deleted=True)
        cursor = ItemCursor(
            incarnation=feed.incarnation,
            start_position=feed.position,
            feed_position=1,
            product_id="4",
            item_id="",
        )
        for which in (everything, ItemFilter(text="Shirt"), replace(everything, text="Shirt")):
            for after in (cursor, None):
                await self._items.page(shop, which, after=after, limit=9)
        assert await self._products.get(shop, "2")
        assert await self._products.page(shop, ProductFilter(text="Shirt"), after="1", limit=9)
        assert await self._products.page(shop, ProductFilter(include_deleted=True), after="", limit=9)
        items, products = self._small_windows
        for text_filter in (ItemFilter(text="no such title"), ItemFilter(text="no such title", after_position=1)):
            await items.page(shop, text_filter, after=None, limit=1)
        missing = ProductFilter(text="no such title", include_deleted=True)
        await products.page(shop, missing, after="", limit=1)

    async def _change_feed(self) -> None:
        """All shops and syncs, and the events of all of them."""
        start = await self._changes_of_all.start()
        for kind in ChangeKind:
            await self._changes_of_all.snapshot(start, limit=9, which=ChangeFilter(kind=kind))
        begin = replace(await self._changes_of_all.end(), xid=1)
        assert (await self._changes_of_all.events(begin, limit=999)).records

    async def _schedule(self, key: ShopKey) -> None:
        shop = await self._shops.find(key)
        assert shop is not None
        await self._schedules.set_defaults(_DEFAULTS)
        (unplanned,) = await self._schedules.unplanned(limit=9)
        planned = unplanned.schedule.planned(_DEFAULTS, unplanned.now)
        await self._schedules.plan(shop, old=unplanned.schedule, new=planned, defaults=_DEFAULTS)
        await self._schedules.postpone(shop, delay=timedelta(hours=1))
        await self._outside_execute(
            "UPDATE shop_schedule SET full_due_at = now() - interval '1 h', not_before = NULL"
            " WHERE platform = :platform",
            platform=key.platform,
        )
        (due,) = await self._schedules.due(most_per_platform=9, limit=9)
        command = StartSyncCommand(shop=key, mode=SyncMode.FULL, overlap=timedelta())
        sync = await self._commands.start_due(
            due, command, lambda mode: due.schedule.after_start(mode, _DEFAULTS, due.now)
        )
        assert sync is not None
        await self._commands.cancel(sync.sync_id)

    async def _directory_of(self, key: ShopKey) -> None:
        shop = await self._shops.find(key)
        assert shop is not None
        details = await self._directory.register(key, merchant_id="", caller_name="", defaults=_DEFAULTS)
        assert await self._directory.get(shop.shop_id, _DEFAULTS) == details
        await self._directory.update(shop, ShopChange(fields=frozenset(ShopField), merchant_id="acme"), _DEFAULTS)
        which = ShopFilter(merchant_id="acme", platform=key.platform, connection=ConnectionState.HEALTHY)
        assert await self._directory.page(which, after=None, limit=9, defaults=_DEFAULTS)

    async def _analyze(self, key: ShopKey) -> None:
        """Analyzers that are switched on over stored items, batches and reads with them, and one switched off."""
        shop = await self._shops.find(key)
        assert shop is not None
        await self._start(key, allow_mass_delete=True)
        claimed = await self._claim()
        await self._leases.begin(claimed.lease, DOLLARS)
        stored = [pictured("21", "a", "a", ""), pictured("22", "b", "c", "d", "e")]
        lease = await self._apply(claimed, batch(*stored))
        await self._switch(shop, "quality", "category")
        await self._analysis.backfill(shop)
        changed = batch(pictured("21", "a", "f", ""), pictured("23", "g"), checkpoint=b"2")
        lease = await self._apply(replace(claimed, lease=lease), changed)
        unneeded = batch(pictured("24", "h"), checkpoint=b"3")
        lease = await self._apply(replace(claimed, lease=lease), unneeded)
        lease = await self._apply(
            replace(claimed, lease=lease), batch(deleted_product_ids=["24"], checkpoint=b"4")
        )
        await self._succeed(claimed, lease)
        await self._analysis.work(shop)
        await self._analysis.reads(shop)
        item = await self._items.get(shop, "21-1")
        assert item is not None
        assert item.analysis is not None
        assert item.analysis.results
        await self._items.page(shop, ItemFilter(analysis_state=AnalysisState.FAILED), after=None, limit=9)
        assert (await self._status.get(shop, _DEFAULTS)).counts.analysis
        await self._switch(shop, "quality")
        await self._analysis.backfill(shop)

    async def _switch(self, shop: Shop, *analyzers: str) -> None:
        change = ShopChange(fields=frozenset({ShopField.ANALYZERS}), analyzers=analyzers)
        await self._directory.update(shop, change, _DEFAULTS)

    async def _refresh(self, key: ShopKey) -> None:
        """Refreshes outside of a sync and beside one, with each of their ends."""
        shop = await self._shops.find(key)
        assert shop is not None
        await self._start(key, allow_mass_delete=True)
        loaded = await self._claim()
        await self._leases.begin(loaded.lease, DOLLARS)
        await self._succeed(loaded, await self._apply(loaded, batch(product("2", items=4))))
        # The deletion guard counts those of the last day.
        await self._outside_execute(
            "UPDATE item SET deleted_at = now() - interval '2 days' WHERE deleted_at < now()"
        )
        await self._request(shop, "2", variants=("3-1",))
        assert (await self._refresh_requests.pending()).count >= 2
        queued = await self._claim_refresh(shop)
        claim = await self._refreshes.take(queued, limit=9)
        assert claim is not None
        await self._request(shop, "3")
        await self._refreshes.write(claim, batch(pictured("2", "i", "", ""), deleted_product_ids=["3"]))
        await self._refreshes.finish(queued)
        await self._refreshes.release(await self._claim_refresh(shop))
        await self._refreshes.fail(await self._claim_refresh(shop), delay=timedelta(), wanted_sync=SyncMode.FULL)
        wanting = await self._claim_refresh(shop)
        await self._refreshes.sync_started(wanting)
        await self._refreshes.take(wanting, limit=9)
        await self._refreshes.leave_to_sync(wanting, None)
        await self._refreshes.finish(await self._claim_refresh(shop))

        await self._start(key, allow_mass_delete=True)
        running = await self._claim()
        await self._leases.begin(running.lease, DOLLARS)
        await self._request(shop, "1", "2")
        queued = await self._claim_refresh(shop)
        claim = await self._refreshes.take(queued, limit=9)
        assert claim is not None
        assert (await self._refreshes.write(claim, batch(product("2", items=3, title="Scarf")))).stored == 1
        stock = StockLevel(item_id="2-1", stock_quantity=7, available=True)
        lease = await self._apply(running, replace(batch(product("2")), stock_levels=(stock,)))
        await self._sweeps.step(lease, running.sync.shop)
        await self._refreshes.finish(queued)
        await self._request(shop, "5", "6", "7", "8")
        await self._commands.cancel(running.sync.sync_id)

    async def _audit(self, key: ShopKey) -> None:
        """An audit that finds a falsified product, a deleted one, and wrong counters, outside of a sync."""
        shop = await self._shops.find(key)
        assert shop is not None
        assert await self._audit_records.due(interval=timedelta(days=1), limit=9)
        await self._audit_records.begin(shop)
        sample = await self._audits.sample(shop, size=9, seed=1)
        product_id = sample.product_ids[0]
        await self._outside_execute(
            "UPDATE product SET title = 'x' WHERE shop_id = :id AND product_id = :product_id",
            id=shop.shop_id,
            product_id=product_id,
        )
        await self._audits.state(shop, [product_id], ["2-1"])
        await self._outside_execute("DELETE FROM product_refresh WHERE shop_id = :id", id=shop.shop_id)
        claim = await self._audits.take(shop, uuid4(), [product_id, "gone"])
        assert claim.product_ids
        read = batch(pictured(product_id, "j"), deleted_product_ids=["gone"])
        settled = await self._audits.settle(claim, read, suspected={product_id}, overlap=timedelta())
        assert settled.result.repaired == 1
        await self._audits.release(claim)
        await self._outside_execute(
            "UPDATE shop_state SET product_count = product_count + 1 WHERE shop_id = :id", id=shop.shop_id
        )
        await self._audits.correct_counters(shop)
        await self._audits.request_full_sync(shop)
        await self._audit_records.end(shop, settled.result)

    async def _webhooks(self, key: ShopKey) -> None:
        """Checks of webhooks: one that does not begin, one that fails, and one that repairs."""
        shop = await self._shops.find(key)
        assert shop is not None
        await self._webhook_records.due(
            interval=timedelta(days=1), retry_interval=timedelta(hours=1), platforms=[key.platform], limit=9
        )
        await self._request(shop, variants=("unknown",))
        await self._webhook_records.postpone(shop)
        await self._webhook_records.failed(shop, ShopNotFound(key), must_retry=False)
        await self._webhook_records.repaired(shop, EnsuredWebhooks(active=3, inactive=0, repaired=1))
        with self.recorder.step("webhook silence"):

            async def silence(connection: AsyncConnection) -> None:
                await record_unannounced(connection, shop.shop_id, since=datetime(2000, 1, 1, tzinfo=UTC))
                await expire_silence(connection, shop.shop_id)

            await self._database.write(silence, shops=[shop.shop_id])

    async def _request(self, shop: Shop, *product_ids: str, variants: tuple[str, ...] = ()) -> None:
        request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=product_ids, variant_ids=variants)
        await self._refresh_requests.add(shop, request)

    async def _claim_refresh(self, shop: Shop) -> QueuedRefresh:
        """Claim the shop, which is due now, and no other one."""
        await self._outside_execute(
            "UPDATE refresh_queue SET due_at = CASE shop_id WHEN :id THEN now() ELSE now() + interval '1 h' END",
            id=shop.shop_id,
        )
        (queued,) = await self._refreshes.claim(limit=1)
        return queued

    async def _delete(self, key: ShopKey) -> None:
        """The deletion of a shop that has rows in all tables."""
        await self._start(key, request_id=str(uuid4()))
        shop = await self._shops.find(key)
        assert shop is not None
        begun, cancelled = await self._deletions.begin(shop)
        assert cancelled is not None
        assert (await self._deletions.begin(shop))[0] == begun
        assert (
            await self._shops.find_deleting(key) == await self._shops.find_deleting(shop.shop_id) == shop.shop_id
        )
        assert await self._deletions.active(limit=9) == [shop.shop_id]
        assert await self._deletions.acquire(ttl=_TTL)
        while await self._deletions.purge(shop.shop_id):
            assert await self._deletions.find(key)
        await self._deletions.release()
        assert await self._deletions.find(shop.shop_id)

    async def _purge(self) -> None:
        """Retention, of rows that are old enough now."""
        await self._outside_execute(
            "UPDATE item SET deleted_at = now() - interval '1 year' WHERE deleted_at < now()"
        )
        await self._outside_execute(
            "UPDATE product SET deleted_at = now() - interval '1 year' WHERE deleted_at < now()"
        )
        await self._outside_execute("UPDATE shop_state SET oldest_tombstone_at = now() - interval '1 year'")
        for table, column in (("sync_history", "ended_at"), ("sync_issue", "created_at")):
            await self._outside_execute(
                f"UPDATE {table} SET {column} = '2019-06-01' WHERE (shop_id, sync_id) ="
                f" (SELECT shop_id, sync_id FROM {table} LIMIT 1)"
            )
        await self._outside_execute(
            "CREATE TABLE sync_issue_2020_01 PARTITION OF sync_issue"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
        )
        assert await self._retention.acquire(ttl=_TTL)
        assert await self._retention.drop_partitions(older_than=_TTL) == 1
        await self._retention.create_partitions()
        assert await self._retention.purge_unpartitioned(older_than=timedelta()) == 2
        assert await self._retention.purge_requests(older_than=timedelta())
        for _ in range(2):
            assert await self._retention.purge_seen()
        for _ in SHOPS:
            assert await self._retention.purge_deleted(older_than=timedelta(days=90))

    async def _start(self, shop: ShopKey, *, mode: SyncMode = SyncMode.FULL, **more: Any) -> Sync:
        return await self._commands.start(StartSyncCommand(shop=shop, mode=mode, overlap=timedelta(), **more))

    async def _claim(self) -> ClaimedSync:
        (claimed,) = await self._leases.claim(limit=2)
        return claimed

    async def _apply(self, claimed: ClaimedSync, what: SourceBatch) -> Lease:
        full = claimed.sync.mode is SyncMode.FULL
        lease, _ = await self._batches.apply(
            claimed.lease, claimed.sync.shop, what, full=full, items_per_second=1.0
        )
        return lease

    async def _succeed(self, claimed: ClaimedSync, lease: Lease) -> Sync:
        """End the pass and the sync."""
        await self._sweeps.unstored(lease, after="", limit=10)
        lease, _ = await self._sweeps.step(lease, claimed.sync.shop)
        ended = await self._leases.end(lease, SyncState.SUCCEEDED)
        await self._sweeps.finalize(lease)
        return ended

    @asynccontextmanager
    async def _locked_shops(self) -> AsyncIterator[AsyncConnection]:
        """Hold the write locks of all shops."""
        async with self._outside.begin() as connection:
            await connection.execute(text("SELECT FROM shop_state FOR UPDATE"))
            yield connection

    async def _outside_execute(self, statement: str, **values: object) -> None:
        async with self._outside.begin() as connection:
            await connection.execute(text(statement), values)
