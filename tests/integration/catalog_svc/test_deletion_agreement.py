"""Two full passes in a row must agree before a shop loses all its items, or most of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.status import ConnectionState, LatestSyncs
from catalog_svc.domain.sync import Sync, SyncMode, SyncState
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.usecases.scheduler import Scheduler, SchedulerConfig
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import HEADER, CatalogWorld

FULL, INCREMENTAL = SyncMode.FULL, SyncMode.INCREMENTAL
HOUR = timedelta(hours=1)
SCHEDULED = ScheduleDefaults(incremental_every=6 * HOUR, full_every=24 * HOUR)


def shop_of(*numbers: int, items: int = 1) -> MemorySource:
    return MemorySource([product(f"{n:04}", items=items) for n in numbers], batch_size=250)


def unreachable() -> MemorySource:
    """Return a source that fails before its first batch."""
    return failing_after(0)


def failing_after(delivered: int) -> MemorySource:
    source = MemorySource([product(f"{n:04}") for n in range(1, 4)], batch_size=1)
    source.failures = {delivered: [SourceFailed(reason="SOURCE_FORBIDDEN", message="", transient=False)]}
    return source


async def live(world: CatalogWorld) -> set[int]:
    rows = await world.rows("SELECT DISTINCT product_id FROM item WHERE deleted_at IS NULL")
    return {int(row["product_id"]) for row in rows}


async def run(world: CatalogWorld, source: MemorySource, mode: SyncMode = FULL, *, allow: bool = False) -> Sync:
    created = await world.create_sync(mode=mode, allow_mass_delete=allow)
    await world.supervisor(source, give_up_after=timedelta(0)).run(await world.claim())
    return await world.syncs.get(created.sync_id)


def is_blocked(sync: Sync, *, by: str = "FULL_SYNC") -> bool:
    error = sync.error
    return error is not None and (error.reason, error.metadata["decided_by"]) == ("MASS_DELETE_BLOCKED", by)


# -- who is stopped


@pytest.mark.parametrize(("stored", "left"), [(1, 0), (2, 0), (5, 0), (6, 0), (6, 2), (100, 0), (300, 150)])
async def test_a_pass_that_would_delete_too_much_is_stopped_and_the_next_one_that_agrees_deletes_it(
    world: CatalogWorld, stored: int, left: int
) -> None:
    await run(world, shop_of(*range(stored)))
    first = await run(world, shop_of(*range(left)))
    assert is_blocked(first)
    assert await live(world) == set(range(stored))
    second = await run(world, shop_of(*range(left)))
    assert (second.state, second.progress.products.deleted) == (SyncState.SUCCEEDED, stored - left)
    assert await live(world) == set(range(left))


@pytest.mark.parametrize(("stored", "left"), [(5, 1), (6, 3), (2, 1)])
async def test_smaller_deletions_need_no_second_pass(world: CatalogWorld, stored: int, left: int) -> None:
    await run(world, shop_of(*range(stored)))
    assert (await run(world, shop_of(*range(left)))).state is SyncState.SUCCEEDED
    assert await live(world) == set(range(left))


async def test_a_large_shop_waits_for_a_person_however_often_passes_agree(world: CatalogWorld) -> None:
    await run(world, shop_of(*range(1_001)))
    for _ in range(3):
        assert is_blocked(await run(world, shop_of()), by="PERSON")
    assert len(await live(world)) == 1_001
    assert (await run(world, shop_of(), allow=True)).state is SyncState.SUCCEEDED
    assert await live(world) == set()


async def test_allow_mass_delete_needs_no_second_pass(world: CatalogWorld) -> None:
    await run(world, shop_of(1, 2, 3))
    assert (await run(world, shop_of(), allow=True)).state is SyncState.SUCCEEDED
    assert await live(world) == set()


# -- what is no agreement


async def test_a_wrong_answer_deletes_nothing_and_is_forgotten_after_a_right_one(world: CatalogWorld) -> None:
    await run(world, shop_of(1, 2, 3))
    assert is_blocked(await run(world, shop_of()))
    assert (await run(world, shop_of(1, 2, 3))).state is SyncState.SUCCEEDED
    assert await live(world) == {1, 2, 3}
    # The next wrong answer is a first one again.
    assert is_blocked(await run(world, shop_of()))
    assert await live(world) == {1, 2, 3}


async def test_different_wrong_answers_delete_nothing(world: CatalogWorld) -> None:
    await run(world, shop_of(*range(10)))
    for left in ((), (0,), (1,), (0, 1), ()):
        assert is_blocked(await run(world, shop_of(*left)))
    assert await live(world) == set(range(10))


async def test_a_product_that_exists_when_it_is_requested_by_id_is_no_part_of_the_agreement(
    world: CatalogWorld,
) -> None:
    await run(world, shop_of(*range(10)))
    assert is_blocked(await run(world, shop_of()))
    hidden = shop_of()
    hidden.unlisted = [product("0003")]
    assert is_blocked(await run(world, hidden))
    assert await live(world) == set(range(10))


async def test_a_product_that_was_stored_meanwhile_makes_the_next_pass_the_first_one_again(
    world: CatalogWorld,
) -> None:
    await run(world, shop_of(1, 2, 3))
    assert is_blocked(await run(world, shop_of()))
    # It has read product 1 before it failed.
    assert (await run(world, failing_after(1))).state is SyncState.FAILED
    assert is_blocked(await run(world, shop_of()))
    assert await live(world) == {1, 2, 3}


async def test_a_sync_that_reads_nothing_does_not_come_between_two_passes(world: CatalogWorld) -> None:
    await run(world, shop_of(1, 2, 3))
    assert is_blocked(await run(world, shop_of()))
    assert (await run(world, unreachable())).state is SyncState.FAILED
    cancelled = await world.create_sync()
    await world.commands.cancel(cancelled.sync_id)
    assert (await run(world, shop_of())).state is SyncState.SUCCEEDED
    assert await live(world) == set()


async def test_a_resumed_pass_does_not_agree_with_itself(world: CatalogWorld) -> None:
    await run(world, shop_of(*range(10)))
    first = await run(world, shop_of(0))
    assert is_blocked(first)
    resumed = await world.commands.resume(first.sync_id, request_id="", correlation_id="")
    await world.supervisor(shop_of(0)).run(await world.claim())
    assert is_blocked(await world.syncs.get(resumed.sync_id))
    assert await live(world) == set(range(10))
    assert (await run(world, shop_of(0))).state is SyncState.SUCCEEDED
    assert await live(world) == {0}


# -- replicas that die


async def test_passes_of_different_replicas_agree_although_each_dies_after_its_pass(engine: AsyncEngine) -> None:
    for source, state in ((shop_of(1, 2, 3), SyncState.SUCCEEDED), (shop_of(), SyncState.FAILED)):
        assert (await run(CatalogWorld(engine), source)).state is state
    assert (await run(CatalogWorld(engine), shop_of())).state is SyncState.SUCCEEDED
    assert await live(CatalogWorld(engine)) == set()


async def test_a_takeover_of_the_second_pass_agrees_too(engine: AsyncEngine) -> None:
    world = CatalogWorld(engine)
    await run(world, shop_of(*range(10)))
    assert is_blocked(await run(world, shop_of(0)))
    created = await world.create_sync()
    killed = await world.claim()
    await world.leases.begin(killed.lease, HEADER)
    await world.expire_lease(created.sync_id)
    other = CatalogWorld(engine)
    await other.supervisor(shop_of(0)).run(await other.claim())
    sync = await other.syncs.get(created.sync_id)
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 2)
    assert await live(other) == {0}


# -- variants, and incremental passes


async def test_variants_that_two_full_passes_miss_are_deleted_by_the_second(world: CatalogWorld) -> None:
    """A batch deletes them: it is stopped as a whole, and stored as a whole by the pass that agrees."""
    await run(world, shop_of(1, items=10))
    first = await run(world, shop_of(1, items=4))
    assert is_blocked(first)
    assert is_blocked(await run(world, shop_of(1, items=3)))
    assert is_blocked(await run(world, shop_of(1, items=4)))
    second = await run(world, shop_of(1, items=4))
    assert (second.state, second.progress.items.deleted) == (SyncState.SUCCEEDED, 6)


def listing(*numbers: int, deleted: tuple[int, ...] = ()) -> MemorySource:
    """Return an incremental source without changes that lists these products and reports others as deleted."""
    source = shop_of()
    source.listed = tuple(f"{n:04}" for n in numbers)
    source.deleted = tuple(f"{n:04}" for n in deleted)
    return source


@pytest.mark.parametrize("source", [listing(), listing(deleted=(1, 2, 3))], ids=["missing", "reported"])
async def test_an_incremental_pass_is_stopped_and_two_full_passes_decide(
    world: CatalogWorld, source: MemorySource
) -> None:
    await run(world, shop_of(1, 2, 3))
    first = await run(world, source, INCREMENTAL)
    assert (first.mode, is_blocked(first)) == (INCREMENTAL, True)
    assert await live(world) == {1, 2, 3}
    # Whoever starts the next ones, and in whatever mode: they are full.
    second = await run(world, shop_of(), INCREMENTAL)
    assert (second.mode, is_blocked(second)) == (FULL, True)
    assert await live(world) == {1, 2, 3}
    third = await run(world, shop_of(), INCREMENTAL)
    assert (third.mode, third.state) == (FULL, SyncState.SUCCEEDED)
    assert await live(world) == set()


async def test_after_a_right_answer_incremental_syncs_are_possible_again(world: CatalogWorld) -> None:
    await run(world, shop_of(1, 2, 3))
    assert is_blocked(await run(world, listing(), INCREMENTAL))
    assert (await run(world, shop_of(1, 2, 3), INCREMENTAL)).mode is FULL
    assert (await run(world, listing(1, 2, 3), INCREMENTAL)).mode is INCREMENTAL


async def test_a_large_shop_whose_incremental_pass_was_stopped_waits_for_a_person(world: CatalogWorld) -> None:
    await run(world, shop_of(*range(1_001)))
    assert is_blocked(await run(world, listing(), INCREMENTAL), by="PERSON")
    assert (await world.create_sync(mode=INCREMENTAL)).mode is INCREMENTAL


# -- the schedule


def scheduler(world: CatalogWorld, defaults: ScheduleDefaults) -> Scheduler:
    return Scheduler(
        schedules=ScheduleStore(Database(world.engine)),
        commands=world.commands,
        drain=world.drain,
        wake_worker=lambda: None,
        defaults=defaults,
        overlap=timedelta(minutes=5),
        config=SchedulerConfig(),
        metrics=NullSyncMetrics(),
    )


async def due_in(world: CatalogWorld) -> timedelta | None:
    (row,) = await world.rows("SELECT next_due_at - clock_timestamp() AS due_in FROM shop_schedule")
    due: timedelta | None = row["due_in"]
    return due


@pytest.mark.parametrize(
    "defaults",
    [
        SCHEDULED,
        ScheduleDefaults(full_every=24 * HOUR),
        ScheduleDefaults(incremental_every=24 * HOUR),
        ScheduleDefaults(incremental_every=timedelta(minutes=5)),
    ],
    ids=["both", "full only", "incremental only", "often"],
)
async def test_the_second_pass_is_due_after_an_hour_as_a_full_one_whatever_the_schedule(
    world: CatalogWorld, defaults: ScheduleDefaults
) -> None:
    await run(world, shop_of(1, 2, 3))
    schedule = scheduler(world, defaults)
    await schedule.tick()
    for created in await world.syncs.page(shop=None, states=(SyncState.PENDING,), before=None, limit=1):
        await world.commands.cancel(created.sync_id)
    blocked = await run(world, shop_of())
    assert is_blocked(blocked)
    assert LatestSyncs(last_finished=blocked).connection.state is ConnectionState.FAILING
    due = await due_in(world)
    assert due is not None
    assert timedelta(minutes=50) < due <= HOUR
    await schedule.tick()
    assert await world.rows("SELECT * FROM sync_queue") == []
    await world.execute(
        "UPDATE shop_schedule SET not_before = NULL, incremental_due_at = incremental_due_at - interval '1 h',"
        " full_due_at = full_due_at - interval '1 h'"
    )
    await schedule.tick()
    (second,) = await world.syncs.page(shop=None, states=(SyncState.PENDING,), before=None, limit=1)
    assert second.mode is FULL
    await world.supervisor(shop_of()).run(await world.claim())
    assert await live(world) == set()


async def test_a_shop_without_a_schedule_stays_without_one(world: CatalogWorld) -> None:
    await run(world, shop_of(1, 2, 3))
    await scheduler(world, ScheduleDefaults()).tick()
    assert is_blocked(await run(world, shop_of()))
    assert await due_in(world) is None


async def test_a_large_shop_is_broken_until_a_person_decides(world: CatalogWorld) -> None:
    await run(world, shop_of(*range(1_001)))
    await scheduler(world, SCHEDULED).tick()
    blocked = await run(world, shop_of())
    assert LatestSyncs(last_finished=blocked).connection.state is ConnectionState.BROKEN
    due = await due_in(world)
    assert due is not None
    assert due > 20 * HOUR
