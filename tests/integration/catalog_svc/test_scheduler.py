"""The sync of a due shop is started once, by one replica, and never against the shop's own schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import ShopNotFound, SyncAlreadyRunning
from catalog_svc.domain.schedule import (
    ScheduleDefaults,
    ScheduledShop,
    ShopSchedule,
    StoredSchedule,
)
from catalog_svc.domain.shop import ShopChange
from catalog_svc.domain.sync import StartSyncCommand, SyncMode, SyncState, SyncTrigger
from catalog_svc.storage.schedules import ScheduleStore
from tests.fakes.product_source import WATERMARK
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.scheduling import (
    BOTH,
    DAY,
    HOUR,
    MINUTE,
    OFF,
    Replica,
    make_due,
    register,
    run_claimed,
    schedule_change,
    stored,
    synced,
)
from tests.waiting import within_timeout


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


@pytest.mark.smoke
async def test_a_due_shop_gets_a_sync_and_its_next_due_time(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    await replica.set(SHOP, schedule_change(incremental_every=15 * MINUTE))
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
    own = await replica.set(SHOP, schedule_change(incremental_every=5 * MINUTE))
    assert (own.incremental_every, own.incremental_is_default) == (5 * MINUTE, False)
    assert (own.full_every, own.full_is_default) == (DAY, True)
    assert own.next_due_at is not None
    assert own.next_due_at <= datetime.now(UTC) + 6 * MINUTE
    never = await replica.set(SHOP, schedule_change(incremental_every=timedelta(), full_every=timedelta()))
    assert never.next_due_at is None
    assert await replica.tick() == []
    back = await replica.set(SHOP, schedule_change(reset=True, paused=True))
    assert (back.incremental_every, back.incremental_is_default, back.paused) == (HOUR, True, True)


async def test_a_change_keeps_the_fields_that_it_does_not_name(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world)
    await replica.set(SHOP, schedule_change(incremental_every=HOUR, paused=True))
    after = await replica.set(SHOP, schedule_change(full_every=DAY))
    assert (after.incremental_every, after.full_every, after.paused) == (HOUR, DAY, True)
    assert (await replica.status(SHOP)).schedule == after


async def test_a_paused_shop_is_not_synced_until_its_pause_ends(world: CatalogWorld) -> None:
    await synced(world)
    replica = Replica(world, BOTH)
    paused = await replica.set(SHOP, schedule_change(paused=True))
    assert paused.next_due_at is None
    await make_due(world, "incremental")
    assert await replica.tick() == []
    await replica.set(SHOP, schedule_change(paused=False))
    assert len(await replica.tick()) == 1


async def test_an_unknown_shop_has_no_schedule(world: CatalogWorld) -> None:
    with pytest.raises(ShopNotFound):
        await Replica(world).set(SHOP, schedule_change(full_every=DAY))


async def test_a_shop_that_is_registered_later_is_planned_too(world: CatalogWorld) -> None:
    replica = Replica(world, BOTH)
    await replica.tick()
    await synced(world)
    await replica.tick()
    row = await stored(world)
    assert (row["planned_incremental_interval"], row["planned_full_interval"]) == (HOUR, DAY)
    assert row["next_due_at"] is not None


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
    async with world.owner.begin() as batch:
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


@pytest.mark.parametrize(
    "change",
    [
        schedule_change(paused=True),
        schedule_change(full_every=timedelta()),
        schedule_change(incremental_every=2 * HOUR),
    ],
    ids=["pause", "no full syncs", "another interval"],
)
async def test_a_schedule_that_is_changed_after_it_was_read_is_not_overwritten(
    world: CatalogWorld, change: ShopChange
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
    await Replica(world, BOTH).set(SHOP, schedule_change(paused=True))
    assert statements
    assert not [statement for statement in statements if " item" in statement or "count(" in statement]
