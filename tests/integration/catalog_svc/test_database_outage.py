"""A run survives database outages: no sync fails, no batch is lost or stored twice, no takeover is needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncState, WaitReason
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.usecases.worker import Worker
from tests.conftest import execute
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.waiting import let_tasks_run, until, until_found, within_timeout

QUICK: dict[str, Any] = {"storage_retry_delay": timedelta(milliseconds=20), "items_per_transaction": 1}


def shop_of(count: int) -> MemorySource:
    return MemorySource([product(f"{n:03}") for n in range(count)], batch_size=1)


def failing(
    call: Callable[..., Awaitable[Any]], *, at: set[int], committed: bool
) -> Callable[..., Awaitable[Any]]:
    """Return `call` with an outage at these calls, from 1: after they were committed, or instead of them."""
    count = 0

    async def failing_call(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count not in at:
            return await call(*args, **kwargs)
        if committed:
            await call(*args, **kwargs)
        raise StorageUnavailable

    return failing_call


@pytest.mark.parametrize("committed", [True, False])
async def test_batches_with_an_unknown_outcome_are_neither_lost_nor_stored_twice(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(world.batches, "apply", failing(world.batches.apply, at={1, 3, 4, 9}, committed=committed))
    sync = await world.sync(shop_of(10), **QUICK)
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 1)
    assert sync.progress.products.seen == sync.progress.products.created == 10
    assert len(await world.rows("SELECT * FROM item")) == 10


@pytest.mark.parametrize("step", ["begin", "end", "wait"])
@pytest.mark.parametrize("committed", [True, False])
async def test_an_outage_at_any_step_is_survived(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, step: str, committed: bool
) -> None:
    monkeypatch.setattr(world.leases, step, failing(getattr(world.leases, step), at={1}, committed=committed))
    sync = await world.sync(shop_of(4), **QUICK)
    assert sync.state is SyncState.SUCCEEDED
    assert sync.progress.products.seen == 4


@pytest.mark.parametrize("committed", [True, False])
async def test_an_end_with_an_unknown_outcome_is_written_again_until_the_reply_arrives(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, committed: bool
) -> None:
    monkeypatch.setattr(world.leases, "end", failing(world.leases.end, at={1, 2}, committed=committed))
    with caplog.at_level(logging.INFO):
        sync = await world.sync(shop_of(3), **QUICK)
    assert sync.state is SyncState.SUCCEEDED
    assert "sync succeeded" in caplog.messages
    assert await world.rows("SELECT * FROM sync_seen") == []


async def test_an_end_that_others_see_before_its_run_gets_the_reply_is_still_the_runs_own(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end, renew = world.leases.end, world.leases.renew
    rejected = asyncio.Event()

    async def renewing(*args: Any, **kwargs: Any) -> Any:
        try:
            return await renew(*args, **kwargs)
        except LeaseLost:
            rejected.set()
            raise

    async def late_reply(*args: Any, **kwargs: Any) -> Any:
        ended = await end(*args, **kwargs)
        with world.hub.subscribe(ended.sync_id, is_watcher=False) as subscription:
            await subscription.ended()
        await within_timeout(rejected.wait())
        await let_tasks_run()
        return ended

    monkeypatch.setattr(world.leases, "end", late_reply)
    monkeypatch.setattr(world.leases, "renew", renewing)
    polling = asyncio.create_task(world.hub.run(world.drain))
    with caplog.at_level(logging.INFO):
        sync = await world.sync(shop_of(3), renew_interval=timedelta(milliseconds=20), **QUICK)
    world.drain.start()
    await polling
    assert sync.state is SyncState.SUCCEEDED
    assert "sync succeeded" in caplog.messages
    assert await world.rows("SELECT * FROM sync_seen") == []


@pytest.mark.parametrize("committed", [True, False])
async def test_an_outage_during_a_sweep_is_survived(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    await world.sync(shop_of(6))
    monkeypatch.setattr(world.sweeps, "step", failing(world.sweeps.step, at={1}, committed=committed))
    sync = await world.sync(shop_of(4), **QUICK)
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 2)


async def test_a_sync_survives_connections_cut_all_the_time(world: CatalogWorld, engine: AsyncEngine) -> None:
    terminations = 0

    def more_than(count: int) -> bool:
        return len(world.published) > count

    async def terminate_repeatedly() -> None:
        nonlocal terminations
        while True:
            await until(partial(more_than, len(world.published) + 20))
            async with engine.connect() as connection:
                await connection.execute(
                    text("""
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()""")
                )
            terminations += 1

    terminating = asyncio.create_task(terminate_repeatedly())
    try:
        source = shop_of(60)
        sync = await within_timeout(world.sync(source, **QUICK))
    finally:
        terminating.cancel()
        await asyncio.gather(terminating, return_exceptions=True)
    assert terminations >= 2
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 1)
    assert sync.progress.products.seen == sync.progress.products.created == 60


async def slow_for_batches_above(world: CatalogWorld, products: int) -> None:
    """Make each statement that stores more products than that take a minute."""
    await world.execute(f"""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT count(*) FROM stored) > {products} THEN PERFORM pg_sleep(60); END IF;
            RETURN NULL; END $$""")
    await world.execute("""
        CREATE TRIGGER slow AFTER INSERT ON product REFERENCING NEW TABLE AS stored
        FOR EACH STATEMENT EXECUTE FUNCTION slow()""")


def limit_batches_to_300_ms(world: CatalogWorld) -> None:
    """Limit the statements of a batch to 300 ms."""
    world.batches = BatchStore(Database(world.engine), ttl=timedelta(milliseconds=300))


async def test_a_batch_that_is_too_slow_is_stored_in_smaller_batches(world: CatalogWorld) -> None:
    await slow_for_batches_above(world, 2)
    limit_batches_to_300_ms(world)
    source = MemorySource([product(f"{n:03}") for n in range(20)], batch_size=20)
    sync = await world.sync(source, storage_retry_delay=timedelta(milliseconds=20))
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 1)
    assert sync.progress.products.created == 20
    assert [request.max_batch_products for request in source.requests] == [0, 10, 5, 2]
    waits = [sync.waiting for sync in world.published if sync.waiting]
    assert {wait.reason for wait in waits} == {WaitReason.STORAGE}
    assert "did not finish the last write in time" in waits[0].message


async def test_a_batch_that_always_times_out_fails_its_sync_with_a_stable_reason(world: CatalogWorld) -> None:
    """Otherwise the shop could not be synced any more, without any error."""
    await slow_for_batches_above(world, 0)
    limit_batches_to_300_ms(world)
    source = MemorySource([product(f"{n:03}") for n in range(4)], batch_size=4)
    sync = await world.sync(source, storage_retry_delay=timedelta(milliseconds=20), max_slow_writes=5)
    assert sync.state is SyncState.FAILED
    assert sync.error is not None
    assert sync.error.reason == "SYNC_STALLED"
    assert "the database did not finish them in time" in sync.error.message
    assert [request.max_batch_products for request in source.requests] == [0, 2, 1, 1, 1]


async def test_an_outage_after_the_end_of_a_sync_does_not_change_its_result(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(world.sweeps, "finalize", failing(world.sweeps.finalize, at={1}, committed=False))
    with caplog.at_level(logging.INFO):
        sync = await world.sync(shop_of(4), **QUICK)
    assert sync.state is SyncState.SUCCEEDED
    logged = [record.getMessage() for record in caplog.records]
    assert "sync succeeded" in logged
    assert not [message for message in logged if "lease lost" in message]


@pytest.mark.needs_session("its server connections outlive those of the client")
async def test_syncs_continue_when_a_read_only_database_accepts_writes_again(
    world: CatalogWorld, database_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover, when for a moment only a read-only server answers."""
    name = make_url(database_url).database
    source = shop_of(4)
    source.hold = asyncio.Event()
    running = await world.create_sync()
    pending = await world.create_sync(ShopKey("shopify", "pending.myshopify.com"))
    worker = Worker(
        leases=world.leases,
        supervisor=world.supervisor(source, **QUICK),
        drain=world.drain,
        max_running=1,
        max_per_platform=1,
        poll_interval=timedelta(milliseconds=50),
        metrics=NullSyncMetrics(),
    )
    working = asyncio.create_task(worker.run())
    await until(lambda: any(sync.progress.products.seen for sync in world.published))
    await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await world.engine.dispose()
    source.hold.set()
    await until(lambda: any(record.__dict__.get("kind") == "read-only" for record in caplog.records))
    await execute(postgres_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")

    async def both_ended() -> bool | None:
        states = [(await world.syncs.get(sync.sync_id)).state for sync in (running, pending)]
        return True if all(state.ended for state in states) else None

    await until_found(both_ended)
    world.drain.start()
    await working
    for sync in (running, pending):
        ended = await world.syncs.get(sync.sync_id)
        assert (ended.state, ended.attempt_count) == (SyncState.SUCCEEDED, 1)
