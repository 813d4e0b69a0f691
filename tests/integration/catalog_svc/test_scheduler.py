"""The sync of a due shop is started once, by one replica, and never against the shop's own schedule."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import ShopNotFound, StorageUnavailable
from catalog_svc.domain.schedule import ScheduleChange, ScheduleDefaults, ScheduledShop, ShopSchedule
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync, SyncMode, SyncState, SyncTrigger
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import ScheduleStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig, SetSchedule
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.waiting import within_timeout

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFF = ScheduleDefaults()
BOTH = ScheduleDefaults(incremental_every=HOUR, full_every=DAY)


class Replica:
    """One replica's scheduler over the world's database."""

    def __init__(
        self,
        world: CatalogWorld,
        defaults: ScheduleDefaults = OFF,
        *,
        store: type[ScheduleStore] = ScheduleStore,
        **config: Any,
    ) -> None:
        self.world = world
        self.schedules = store(Database(world.engine))
        self.woken = 0
        read = ReadCatalog(
            shops=world.shops,
            syncs=world.syncs,
            items=world.items,
            schedules=self.schedules,
            platforms=KnownPlatforms(),
            defaults=defaults,
        )
        self.status = read.status
        self.set = SetSchedule(read=read, schedules=self.schedules, defaults=defaults)
        self.scheduler = Scheduler(
            schedules=self.schedules,
            commands=world.commands,
            drain=world.drain,
            wake_worker=self._wake,
            defaults=defaults,
            overlap=5 * MINUTE,
            config=SchedulerConfig(**({"plan_interval": timedelta()} | config)),
            metrics=NullSyncMetrics(),
        )

    def _wake(self) -> None:
        self.woken += 1

    async def tick(self) -> list[Sync]:
        """Return the syncs that this tick started."""
        before = {sync.sync_id for sync in await self._syncs()}
        await self.scheduler.tick()
        return [sync for sync in await self._syncs() if sync.sync_id not in before]

    async def _syncs(self) -> list[Sync]:
        return await self.world.syncs.page(shop=None, states=(), before=None, limit=500)


REFUSE_SYNCS = """
    CREATE FUNCTION refuse_syncs() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not this shop'; END $$"""


async def synced(world: CatalogWorld) -> None:
    """Register the shop and sync it completely."""
    assert (await world.sync(MemorySource([product("1")]))).state is SyncState.SUCCEEDED


async def make_due(world: CatalogWorld, *kinds: str, ago: str = "1 s") -> None:
    """Make these kinds of syncs due for all shops."""
    for kind in kinds:
        await world.execute(f"UPDATE shop_schedule SET {kind}_due_at = clock_timestamp() - interval '{ago}'")


async def stored(world: CatalogWorld) -> Mapping[Any, Any]:
    (row,) = await world.rows("SELECT *, clock_timestamp() AS now FROM shop_schedule")
    return row


async def test_without_a_schedule_no_sync_starts(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    assert await replica.tick() == []
    assert await world.rows("SELECT 1 FROM shop_schedule") == []
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
    await world.supervisor(MemorySource([product("1")])).run(await world.claim())
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


async def test_the_first_sync_of_a_shop_is_its_due_full_sync(world: CatalogWorld) -> None:
    created = await world.create_sync()
    await world.commands.cancel(created.sync_id)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    (sync,) = await replica.tick()
    assert sync.mode is SyncMode.FULL
    row = await stored(world)
    assert row["full_due_at"] > row["now"] + 20 * HOUR


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


async def test_shops_under_a_default_are_spread_over_its_interval(world: CatalogWorld) -> None:
    for n in range(60):
        await world.create_sync(ShopKey("shopify", f"s{n}.myshopify.com"))
    replica = Replica(world, ScheduleDefaults(incremental_every=HOUR), plan_batch_size=25)
    for _ in range(3):
        await replica.tick()
    rows = await world.rows("SELECT incremental_due_at - clock_timestamp() AS left FROM shop_schedule")
    minutes = sorted(row["left"] / MINUTE for row in rows)
    assert len(minutes) == 60
    assert -1 < minutes[0] < 15
    assert 45 < minutes[-1] <= 60
    for quarter in range(4):
        assert sum(15 * quarter <= m < 15 * quarter + 15 for m in minutes) >= 3


async def test_due_times_that_coincide_are_spread_again(world: CatalogWorld) -> None:
    for n in range(15):
        created = await world.create_sync(ShopKey("shopify", f"s{n}.myshopify.com"))
        await world.commands.cancel(created.sync_id)
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


async def test_a_shop_with_an_active_sync_stays_due_and_gets_no_second_sync(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    active = await world.create_sync()
    await make_due(world, "incremental")
    due = (await stored(world))["incremental_due_at"]
    assert await replica.tick() == []
    assert (await stored(world))["incremental_due_at"] == due
    await world.commands.cancel(active.sync_id)
    assert len(await replica.tick()) == 1


async def test_a_due_sync_that_met_another_sync_is_held_and_then_started(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    await make_due(world, "incremental")
    rivals: list[Sync] = []

    class Overtaken(ScheduleStore):
        async def take(self, *args: Any, **kwargs: Any) -> bool:
            rivals.append(await world.create_sync())
            return await super().take(*args, **kwargs)

    overtaken = Replica(world, BOTH, store=Overtaken)
    assert await overtaken.tick() == rivals
    assert (overtaken.woken, (await stored(world))["taken_until"] is None) == (0, False)
    await world.commands.cancel(rivals[0].sync_id)
    assert await replica.tick() == []
    await world.execute("UPDATE shop_schedule SET taken_until = clock_timestamp()")
    assert len(await replica.tick()) == 1


async def test_of_two_replicas_that_see_the_same_due_sync_one_starts_it(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await synced(world)
    both_have_seen = asyncio.Barrier(2)

    class Racing(ScheduleStore):
        async def due(self, *, most_per_platform: int) -> list[ScheduledShop]:
            seen = await super().due(most_per_platform=most_per_platform)
            await both_have_seen.wait()
            assert len(seen) == 1
            return seen

    await Replica(world, BOTH).tick()
    replicas = [Replica(w, BOTH, store=Racing) for w in (world, CatalogWorld(engine))]
    for round_ in range(3):
        await make_due(world, "incremental")
        await asyncio.gather(*(replica.scheduler.tick() for replica in replicas))
        assert sum(replica.woken for replica in replicas) == round_ + 1
        await world.supervisor(MemorySource([product("1")])).run(await world.claim())


async def test_a_replica_that_dies_after_creating_a_sync_causes_no_second_one(world: CatalogWorld) -> None:
    await synced(world)
    other = Replica(world, BOTH)
    await other.tick()
    await make_due(world, "incremental")

    class Dying(ScheduleStore):
        async def plan(self, *args: Any, **kwargs: Any) -> None:
            raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        await Replica(world, BOTH, store=Dying).tick()
    await world.supervisor(MemorySource([product("1")])).run(await world.claim())
    await world.execute("UPDATE shop_schedule SET taken_until = clock_timestamp()")
    assert await other.tick() == []
    row = await stored(world)
    assert row["incremental_due_at"] > row["now"]


async def test_a_shop_whose_connection_is_broken_is_tried_once_a_day_only(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    failed = await world.create_sync()
    await world.execute(
        """UPDATE sync SET state = 'FAILED', ended_at = clock_timestamp() - interval '23 h',
               error_reason = 'SOURCE_UNAUTHORIZED' WHERE sync_id = :id""",
        id=failed.sync_id,
    )
    await make_due(world, "incremental")
    assert await replica.tick() == []
    next_due_at = (await replica.status(SHOP)).schedule.next_due_at
    assert next_due_at is not None
    (row,) = await world.rows("SELECT ended_at FROM sync WHERE sync_id = :id", id=failed.sync_id)
    assert next_due_at == row["ended_at"] + DAY
    await world.execute(
        "UPDATE sync SET ended_at = ended_at - interval '2 h' WHERE sync_id = :id", id=failed.sync_id
    )
    assert len(await replica.tick()) == 1


@pytest.mark.parametrize("reason", ["SOURCE_UNREACHABLE", None])
async def test_a_transient_failure_keeps_the_schedule(world: CatalogWorld, reason: str | None) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    await replica.tick()
    failed = await world.create_sync()
    await world.execute(
        """UPDATE sync SET state = 'FAILED', ended_at = clock_timestamp(), error_reason = :reason
           WHERE sync_id = :id""",
        id=failed.sync_id,
        reason=reason,
    )
    await make_due(world, "incremental")
    assert len(await replica.tick()) == 1


async def test_the_number_of_pending_scheduled_syncs_is_bounded(world: CatalogWorld) -> None:
    for n in range(7):
        created = await world.create_sync(ShopKey("shopify", f"s{n}.myshopify.com"))
        await world.commands.cancel(created.sync_id)
    replica = Replica(world, ScheduleDefaults(full_every=DAY), max_pending_per_platform=3)
    await replica.tick()
    await make_due(world, "full")
    await world.create_sync(ShopKey("shopify", "created.myshopify.com"))
    assert len(await replica.tick()) == 3
    assert await replica.tick() == []
    await world.execute("UPDATE sync SET state = 'RUNNING' WHERE trigger = 'SCHEDULE'")
    assert len(await replica.tick()) == 3


async def test_the_longest_due_shops_come_first(world: CatalogWorld) -> None:
    for n in range(4):
        created = await world.create_sync(ShopKey("shopify", f"s{n}.myshopify.com"))
        await world.commands.cancel(created.sync_id)
    replica = Replica(world, ScheduleDefaults(full_every=DAY), max_pending_per_platform=1)
    await replica.tick()
    await world.execute(
        """UPDATE shop_schedule SET full_due_at = clock_timestamp()
               - CAST(substr(shop.domain, 2, 1) AS integer) * interval '1 s' - interval '1 s'
           FROM shop WHERE shop.shop_id = shop_schedule.shop_id"""
    )
    (sync,) = await replica.tick()
    assert sync.shop.key.domain == "s3.myshopify.com"


async def test_the_loop_survives_an_unavailable_database_and_ends_with_the_drain(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await synced(world)
    await Replica(world, BOTH).tick()
    await make_due(world, "incremental")

    class UnavailableOnce(ScheduleStore):
        calls = 0

        async def due(self, *, most_per_platform: int) -> list[ScheduledShop]:
            self.calls += 1
            if self.calls == 1:
                raise StorageUnavailable
            return await super().due(most_per_platform=most_per_platform)

    replica = Replica(world, BOTH, store=UnavailableOnce, poll_interval=timedelta(milliseconds=10))
    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(replica.scheduler.run())
        await until(lambda: replica.woken == 1)
    world.drain.start()
    await within_timeout(running)
    assert "the database is unavailable" in caplog.text


async def test_a_platform_whose_scheduled_syncs_are_pending_delays_no_other_platform(world: CatalogWorld) -> None:
    for number in range(4):
        await world.create_sync(shop=ShopKey("woocommerce", f"w{number}.example"))
    for number in range(3):
        await world.create_sync(shop=ShopKey("shopify", f"s{number}.myshopify.com"))
    await world.execute("UPDATE sync SET state = 'SUCCEEDED', ended_at = clock_timestamp()")
    replica = Replica(world, ScheduleDefaults(full_every=DAY), max_pending_per_platform=2)
    await replica.tick()
    await make_due(world, "full")
    await world.execute(
        "UPDATE shop_schedule SET full_due_at = full_due_at - interval '1 h' FROM shop"
        " WHERE shop.shop_id = shop_schedule.shop_id AND platform = 'woocommerce'"
    )
    started = await replica.tick()
    assert Counter(sync.shop.key.platform for sync in started) == {"woocommerce": 2, "shopify": 2}
    # No worker claims the WooCommerce syncs: their platform is at its limit.
    await world.execute(
        "UPDATE sync SET state = 'SUCCEEDED', ended_at = clock_timestamp() FROM shop"
        " WHERE shop.shop_id = sync.shop_id AND platform = 'shopify' AND state = 'PENDING'"
    )
    (last,) = await replica.tick()
    assert last.shop.key.platform == "shopify"


@pytest.mark.parametrize("fails", ["request_id", "unexpectedly"])
async def test_a_shop_whose_due_sync_cannot_be_started_delays_no_other_shop(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    shops = [ShopKey("shopify", f"{name}.myshopify.com") for name in ("first", "second")]
    for shop in shops:
        await world.create_sync(shop=shop)
    await world.execute("UPDATE sync SET state = 'SUCCEEDED', ended_at = clock_timestamp()")
    replica = Replica(world, ScheduleDefaults(full_every=DAY))
    await replica.tick()
    await make_due(world, "full")
    first = (await replica.schedules.due(most_per_platform=20))[0]
    if fails == "request_id":
        due_at = f"{first.schedule.full_due_at:%Y%m%dT%H%M%S.%f}"
        taken = f"schedule:{first.shop.shop_id}:FULL:{due_at}"
        await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"), request_id=taken)
    else:
        await world.execute(REFUSE_SYNCS)
        await world.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON sync FOR EACH ROW"
            f" WHEN (NEW.shop_id = '{first.shop.shop_id}') EXECUTE FUNCTION refuse_syncs()"
        )
    (started,) = await replica.tick()
    assert started.shop.key != first.shop.key
    assert "cannot start" in caplog.text or "is skipped" in caplog.text
    rows = await world.rows("SELECT full_due_at > clock_timestamp() AS later FROM shop_schedule")
    assert all(row["later"] for row in rows) is (fails == "request_id")


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
