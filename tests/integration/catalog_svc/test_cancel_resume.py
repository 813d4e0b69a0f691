"""A cancel stops a sync on whatever replica it runs; a resumed sync continues where it stopped."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import (
    RequestIdReused,
    SourceFailed,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotFound,
    SyncNotResumable,
)
from catalog_svc.domain.sync import Sync, SyncState, SyncTrigger
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.usecases.sync_commands import ChangeSync
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld, until
from tests.waiting import within_timeout

REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)


def shop_of(count: int) -> MemorySource:
    return MemorySource([product(f"{n:03}") for n in range(count)])


def changes(world: CatalogWorld) -> ChangeSync:
    return ChangeSync(
        commands=world.commands,
        publish=world.hub.publish,
        cancel_platform_job=lambda sync: None,
        wake_worker=lambda: None,
        metrics=NullSyncMetrics(),
    )


async def resume(world: CatalogWorld, sync: Sync, request_id: str = "") -> Sync:
    return await changes(world).resume(sync.sync_id, request_id=request_id, correlation_id="c")


async def failed_at(world: CatalogWorld, delivered: int, source: MemorySource) -> Sync:
    source.failures = {delivered: [REVOKED]}
    sync = await world.sync(source)
    assert sync.state is SyncState.FAILED
    return sync


async def running(world: CatalogWorld) -> tuple[Sync, MemorySource, asyncio.Task[None]]:
    """Run a sync that has stored its first batch and waits for its source."""
    created = await world.create_sync()
    source = shop_of(6)
    source.hold = asyncio.Event()
    # Without renewals, from which the execution would learn that its sync has ended.
    task = asyncio.create_task(
        world.supervisor(source, renew_interval=timedelta(hours=1)).run(await world.claim())
    )
    await until(lambda: any(s.progress.products.seen for s in world.published))
    return created, source, task


async def test_a_cancel_on_the_same_replica_stops_the_run_at_once_and_keeps_stored_products(
    world: CatalogWorld,
) -> None:
    created, _, task = await running(world)
    cancelled = await changes(world).cancel(created.sync_id)
    assert cancelled.state is SyncState.CANCELLED
    await within_timeout(task)
    sync = await world.syncs.get(created.sync_id)
    assert (sync.state, sync.progress.products.seen) == (SyncState.CANCELLED, 2)
    assert len(await world.rows("SELECT * FROM product")) == 2


async def test_a_cancel_on_another_replica_stops_the_run_at_the_next_poll(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    created, source, task = await running(world)
    polling = asyncio.create_task(world.hub.run(world.drain))
    await changes(CatalogWorld(engine)).cancel(created.sync_id)
    await within_timeout(task)
    assert source.closed
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)


async def test_a_run_that_does_not_know_of_the_cancel_cannot_write(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    created, source, task = await running(world)
    await CatalogWorld(engine).commands.cancel(created.sync_id)
    assert source.hold is not None
    source.hold.set()
    await within_timeout(task)
    assert len(await world.rows("SELECT * FROM product")) == 2


async def test_a_pending_sync_is_cancelled_and_never_claimed(world: CatalogWorld) -> None:
    created = await world.create_sync()
    await changes(world).cancel(created.sync_id)
    assert await world.leases.claim() == []


async def test_cancelling_twice_is_the_same_as_once(world: CatalogWorld) -> None:
    created = await world.create_sync()
    first = await changes(world).cancel(created.sync_id)
    assert await changes(world).cancel(created.sync_id) == first


async def test_an_ended_sync_cannot_be_cancelled(world: CatalogWorld) -> None:
    sync = await world.sync(shop_of(1))
    with pytest.raises(SyncNotCancellable) as rejected:
        await changes(world).cancel(sync.sync_id)
    assert rejected.value.metadata["state"] == "SUCCEEDED"
    with pytest.raises(SyncNotFound):
        await changes(world).cancel(uuid4())


@pytest.mark.smoke
async def test_a_resumed_sync_continues_from_the_checkpoint_with_the_counts_so_far(world: CatalogWorld) -> None:
    source = shop_of(6)
    failed = await failed_at(world, 4, source)
    resumed = await resume(world, failed)
    assert (resumed.parent_sync_id, resumed.trigger) == (failed.sync_id, SyncTrigger.RESUME)
    assert resumed.progress.products.seen == 4
    await world.supervisor(source).run(await world.claim())
    sync = await world.syncs.get(resumed.sync_id)
    assert (sync.state, sync.progress.products.seen) == (SyncState.SUCCEEDED, 6)
    assert [request.checkpoint for request in source.requests] == [b"", b"4"]
    assert sync.shop.watermark == WATERMARK


async def test_a_resumed_full_pass_deletes_nothing_that_its_parent_saw(world: CatalogWorld) -> None:
    source = shop_of(6)
    resumed = await resume(world, await failed_at(world, 4, source))
    await world.supervisor(source).run(await world.claim())
    assert (await world.syncs.get(resumed.sync_id)).state is SyncState.SUCCEEDED
    assert await world.rows("SELECT * FROM item WHERE deleted_at IS NOT NULL") == []


async def test_a_cancelled_sync_can_be_resumed_and_a_resumed_one_again(world: CatalogWorld) -> None:
    created, source, task = await running(world)
    await changes(world).cancel(created.sync_id)
    await within_timeout(task)
    source.hold = None
    source.failures = {4: [REVOKED]}
    first = await resume(world, created)
    await world.supervisor(source).run(await world.claim())
    second = await resume(world, first)
    await world.supervisor(source).run(await world.claim())
    sync = await world.syncs.get(second.sync_id)
    assert (sync.state, sync.parent_sync_id) == (SyncState.SUCCEEDED, first.sync_id)
    assert sync.progress.products.created == 6


@pytest.mark.smoke
async def test_a_repeated_resume_returns_the_same_sync(world: CatalogWorld) -> None:
    failed = await failed_at(world, 4, shop_of(6))
    first = await resume(world, failed, request_id="r-1")
    assert (await resume(world, failed, request_id="r-1")).sync_id == first.sync_id
    with pytest.raises(RequestIdReused):
        await resume(world, first, request_id="r-1")


async def test_a_sync_without_a_checkpoint_is_not_resumed(world: CatalogWorld) -> None:
    succeeded = await world.sync(shop_of(2))
    with pytest.raises(SyncNotResumable):
        await resume(world, succeeded)
    without_checkpoint = await failed_at(world, 0, shop_of(2))
    with pytest.raises(SyncNotResumable, match="stored nothing"):
        await resume(world, without_checkpoint)


async def test_a_pass_superseded_by_a_later_sync_is_not_resumed(world: CatalogWorld) -> None:
    """Its seen ids are older than the stored products: it would delete the difference."""
    failed = await failed_at(world, 4, shop_of(6))
    await world.sync(shop_of(6))
    with pytest.raises(SyncNotResumable, match="later sync"):
        await resume(world, failed)


async def test_an_active_sync_is_not_resumed_but_named(world: CatalogWorld) -> None:
    created = await world.create_sync()
    with pytest.raises(SyncAlreadyRunning) as rejected:
        await resume(world, created)
    assert rejected.value.metadata["sync_id"] == str(created.sync_id)
