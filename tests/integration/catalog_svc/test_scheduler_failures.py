"""Shops that fail, errors, outages and the drain: no due sync is lost, started twice, or tried too often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import SourceFailed, StorageUnavailable
from catalog_svc.domain.schedule import (
    ScheduledShop,
)
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.integration.catalog_svc.scheduling import (
    BOTH,
    DAILY,
    DAY,
    MINUTE,
    REVOKED,
    Replica,
    make_due,
    make_longest_due,
    register,
    run_claimed,
    shopify,
    stored,
    synced,
)
from tests.waiting import within_timeout

T = TypeVar("T")


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
        async def write(
            self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()
        ) -> T:
            await super().write(work, shops=shops)
            return await super().write(work, shops=shops)

    retrying = Replica(world, BOTH, commands=SyncCommandStore(LosesAnswers(world.engine)))
    assert len(await retrying.tick()) == 1
    row = await stored(world)
    # Not next_due_at: the first full sync is due at a random time of the day.
    assert row["incremental_due_at"] > row["now"] + 50 * MINUTE
    assert await replica.tick() == []


async def refuse_syncs(world: CatalogWorld, *shops: ShopKey) -> None:
    """Let every start of a sync of these shops fail with an error that nobody expects."""
    await world.execute(
        """CREATE FUNCTION refuse_sync() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
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
