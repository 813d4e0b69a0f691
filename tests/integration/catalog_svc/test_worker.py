"""A replica runs as much as it may, and neither one platform nor one large shop takes all of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import ClaimedSync, SyncState
from catalog_svc.usecases.worker import Worker
from tests.fakes.null_metrics import NullSyncMetrics
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld, until
from tests.waiting import settled, within_patience


def worker(world: CatalogWorld, source: MemorySource, *, max_running: int, max_per_platform: int) -> Worker:
    return Worker(
        leases=world.leases,
        supervisor=world.supervisor(source),
        drain=world.drain,
        max_running=max_running,
        max_per_platform=max_per_platform,
        poll_interval=timedelta(milliseconds=30),
        metrics=NullSyncMetrics(),
    )


REFUSE_CLAIMS = """
    CREATE FUNCTION refuse_claims() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'nobody may claim'; END $$"""


def held_source() -> MemorySource:
    source = MemorySource([product("1"), product("2")], batch_size=1)
    source.hold = asyncio.Event()
    return source


def looking_in_vain(world: CatalogWorld) -> asyncio.Event:
    """Set once somebody has looked for work in vain."""
    looked, claim = asyncio.Event(), world.leases.claim

    async def claiming(**options: Any) -> list[ClaimedSync]:
        claimed = await claim(**options)
        if not claimed:
            looked.set()
        return claimed

    world.leases.claim = claiming  # type: ignore[method-assign]
    return looked


async def stop(world: CatalogWorld, working: asyncio.Task[None]) -> None:
    world.drain.start()
    await within_patience(working)


async def test_one_platform_leaves_room_for_the_others(world: CatalogWorld) -> None:
    for name in ("a", "b", "c"):
        await world.create_sync(shop=ShopKey("shopify", f"{name}.myshopify.com"))
    await world.create_sync(shop=ShopKey("woocommerce", "store.example"))
    source = held_source()
    working = asyncio.create_task(worker(world, source, max_running=3, max_per_platform=2).run())
    await until(lambda: len(source.requests) == 3)
    await settled(lambda: len(source.requests))
    assert sorted(request.shop.platform for request in source.requests) == ["shopify", "shopify", "woocommerce"]
    await stop(world, working)


async def test_taking_up_several_at_once_keeps_the_bound_of_each_platform(world: CatalogWorld) -> None:
    for number in range(8):
        await world.create_sync(shop=ShopKey("shopify", f"s{number}.myshopify.com"))
    for number in range(8):
        await world.create_sync(shop=ShopKey("woocommerce", f"w{number}.example"))
    source = held_source()
    working = asyncio.create_task(worker(world, source, max_running=8, max_per_platform=4).run())
    await until(lambda: len(source.requests) == 8)
    await settled(lambda: len(source.requests))
    assert Counter(request.shop.platform for request in source.requests) == {"shopify": 4, "woocommerce": 4}
    await stop(world, working)


async def test_no_more_run_at_once_than_may_and_all_run_in_the_end(world: CatalogWorld) -> None:
    for number in range(5):
        await world.create_sync(shop=ShopKey("shopify", f"s{number}.myshopify.com"))
    source = held_source()
    working = asyncio.create_task(worker(world, source, max_running=2, max_per_platform=2).run())
    await until(lambda: len(source.requests) == 2)
    assert await settled(lambda: len(source.requests)) == 2
    assert source.hold is not None
    source.hold.set()
    await until(lambda: len(source.requests) == 5)
    await until(lambda: sum(sync.state is SyncState.SUCCEEDED for sync in world.published) == 5)
    await stop(world, working)


async def test_work_that_is_ordered_is_taken_up_at_once_when_the_worker_is_told(world: CatalogWorld) -> None:
    source = held_source()
    patient = Worker(
        leases=world.leases,
        supervisor=world.supervisor(source),
        drain=world.drain,
        max_running=1,
        max_per_platform=1,
        poll_interval=timedelta(hours=1),
        metrics=NullSyncMetrics(),
    )
    looked = looking_in_vain(world)
    working = asyncio.create_task(patient.run())
    await until(looked.is_set)
    await world.create_sync()
    patient.wake()
    await until(lambda: len(source.requests) == 1)
    await stop(world, working)


async def test_a_drain_hands_over_what_runs_without_waiting_for_its_source(world: CatalogWorld) -> None:
    await world.create_sync()
    source = held_source()
    working = asyncio.create_task(worker(world, source, max_running=1, max_per_platform=1).run())
    await until(lambda: len(source.requests) == 1)
    world.drain.start()
    await within_patience(working)
    assert await CatalogWorld(world.engine).leases.claim() != []


async def test_a_worker_never_runs_a_sync_beside_an_earlier_run_of_its_own(world: CatalogWorld) -> None:
    # As after a database outage longer than the TTL: the replica claims what it still runs without a lease.
    created = await world.create_sync()
    source = held_source()
    open_passes: list[int] = []
    source.before_batch = lambda delivered: open_passes.append(source.open_passes)
    working = asyncio.create_task(worker(world, source, max_running=4, max_per_platform=4).run())
    await until(lambda: any(sync.progress.products.seen == 1 for sync in world.published))
    await world.expire_lease(created.sync_id)
    await until(lambda: len(source.requests) == 2)
    assert source.hold is not None
    source.hold.set()
    await until(lambda: any(sync.state is SyncState.SUCCEEDED for sync in world.published))
    (row,) = await world.rows("SELECT state, attempt_count FROM sync")
    assert (row["state"], row["attempt_count"]) == ("SUCCEEDED", 2)
    assert set(open_passes) == {1}
    await stop(world, working)


async def test_a_claim_that_breaks_leaves_the_runs_alone_and_the_loop_can_be_started_again(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await world.create_sync()
    source = held_source()
    it = worker(world, source, max_running=4, max_per_platform=4)
    working = asyncio.create_task(it.run())
    await until(lambda: len(source.requests) == 1)
    await world.execute(REFUSE_CLAIMS)
    await world.execute("CREATE TRIGGER refuse BEFORE UPDATE OF epoch ON sync EXECUTE FUNCTION refuse_claims()")
    await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"))
    with pytest.raises(DBAPIError):
        await working
    await world.execute("DROP TRIGGER refuse ON sync")
    again = asyncio.create_task(it.run())
    await until(lambda: len(source.requests) == 2)
    assert source.hold is not None
    source.hold.set()
    await until(lambda: sum(sync.state is SyncState.SUCCEEDED for sync in world.published) == 2)
    await stop(world, again)


async def test_a_cancelled_worker_ends_its_runs(world: CatalogWorld) -> None:
    await world.create_sync()
    source = held_source()
    working = asyncio.create_task(worker(world, source, max_running=1, max_per_platform=1).run())
    await until(lambda: len(source.requests) == 1)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert source.open_passes == 0
