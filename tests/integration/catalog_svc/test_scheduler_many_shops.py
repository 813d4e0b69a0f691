"""The due syncs of many shops are started in order and each once, and no platform delays another one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.schedule import (
    ScheduleDefaults,
    ScheduledShop,
)
from catalog_svc.domain.shop import ShopKey
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.usecases.scheduler import Scheduler
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.integration.catalog_svc.plans import plans_of, recorded
from tests.integration.catalog_svc.scheduling import (
    DAILY,
    HOUR,
    MINUTE,
    Replica,
    make_due,
    make_longest_due,
    register,
    shopify,
    synced,
)
from tests.waiting import forever, within_timeout


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


async def test_a_requested_sync_is_claimed_before_scheduled_ones_that_wait_longer(world: CatalogWorld) -> None:
    await register(world, *shopify(2))
    replica = Replica(world, DAILY)
    await replica.tick()
    await make_due(world, "full")
    assert len(await replica.tick()) == 2
    requested = await world.create_sync(ShopKey("shopify", "requested.myshopify.com"))
    assert (await world.claim()).sync.sync_id == requested.sync_id


@pytest.mark.needs_session("plans are explained on a connection of their own")
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
    with recorded(world.engine) as statements:
        (due,) = await ScheduleStore(Database(world.engine)).due(most_per_platform=20, limit=20)
    assert due.shop.key == SHOP
    (plan,) = await plans_of(world.engine, statements, "due_shops")
    (shops,) = await plans_of(world.engine, statements, "JOIN shop ")
    assert "shop" not in plan.full_scans + shops.full_scans
    assert re.search(r'"Index Cond": "[^"]*next_due_at <= statement_timestamp', plan.text)
