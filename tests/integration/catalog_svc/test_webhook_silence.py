"""Silent webhooks: which syncs find them out, that the shop is synced more often meanwhile, and what ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from catalog_svc.domain.refresh import RefreshReason, RefreshRequest
from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncMode, SyncState
from catalog_svc.domain.webhook_health import EnsuredWebhooks, WebhookHealth, WebhookState
from catalog_svc.storage.database import Database
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.shop_webhooks import WebhookRecordStore
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.scheduling import DAY, HOUR, MINUTE, Replica, make_due, stored

DEFAULTS = ScheduleDefaults(incremental_every=6 * HOUR, full_every=DAY, silent_every=15 * MINUTE)


class Silence:
    """A replica over a database with one synced shop, whose source is in memory."""

    def __init__(self, world: CatalogWorld) -> None:
        database = Database(world.engine)
        self.world = world
        self.source = MemorySource([product("1"), product("2")])
        self.requests = RefreshRequestStore(database)
        self.records = WebhookRecordStore(database)
        self.directory = ShopDirectoryStore(database)
        self.replica = Replica(world, DEFAULTS)
        self._prices = iter(range(1, 1_000))

    async def shop(self) -> Shop:
        shop = await self.world.shops.find(SHOP)
        assert shop is not None
        return shop

    async def deliver(self, product_id: str = "1", reason: RefreshReason = RefreshReason.WEBHOOK) -> None:
        await self.requests.add(await self.shop(), RefreshRequest(reason=reason, product_ids=(product_id,)))

    async def deliver_long_ago(self) -> None:
        """Leave the shop with webhooks that delivered for the last time an hour ago."""
        await self.deliver()
        await self.age("1 h")

    async def age(self, interval: str) -> None:
        """Let what is known of the webhooks be older by this interval."""
        await self.world.execute(
            f"""UPDATE shop_webhooks SET known_since = known_since - interval '{interval}',
                delivered_at = delivered_at - interval '{interval}',
                attempted_at = attempted_at - interval '{interval}'"""
        )
        await self.world.execute(
            f"UPDATE shop_schedule SET unannounced_at = unannounced_at - interval '{interval}'"
        )

    async def find_change(self, mode: SyncMode = SyncMode.INCREMENTAL) -> Sync:
        """Run a sync that finds a changed product."""
        self.source.products[0] = product("1", price=f"{next(self._prices)}.00")
        return await self.find_nothing(mode)

    async def find_nothing(self, mode: SyncMode = SyncMode.INCREMENTAL) -> Sync:
        sync = await self.world.sync(self.source, mode)
        assert (sync.state, sync.mode) == (SyncState.SUCCEEDED, mode)
        return sync

    async def health(self) -> WebhookHealth:
        details = await self.directory.get(SHOP, DEFAULTS)
        assert details is not None
        return details.webhooks

    async def state(self) -> WebhookState:
        return (await self.health()).state

    async def next_incremental(self) -> timedelta:
        """Let the scheduler plan, and return how soon the next incremental sync is due."""
        await self.replica.tick()
        row = await stored(self.world)
        return _remaining(row)


def _remaining(row: Mapping[Any, Any]) -> timedelta:
    due_at, now = row["incremental_due_at"], row["now"]
    assert isinstance(due_at, datetime)
    assert isinstance(now, datetime)
    return due_at - now


@pytest.fixture
async def silence(world: CatalogWorld) -> Silence:
    found = Silence(world)
    await found.find_nothing(SyncMode.FULL)
    # A due time in the far future is one that a shorter interval must change.
    await found.replica.tick()
    await world.execute("UPDATE shop_schedule SET incremental_due_at = clock_timestamp() + interval '5 h'")
    return found


async def test_a_shop_whose_webhooks_announce_nothing_is_synced_more_often_until_one_delivers(
    silence: Silence,
) -> None:
    await silence.deliver_long_ago()
    assert await silence.next_incremental() > 4 * HOUR
    await silence.find_change()
    assert await silence.state() is WebhookState.SILENT
    assert await silence.next_incremental() <= 15 * MINUTE
    await make_due(silence.world, "incremental")
    assert len(await silence.replica.tick()) == 1
    assert 13 * MINUTE < _remaining(await stored(silence.world)) <= 15 * MINUTE
    await silence.deliver()
    assert await silence.state() is WebhookState.ACTIVE
    await make_due(silence.world, "incremental")
    await silence.world.supervisor(silence.source).run(await silence.world.claim())
    assert len(await silence.replica.tick()) == 1
    assert _remaining(await stored(silence.world)) > 5 * HOUR


async def test_a_delivery_within_the_time_of_the_changes_announces_them(silence: Silence) -> None:
    """A sync and a refresh may store the same change, whichever is first."""
    await silence.deliver()
    await silence.world.execute("UPDATE shop_webhooks SET known_since = known_since - interval '1 h'")
    await silence.find_change()
    assert await silence.state() is WebhookState.ACTIVE
    assert await silence.next_incremental() > 4 * HOUR


async def test_a_shop_without_webhooks_is_not_silent(silence: Silence) -> None:
    await silence.find_change()
    assert await silence.state() is WebhookState.UNSPECIFIED
    assert (await stored(silence.world))["unannounced_at"] is None


async def test_webhooks_are_not_blamed_for_changes_from_before_they_existed(silence: Silence) -> None:
    await silence.records.repaired(await silence.shop(), EnsuredWebhooks(active=3, inactive=0, repaired=3))
    await silence.find_change()
    assert await silence.state() is WebhookState.ACTIVE
    await silence.age("1 h")
    await silence.find_change()
    assert await silence.state() is WebhookState.SILENT


async def test_only_an_incremental_sync_that_found_something_says_that_webhooks_are_silent(
    silence: Silence,
) -> None:
    """A full sync also finds what no platform dates or announces."""
    await silence.deliver_long_ago()
    await silence.find_nothing()
    await silence.find_change(SyncMode.FULL)
    assert await silence.state() is WebhookState.ACTIVE


async def test_a_refresh_that_an_audit_requests_is_no_delivery(silence: Silence) -> None:
    await silence.deliver_long_ago()
    await silence.find_change()
    await silence.deliver(reason=RefreshReason.AUDIT)
    assert await silence.state() is WebhookState.SILENT


async def test_after_a_day_without_unannounced_changes_webhooks_are_not_silent(silence: Silence) -> None:
    await silence.deliver_long_ago()
    await silence.find_change()
    await silence.find_nothing()
    assert await silence.state() is WebhookState.SILENT
    await silence.age("25 h")
    await silence.find_nothing()
    assert await silence.state() is WebhookState.ACTIVE


async def test_a_repair_ends_the_silence_and_a_check_that_finds_nothing_to_repair_does_not(
    silence: Silence,
) -> None:
    await silence.deliver_long_ago()
    await silence.find_change()
    shop = await silence.shop()
    await silence.records.repaired(shop, EnsuredWebhooks(active=3, inactive=0, repaired=0))
    assert await silence.state() is WebhookState.SILENT
    await silence.records.repaired(shop, EnsuredWebhooks(active=3, inactive=0, repaired=1))
    health = await silence.health()
    assert (health.state, health.repaired_count) == (WebhookState.ACTIVE, 1)
    # If that was not the cause, the next unannounced change says so.
    await silence.age("1 h")
    await silence.find_change()
    assert await silence.state() is WebhookState.SILENT


async def test_a_silence_that_begins_while_the_scheduler_plans_is_planned_next(silence: Silence) -> None:
    await silence.deliver_long_ago()
    await silence.world.execute("UPDATE shop_schedule SET planned_full_interval = NULL")
    schedules = ScheduleStore(Database(silence.world.engine))
    (read,) = await schedules.unplanned(limit=9)
    await silence.find_change()
    await _plan(schedules, read)
    assert await silence.next_incremental() <= 15 * MINUTE


async def _plan(schedules: ScheduleStore, read: ScheduledShop) -> None:
    planned = read.schedule.planned(DEFAULTS, read.now)
    await schedules.plan(read.shop, old=read.schedule, new=planned, defaults=DEFAULTS)


async def test_deliveries_write_their_time_once_a_minute(silence: Silence) -> None:
    """Two hundred deliveries a second would otherwise write one row two hundred times."""
    await silence.deliver()
    (first,) = await silence.world.rows("SELECT xmin, delivered_at FROM shop_webhooks")
    for _ in range(5):
        await silence.deliver()
    assert await silence.world.rows("SELECT xmin, delivered_at FROM shop_webhooks") == [first]
    await silence.age("61 s")
    await silence.deliver()
    (last,) = await silence.world.rows("SELECT delivered_at FROM shop_webhooks")
    assert last["delivered_at"] >= first["delivered_at"]


def test_a_shorter_interval_and_one_of_never_stay_as_they_are(world: CatalogWorld) -> None:
    silent = StoredSchedule(unannounced_at=datetime.now().astimezone())
    assert silent.incremental_interval(DEFAULTS) == 15 * MINUTE
    assert silent.effective(DEFAULTS).incremental_every == 6 * HOUR
    assert replace(silent, incremental_every=MINUTE).incremental_interval(DEFAULTS) == MINUTE
    assert replace(silent, incremental_every=timedelta()).incremental_interval(DEFAULTS) == timedelta()
    off = replace(DEFAULTS, silent_every=timedelta())
    assert silent.incremental_interval(off) == 6 * HOUR
