"""The sync of a due shop is started once, by one replica, and never against the shop's own schedule."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import ShopNotFound, SourceFailed, StorageUnavailable, SyncAlreadyRunning
from catalog_svc.domain.schedule import (
    ScheduleChange,
    ScheduleDefaults,
    ScheduledShop,
    ShopSchedule,
    StoredSchedule,
)
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig, SetSchedule
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.waiting import forever, within_timeout

T = TypeVar("T")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFF = ScheduleDefaults()
BOTH = ScheduleDefaults(incremental_every=HOUR, full_every=DAY)
DAILY = ScheduleDefaults(full_every=DAY)
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)


class Replica:
    """One replica's scheduler over the world's database."""

    def __init__(
        self,
        world: CatalogWorld,
        defaults: ScheduleDefaults = OFF,
        *,
        store: type[ScheduleStore] = ScheduleStore,
        commands: SyncCommandStore | None = None,
        loop: type[Scheduler] = Scheduler,
        **config: Any,
    ) -> None:
        self.world = world
        database = Database(world.engine)
        self.schedules = store(database)
        self.woken = 0
        read = ReadCatalog(
            shops=world.shops,
            items=world.items,
            statuses=StatusStore(database),
            platforms=KnownPlatforms(),
            defaults=defaults,
        )
        self.status = read.status
        self.set = SetSchedule(read=read, schedules=self.schedules, defaults=defaults)
        self.scheduler = loop(
            schedules=self.schedules,
            commands=commands or world.commands,
            drain=world.drain,
            wake_worker=self._wake,
            defaults=defaults,
            overlap=5 * MINUTE,
            config=SchedulerConfig(**config),
            metrics=NullSyncMetrics(),
        )

    def _wake(self) -> None:
        self.woken += 1

    async def tick(self) -> list[Sync]:
        """Return the syncs that this tick started, in the order of their starts."""
        before = {sync.sync_id for sync in await self._syncs()}
        await self.scheduler.tick()
        return [sync for sync in reversed(await self._syncs()) if sync.sync_id not in before]

    async def _syncs(self) -> list[Sync]:
        return await self.world.syncs.page(shop=None, states=(), before=None, limit=500)


async def synced(world: CatalogWorld) -> None:
    """Register the shop and sync it completely."""
    assert (await world.sync(MemorySource([product("1")]))).state is SyncState.SUCCEEDED


async def run_claimed(world: CatalogWorld, source: MemorySource | None = None) -> None:
    """Run the one claimable sync to its end."""
    await world.supervisor(source or MemorySource([product("1")])).run(await world.claim())


async def register(world: CatalogWorld, *shops: ShopKey) -> None:
    """Register shops without an active sync."""
    for shop in shops:
        created = await world.create_sync(shop)
        await world.commands.cancel(created.sync_id)


def shopify(count: int) -> list[ShopKey]:
    return [ShopKey("shopify", f"s{n}.myshopify.com") for n in range(count)]


async def make_due(world: CatalogWorld, *kinds: str, ago: str = "1 s", platform: str = "%") -> None:
    """Make these kinds of syncs due for all shops of the platform."""
    for kind in kinds:
        await world.execute(
            f"""UPDATE shop_schedule SET {kind}_due_at = clock_timestamp() - interval '{ago}'
                WHERE platform LIKE :platform""",
            platform=platform,
        )


async def make_longest_due(world: CatalogWorld, *shops: ShopKey) -> None:
    await world.execute(
        """UPDATE shop_schedule SET full_due_at = full_due_at - interval '1 h' FROM shop
           WHERE shop.shop_id = shop_schedule.shop_id AND shop.domain = ANY(:domains)""",
        domains=[shop.domain for shop in shops],
    )


async def stored(world: CatalogWorld) -> Mapping[Any, Any]:
    (row,) = await world.rows("SELECT *, clock_timestamp() AS now FROM shop_schedule")
    return row


async def test_without_a_schedule_no_sync_starts(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    assert await replica.tick() == []
    row = await stored(world)
    assert (row["incremental_due_at"], row["full_due_at"], row["next_due_at"]) == (None, None, None)
    schedule = (await replica.status(SHOP)).schedule
    assert schedule == ShopSchedule(
        incremental_every=timedelta(),
        full_every=timedelta(),
        incremental_is_default=True,
        full_is_default=True,
        paused=False,
        next_due_at=None,
    )


async def test_a_due_shop_gets_a_sync_and_its_next_due_time(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    await replica.set(SHOP, ScheduleChange(incremental_every=15 * MINUTE))
    assert await replica.tick() == []
    await make_due(world, "incremental")
    (sync,) = await replica.tick()
    assert (sync.trigger, sync.mode, sync.state) == (
        SyncTrigger.SCHEDULE,
        SyncMode.INCREMENTAL,
        SyncState.PENDING,
    )
    assert sync.correlation_id
    assert replica.woken == 1
    row = await stored(world)
    assert timedelta(minutes=13) < row["incremental_due_at"] - row["now"] <= 15 * MINUTE
    await run_claimed(world)
    assert await replica.tick() == []


async def test_a_due_full_sync_counts_as_an_incremental_one_too(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental", "full")
    (sync,) = await replica.tick()
    assert sync.mode is SyncMode.FULL
    row = await stored(world)
    assert row["incremental_due_at"] > row["now"] + 50 * MINUTE
    assert row["full_due_at"] > row["now"] + 20 * HOUR


async def test_the_incremental_turn_of_a_shop_without_watermark_is_a_full_sync_and_its_full_turn(
    world: CatalogWorld,
) -> None:
    await register(world, SHOP)
    replica = Replica(world, BOTH)
    await replica.tick()
    await world.execute("UPDATE shop_schedule SET full_due_at = clock_timestamp() + interval '1 min'")
    await make_due(world, "incremental")
    (sync,) = await replica.tick()
    assert sync.mode is SyncMode.FULL
    row = await stored(world)
    assert row["incremental_due_at"] > row["now"] + 50 * MINUTE
    assert row["full_due_at"] > row["now"] + 20 * HOUR


async def test_an_incremental_turn_keeps_the_due_time_of_the_full_one(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    full_due_at = (await stored(world))["full_due_at"]
    (sync,) = await replica.tick()
    assert sync.mode is SyncMode.INCREMENTAL
    assert (await stored(world))["full_due_at"] == full_due_at


async def test_scheduled_turns_store_no_idempotency_keys(world: CatalogWorld) -> None:
    """Three million rows a day at 100,000 shops, which nobody would ever look up."""
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    for _ in range(3):
        await make_due(world, "incremental")
        assert len(await replica.tick()) == 1
        await run_claimed(world)
    assert await world.rows("SELECT 1 FROM idempotency_key") == []


async def test_the_schedule_of_a_shop_overrides_the_default_and_can_be_reset(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    own = await replica.set(SHOP, ScheduleChange(incremental_every=5 * MINUTE))
    assert (own.incremental_every, own.incremental_is_default) == (5 * MINUTE, False)
    assert (own.full_every, own.full_is_default) == (DAY, True)
    assert own.next_due_at is not None
    assert own.next_due_at <= datetime.now(UTC) + 6 * MINUTE
    never = await replica.set(SHOP, ScheduleChange(incremental_every=timedelta(), full_every=timedelta()))
    assert never.next_due_at is None
    assert await replica.tick() == []
    back = await replica.set(SHOP, ScheduleChange(reset=True, paused=True))
    assert (back.incremental_every, back.incremental_is_default, back.paused) == (HOUR, True, True)


async def test_a_change_keeps_the_fields_that_it_does_not_name(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    await replica.set(SHOP, ScheduleChange(incremental_every=HOUR, paused=True))
    after = await replica.set(SHOP, ScheduleChange(full_every=DAY))
    assert (after.incremental_every, after.full_every, after.paused) == (HOUR, DAY, True)
    assert (await replica.status(SHOP)).schedule == after


async def test_a_paused_shop_is_not_synced_until_its_pause_ends(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    paused = await replica.set(SHOP, ScheduleChange(paused=True))
    assert paused.next_due_at is None
    await make_due(world, "incremental")
    assert await replica.tick() == []
    await replica.set(SHOP, ScheduleChange(paused=False))
    assert len(await replica.tick()) == 1


async def test_an_unknown_shop_has_no_schedule(world: CatalogWorld) -> None:
    with pytest.raises(ShopNotFound):
        await Replica(world).set(SHOP, ScheduleChange(full_every=DAY))


async def test_shops_under_a_default_are_planned_by_one_tick_and_spread_over_its_interval(
    world: CatalogWorld,
) -> None:
    await register(world, *shopify(60))
    await Replica(world, ScheduleDefaults(incremental_every=HOUR), batch_size=25).scheduler.tick()
    rows = await world.rows("SELECT incremental_due_at - clock_timestamp() AS left FROM shop_schedule")
    minutes = sorted(row["left"] / MINUTE for row in rows)
    assert len(minutes) == 60
    assert -1 < minutes[0] < 15
    assert 45 < minutes[-1] <= 60
    for quarter in range(4):
        assert sum(15 * quarter <= m < 15 * quarter + 15 for m in minutes) >= 3


async def test_a_shop_that_is_registered_later_is_planned_too(world: CatalogWorld) -> None:
    replica = Replica(world, BOTH)
    await replica.tick()
    await synced(world)
    await replica.tick()
    row = await stored(world)
    assert (row["planned_incremental_interval"], row["planned_full_interval"]) == (HOUR, DAY)
    assert row["next_due_at"] is not None


async def test_due_times_that_coincide_are_spread_again(world: CatalogWorld) -> None:
    await register(world, *shopify(15))
    replica = Replica(world, ScheduleDefaults(incremental_every=HOUR))
    await replica.tick()
    await make_due(world, "incremental")
    assert len(await replica.tick()) == 15
    rows = await world.rows("SELECT incremental_due_at - clock_timestamp() AS left FROM shop_schedule")
    left = [row["left"] for row in rows]
    assert max(left) <= HOUR
    assert max(left) - min(left) > MINUTE


async def test_a_changed_default_takes_effect_before_the_old_due_time(world: CatalogWorld) -> None:
    await synced(world)
    await Replica(world, ScheduleDefaults(full_every=30 * DAY)).tick()
    await Replica(world, ScheduleDefaults(incremental_every=HOUR, full_every=DAY)).tick()
    row = await stored(world)
    assert row["incremental_due_at"] <= row["now"] + HOUR
    assert row["full_due_at"] <= row["now"] + DAY
    await Replica(world, OFF).tick()
    row = await stored(world)
    assert (row["incremental_due_at"], row["full_due_at"]) == (None, None)


async def test_a_restart_under_the_same_defaults_keeps_the_due_times(world: CatalogWorld) -> None:
    await synced(world)
    await Replica(world, BOTH).tick()
    before = await stored(world)
    await Replica(world, BOTH).tick()
    after = await stored(world)
    assert (after["incremental_due_at"], after["full_due_at"]) == (
        before["incremental_due_at"],
        before["full_due_at"],
    )


async def test_a_shop_with_an_active_sync_is_postponed_and_gets_no_second_sync(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    active = await world.create_sync()
    await make_due(world, "incremental")
    due_at = (await stored(world))["incremental_due_at"]
    assert await replica.tick() == []
    row = await stored(world)
    assert row["incremental_due_at"] == due_at
    assert row["now"] < row["next_due_at"] <= row["now"] + MINUTE
    # The end of that sync makes the shop due again.
    await world.commands.cancel(active.sync_id)
    assert len(await replica.tick()) == 1


async def test_a_shop_whose_active_sync_stores_a_batch_does_not_hold_up_the_scheduler(world: CatalogWorld) -> None:
    """The batch holds the shop's write lock."""
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await world.create_sync()
    await make_due(world, "incremental")
    async with world.engine.begin() as batch:
        await batch.exec_driver_sql("SELECT 1 FROM shop_state FOR UPDATE")
        assert await within_timeout(replica.tick()) == []
    assert (await stored(world))["not_before"] is not None


async def test_a_start_for_a_shop_with_an_active_sync_leaves_its_schedule_as_it_was(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    (due,) = await replica.schedules.due(most_per_platform=5, limit=5)
    await world.create_sync()
    before = await stored(world)

    def never_planned(_mode: SyncMode) -> StoredSchedule:
        return StoredSchedule()

    command = StartSyncCommand(shop=SHOP, mode=SyncMode.FULL, overlap=MINUTE, trigger=SyncTrigger.SCHEDULE)
    with pytest.raises(SyncAlreadyRunning):
        await world.commands.start_due(due, command, never_planned)
    assert {**await stored(world), "now": None} == {**before, "now": None}


async def test_of_many_replicas_that_see_the_same_due_shops_each_shop_is_started_by_one(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    replica_count, shop_count = 4, 6
    await register(world, *shopify(shop_count))
    await Replica(world, DAILY).tick()
    all_have_seen = asyncio.Barrier(replica_count)

    class Racing(ScheduleStore):
        async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
            seen = await super().due(most_per_platform=most_per_platform, limit=limit)
            assert len(seen) == shop_count
            await all_have_seen.wait()
            return seen

    replicas = [Replica(CatalogWorld(engine), DAILY, store=Racing) for _ in range(replica_count)]
    for round_ in range(1, 4):
        await make_due(world, "full")
        await asyncio.gather(*(replica.scheduler.tick() for replica in replicas))
        assert sum(replica.woken for replica in replicas) == round_ * shop_count
        active = await world.rows("SELECT sync_id, shop_id FROM sync WHERE state = 'PENDING'")
        assert len(active) == len({row["shop_id"] for row in active}) == shop_count
        for row in active:
            await world.commands.cancel(row["sync_id"])
    rows = await world.rows("SELECT last_sync_number FROM shop_state")
    assert {row["last_sync_number"] for row in rows} == {1 + 3}


@pytest.mark.parametrize(
    "change",
    [
        ScheduleChange(paused=True),
        ScheduleChange(full_every=timedelta()),
        ScheduleChange(incremental_every=2 * HOUR),
    ],
    ids=["pause", "no full syncs", "another interval"],
)
async def test_a_schedule_that_is_changed_after_it_was_read_is_not_overwritten(
    world: CatalogWorld, change: ScheduleChange
) -> None:
    await synced(world)
    await Replica(world, BOTH).tick()
    await make_due(world, "incremental")
    user = Replica(world, BOTH)
    changed: list[ShopSchedule] = []

    class ReadsBeforeTheChange(ScheduleStore):
        async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
            seen = await super().due(most_per_platform=most_per_platform, limit=limit)
            changed.append(await user.set(SHOP, change))
            return seen

    replica = Replica(world, BOTH, store=ReadsBeforeTheChange)
    assert await replica.tick() == []
    assert (await replica.status(SHOP)).schedule == changed[0]
    assert len(await user.tick()) == (0 if change.paused else 1)


async def test_a_broken_shop_is_tried_again_a_day_after_its_failure_only(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    (sync,) = await replica.tick()
    source = MemorySource([product("1")])
    source.failures = {0: [REVOKED]}
    await run_claimed(world, source)
    (ended,) = await world.rows("SELECT ended_at FROM sync WHERE sync_id = :id", id=sync.sync_id)
    row = await stored(world)
    assert timedelta() <= row["next_due_at"] - ended["ended_at"] - DAY < MINUTE
    assert (await replica.status(SHOP)).schedule.next_due_at == row["next_due_at"]
    await make_due(world, "incremental", "full")
    assert await replica.tick() == []
    await world.execute("UPDATE shop_schedule SET not_before = clock_timestamp()")
    assert len(await replica.tick()) == 1


@pytest.mark.parametrize("ends", ["success", "transient failure", "cancel"])
async def test_a_shop_is_due_again_at_once_when_a_later_sync_shows_that_it_is_not_broken(
    world: CatalogWorld, ends: str
) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    source = MemorySource([product("1")])
    source.failures = {0: [REVOKED]}
    await world.sync(source)
    await make_due(world, "incremental")
    assert (await stored(world))["not_before"] is not None
    requested = await world.create_sync()
    if ends == "cancel":
        await world.commands.cancel(requested.sync_id)
    else:
        unreachable = SourceFailed(reason="SOURCE_UNREACHABLE", message="no answer", transient=False)
        source.failures = {0: [unreachable]} if ends == "transient failure" else {}
        await run_claimed(world, source)
    assert (await stored(world))["not_before"] is None
    assert len(await replica.tick()) == 1


async def test_a_transient_failure_keeps_the_schedule(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    before = await stored(world)
    source = MemorySource([product("1")])
    source.failures = {0: [SourceFailed(reason="SOURCE_UNREACHABLE", message="no answer", transient=False)]}
    assert (await world.sync(source)).state is SyncState.FAILED
    assert (await stored(world))["next_due_at"] == before["next_due_at"]


async def test_the_number_of_scheduled_syncs_that_wait_for_a_worker_is_bounded(world: CatalogWorld) -> None:
    await register(world, *shopify(7))
    replica = Replica(world, DAILY, max_pending_per_platform=3)
    await replica.tick()
    await make_due(world, "full")
    # A requested sync is no scheduled one.
    await world.create_sync(ShopKey("shopify", "created.myshopify.com"))
    assert len(await replica.tick()) == 3
    assert await replica.tick() == []
    assert len(await world.leases.claim(limit=4)) == 4
    assert len(await replica.tick()) == 3


async def test_the_longest_due_shops_come_first(world: CatalogWorld) -> None:
    await register(world, *shopify(4))
    replica = Replica(world, DAILY, max_pending_per_platform=2, concurrency=1)
    await replica.tick()
    await world.execute(
        """UPDATE shop_schedule SET full_due_at = clock_timestamp()
               - CAST(substr(shop.domain, 2, 1) AS integer) * interval '1 s' - interval '1 s'
           FROM shop WHERE shop.shop_id = shop_schedule.shop_id"""
    )
    started = await replica.tick()
    assert [sync.shop.key.domain for sync in started] == ["s3.myshopify.com", "s2.myshopify.com"]


async def test_a_platform_whose_scheduled_syncs_are_pending_delays_no_other_platform(world: CatalogWorld) -> None:
    await register(world, *shopify(3), *(ShopKey("woocommerce", f"w{number}.example") for number in range(4)))
    replica = Replica(world, DAILY, max_pending_per_platform=2)
    await replica.tick()
    await make_due(world, "full")
    await make_due(world, "full", ago="1 h", platform="woocommerce")
    started = await replica.tick()
    assert Counter(sync.shop.key.platform for sync in started) == {"woocommerce": 2, "shopify": 2}
    # No worker claims the WooCommerce syncs: their platform is at its limit.
    for sync in started:
        if sync.shop.key.platform == "shopify":
            await world.commands.cancel(sync.sync_id)
    (last,) = await replica.tick()
    assert last.shop.key.platform == "shopify"


async def test_a_backlog_of_many_batches_is_worked_off_without_waiting_for_the_next_poll(
    world: CatalogWorld,
) -> None:
    shops = shopify(11)
    await register(world, *shops)
    # The first batch is whole though one of its syncs cannot be started.
    await world.create_sync(shops[0])
    await Replica(world, DAILY).tick()
    await make_due(world, "full")
    await make_longest_due(world, shops[0])
    polled = False

    class PollsOnce(Scheduler):
        async def _sleep(self) -> None:
            nonlocal polled
            if polled:
                await forever()
            polled = True

    replica = Replica(world, DAILY, loop=PollsOnce, batch_size=3)
    running = asyncio.create_task(replica.scheduler.run())
    await until(lambda: replica.woken == 10)
    world.drain.start()
    await within_timeout(running)


async def test_the_loop_survives_an_unavailable_database_and_ends_with_the_drain(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await synced(world)
    await Replica(world, BOTH).tick()
    await make_due(world, "incremental")

    class UnavailableOnce(ScheduleStore):
        calls = 0

        async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
            self.calls += 1
            if self.calls == 1:
                raise StorageUnavailable
            return await super().due(most_per_platform=most_per_platform, limit=limit)

    replica = Replica(world, BOTH, store=UnavailableOnce, poll_interval=timedelta(milliseconds=10))
    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(replica.scheduler.run())
        await until(lambda: replica.woken == 1)
    world.drain.start()
    await within_timeout(running)
    assert "the database is unavailable" in caplog.text


async def test_a_drain_in_the_middle_of_a_batch_starts_no_further_sync(world: CatalogWorld) -> None:
    await register(world, *shopify(5))
    await Replica(world, DAILY).tick()
    await make_due(world, "full")

    class DrainsDuringAStart(SyncCommandStore):
        async def start_due(self, *arguments: Any) -> Sync | None:
            world.drain.start()
            return await super().start_due(*arguments)

    commands = DrainsDuringAStart(Database(world.engine))
    replica = Replica(world, DAILY, commands=commands, concurrency=1, poll_interval=timedelta())
    await within_timeout(replica.scheduler.run())
    assert len(await world.rows("SELECT 1 FROM sync WHERE trigger = 'SCHEDULE'")) == 1


async def test_a_start_that_finds_the_database_unavailable_keeps_its_turn(world: CatalogWorld) -> None:
    await synced(world)
    await Replica(world, BOTH).tick()
    await make_due(world, "incremental")
    before = await stored(world)

    class Unavailable(SyncCommandStore):
        async def start_due(self, *arguments: Any) -> Sync | None:
            raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        await Replica(world, BOTH, commands=Unavailable(Database(world.engine))).tick()
    assert (await stored(world))["next_due_at"] == before["next_due_at"]
    assert len(await Replica(world, BOTH).tick()) == 1


async def test_a_start_whose_answer_got_lost_is_not_repeated(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")

    class LosesAnswers(Database):
        async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
            await super().write(work)
            return await super().write(work)

    retrying = Replica(world, BOTH, commands=SyncCommandStore(LosesAnswers(world.engine)))
    assert len(await retrying.tick()) == 1
    row = await stored(world)
    assert row["next_due_at"] > row["now"] + 50 * MINUTE
    assert await replica.tick() == []


async def refuse_syncs(world: CatalogWorld, *shops: ShopKey) -> None:
    """Let every start of a sync of these shops fail with an error that nobody expects."""
    await world.execute(
        """CREATE FUNCTION refuse_sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF EXISTS (SELECT FROM shop JOIN refused USING (domain) WHERE shop_id = NEW.shop_id) THEN
                   RAISE EXCEPTION 'not this shop';
               END IF;
               RETURN NEW;
           END $$"""
    )
    await world.execute(
        "CREATE TABLE refused AS SELECT unnest(CAST(:domains AS text[])) AS domain",
        domains=[s.domain for s in shops],
    )
    await world.execute(
        "CREATE TRIGGER refuse_sync BEFORE INSERT ON sync FOR EACH ROW EXECUTE FUNCTION refuse_sync()"
    )


async def test_shops_whose_due_syncs_cannot_be_started_delay_no_other_shop(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when they alone fill a batch."""
    *refused, other = shops = shopify(3)
    await register(world, *shops)
    replica = Replica(world, DAILY, batch_size=2)
    await replica.tick()
    await make_due(world, "full")
    await make_longest_due(world, *refused)
    await refuse_syncs(world, *refused)
    assert await replica.tick() == []
    assert "cannot start a scheduled sync" in caplog.text
    (started,) = await replica.tick()
    assert started.shop.key == other
    # They are not given up.
    await world.execute("DELETE FROM refused")
    await world.execute("UPDATE shop_schedule SET not_before = clock_timestamp() WHERE not_before IS NOT NULL")
    assert {sync.shop.key for sync in await replica.tick()} == set(refused)


async def test_a_scheduled_sync_reads_from_the_overlap_and_deletes_no_more_than_the_deletion_guard_allows(
    world: CatalogWorld,
) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    await replica.tick()
    (row,) = await world.rows("SELECT updated_after, allow_mass_delete FROM sync WHERE trigger = 'SCHEDULE'")
    assert (row["updated_after"], row["allow_mass_delete"]) == (WATERMARK - 5 * MINUTE, False)


async def test_a_requested_sync_is_claimed_before_scheduled_ones_that_wait_longer(world: CatalogWorld) -> None:
    await register(world, *shopify(2))
    replica = Replica(world, DAILY)
    await replica.tick()
    await make_due(world, "full")
    assert len(await replica.tick()) == 2
    requested = await world.create_sync(ShopKey("shopify", "requested.myshopify.com"))
    assert (await world.claim()).sync.sync_id == requested.sync_id


async def test_a_schedule_is_changed_without_counting_items(world: CatalogWorld, engine: AsyncEngine) -> None:
    """A count takes half a second for each 300,000 items."""
    await synced(world)
    statements: list[str] = []

    def record(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(engine.sync_engine, "before_cursor_execute", record)
    await Replica(world, BOTH).set(SHOP, ScheduleChange(paused=True))
    assert statements
    assert not [statement for statement in statements if " item" in statement or "count(" in statement]


async def test_the_due_shops_are_found_by_index_however_many_others_there_are(world: CatalogWorld) -> None:
    """With 100,000 shops, of which 20,000 are broken, the query must read the few that are due."""
    await synced(world)
    await world.execute(
        """INSERT INTO shop (shop_id, platform, domain)
           SELECT gen_random_uuid(), 'shopify', 's' || n || '.myshopify.com' FROM generate_series(1, 5000) AS n"""
    )
    await world.execute(
        """INSERT INTO shop_schedule (shop_id, platform, full_due_at, not_before)
           SELECT shop_id, platform, clock_timestamp() - interval '1 h', clock_timestamp() + interval '1 day'
           FROM shop WHERE domain LIKE 's%.myshopify.com'"""
    )
    await world.execute("ANALYZE shop_schedule, shop")
    await world.execute("UPDATE shop_schedule SET full_due_at = clock_timestamp() WHERE not_before IS NULL")
    plans: list[str] = []

    @event.listens_for(world.engine.sync_engine, "before_cursor_execute")
    def explain(connection: Connection, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if "WITH RECURSIVE planned" in statement and not statement.startswith("EXPLAIN"):
            plans.append("\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()))

    (due,) = await ScheduleStore(Database(world.engine)).due(most_per_platform=20, limit=20)
    assert due.shop.key == SHOP
    (plan,) = plans
    assert "Seq Scan on shop" not in plan
    assert re.search(r"Index Cond: .*next_due_at <= statement_timestamp", plan)
