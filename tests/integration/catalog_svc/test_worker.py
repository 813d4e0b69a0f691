"""A worker fills its slots, and no platform takes all of them."""

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
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.usecases.worker import Worker
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld, until
from tests.waiting import until_stable, within_timeout


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
    $$ BEGIN RAISE EXCEPTION 'claims are refused'; END $$"""


def blocked_source() -> MemorySource:
    source = MemorySource([product("1"), product("2")], batch_size=1)
    source.hold = asyncio.Event()
    return source


def empty_claim(world: CatalogWorld) -> asyncio.Event:
    """Return an event that is set once a claim has found no sync."""
    found_none, claim = asyncio.Event(), world.leases.claim

    async def claiming(**options: Any) -> list[ClaimedSync]:
        claimed = await claim(**options)
        if not claimed:
            found_none.set()
        return claimed

    world.leases.claim = claiming  # type: ignore[method-assign]
    return found_none


async def stop(world: CatalogWorld, running: asyncio.Task[None]) -> None:
    world.drain.start()
    await within_timeout(running)


async def test_one_platform_leaves_slots_free_for_the_others(world: CatalogWorld) -> None:
    for name in ("a", "b", "c"):
        await world.create_sync(shop=ShopKey("shopify", f"{name}.myshopify.com"))
    await world.create_sync(shop=ShopKey("woocommerce", "store.example"))
    source = blocked_source()
    running = asyncio.create_task(worker(world, source, max_running=3, max_per_platform=2).run())
    await until(lambda: len(source.requests) == 3)
    await until_stable(lambda: len(source.requests))
    assert sorted(request.shop.platform for request in source.requests) == ["shopify", "shopify", "woocommerce"]
    await stop(world, running)


async def test_claiming_several_at_once_keeps_the_limit_of_each_platform(world: CatalogWorld) -> None:
    for number in range(8):
        await world.create_sync(shop=ShopKey("shopify", f"s{number}.myshopify.com"))
    for number in range(8):
        await world.create_sync(shop=ShopKey("woocommerce", f"w{number}.example"))
    source = blocked_source()
    running = asyncio.create_task(worker(world, source, max_running=8, max_per_platform=4).run())
    await until(lambda: len(source.requests) == 8)
    await until_stable(lambda: len(source.requests))
    assert Counter(request.shop.platform for request in source.requests) == {"shopify": 4, "woocommerce": 4}
    await stop(world, running)


async def test_no_more_syncs_run_at_once_than_the_limit_and_all_run_in_the_end(world: CatalogWorld) -> None:
    for number in range(5):
        await world.create_sync(shop=ShopKey("shopify", f"s{number}.myshopify.com"))
    source = blocked_source()
    running = asyncio.create_task(worker(world, source, max_running=2, max_per_platform=2).run())
    await until(lambda: len(source.requests) == 2)
    assert await until_stable(lambda: len(source.requests)) == 2
    assert source.hold is not None
    source.hold.set()
    await until(lambda: len(source.requests) == 5)
    await until(lambda: sum(sync.state is SyncState.SUCCEEDED for sync in world.published) == 5)
    await stop(world, running)


async def test_a_created_sync_is_claimed_at_once_when_the_worker_is_woken(world: CatalogWorld) -> None:
    source = blocked_source()
    polling_worker = Worker(
        leases=world.leases,
        supervisor=world.supervisor(source),
        drain=world.drain,
        max_running=1,
        max_per_platform=1,
        poll_interval=timedelta(hours=1),
        metrics=NullSyncMetrics(),
    )
    found_none = empty_claim(world)
    running = asyncio.create_task(polling_worker.run())
    await until(found_none.is_set)
    await world.create_sync()
    polling_worker.wake()
    await until(lambda: len(source.requests) == 1)
    await stop(world, running)


async def test_a_drain_hands_over_running_syncs_without_waiting_for_their_source(world: CatalogWorld) -> None:
    await world.create_sync()
    source = blocked_source()
    running = asyncio.create_task(worker(world, source, max_running=1, max_per_platform=1).run())
    await until(lambda: len(source.requests) == 1)
    world.drain.start()
    await within_timeout(running)
    assert await CatalogWorld(world.engine).leases.claim() != []


async def test_a_worker_never_runs_a_sync_beside_an_earlier_run_of_its_own(world: CatalogWorld) -> None:
    # As after a database outage longer than the TTL: the replica claims a sync that it still runs without a lease.
    created = await world.create_sync()
    source = blocked_source()
    open_passes: list[int] = []
    source.before_batch = lambda delivered: open_passes.append(source.open_passes)
    running = asyncio.create_task(worker(world, source, max_running=4, max_per_platform=4).run())
    await until(lambda: any(sync.progress.products.seen == 1 for sync in world.published))
    await world.expire_lease(created.sync_id)
    await until(lambda: len(source.requests) == 2)
    assert source.hold is not None
    source.hold.set()
    await until(lambda: any(sync.state is SyncState.SUCCEEDED for sync in world.published))
    (row,) = await world.rows("SELECT state, attempt_count FROM sync")
    assert (row["state"], row["attempt_count"]) == ("SUCCEEDED", 2)
    assert set(open_passes) == {1}
    await stop(world, running)


async def test_a_claim_that_fails_does_not_end_the_runs_and_the_loop_can_be_started_again(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await world.create_sync()
    source = blocked_source()
    restarted = worker(world, source, max_running=4, max_per_platform=4)
    running = asyncio.create_task(restarted.run())
    await until(lambda: len(source.requests) == 1)
    await world.execute(REFUSE_CLAIMS)
    await world.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OF epoch ON sync_queue EXECUTE FUNCTION refuse_claims()"
    )
    await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"))
    with pytest.raises(DBAPIError):
        await running
    await world.execute("DROP TRIGGER refuse ON sync_queue")
    again = asyncio.create_task(restarted.run())
    await until(lambda: len(source.requests) == 2)
    assert source.hold is not None
    source.hold.set()
    await until(lambda: sum(sync.state is SyncState.SUCCEEDED for sync in world.published) == 2)
    await stop(world, again)


async def test_a_cancelled_worker_ends_its_runs(world: CatalogWorld) -> None:
    await world.create_sync()
    source = blocked_source()
    running = asyncio.create_task(worker(world, source, max_running=1, max_per_platform=1).run())
    await until(lambda: len(source.requests) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert source.open_passes == 0
