"""A run outlives its database's absence: no sync fails, no batch is lost or doubled, nobody has to take over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.domain.sync import SyncState
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.waiting import until, within_patience

QUICK: dict[str, Any] = {"storage_retry_delay": timedelta(milliseconds=20), "items_per_transaction": 1}


def shop_of(count: int) -> MemorySource:
    return MemorySource([product(f"{n:03}") for n in range(count)], batch_size=1)


def failing(
    call: Callable[..., Awaitable[Any]], *, at: set[int], committed: bool
) -> Callable[..., Awaitable[Any]]:
    """`call`, of which some are answered by an outage: after they were committed, or before."""
    count = 0

    async def unlucky(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count not in at:
            return await call(*args, **kwargs)
        if committed:
            await call(*args, **kwargs)
        raise StorageUnavailable

    return unlucky


@pytest.mark.parametrize("committed", [True, False])
async def test_batches_whose_end_was_not_heard_are_neither_lost_nor_doubled(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(world.batches, "apply", failing(world.batches.apply, at={1, 3, 4, 9}, committed=committed))
    sync = await world.sync(shop_of(10), **QUICK)
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 1)
    assert sync.progress.products.seen == sync.progress.products.created == 10
    assert len(await world.rows("SELECT * FROM item")) == 10


@pytest.mark.parametrize("step", ["begin", "end", "wait"])
@pytest.mark.parametrize("committed", [True, False])
async def test_any_step_may_meet_an_outage(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, step: str, committed: bool
) -> None:
    monkeypatch.setattr(world.leases, step, failing(getattr(world.leases, step), at={1}, committed=committed))
    sync = await world.sync(shop_of(4), **QUICK)
    assert sync.state is SyncState.SUCCEEDED
    assert sync.progress.products.seen == 4


@pytest.mark.parametrize("committed", [True, False])
async def test_a_sweep_may_meet_an_outage(
    world: CatalogWorld, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    await world.sync(shop_of(6))
    monkeypatch.setattr(world.sweeps, "step", failing(world.sweeps.step, at={1}, committed=committed))
    sync = await world.sync(shop_of(4), **QUICK)
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 2)


async def test_connections_cut_all_the_time_stop_nothing(world: CatalogWorld, engine: AsyncEngine) -> None:
    cuts = 0

    async def published(more: int) -> None:
        wanted = len(world.published) + more
        await until(lambda: len(world.published) >= wanted)

    async def cut() -> None:
        nonlocal cuts
        while True:
            await published(20)
            async with engine.connect() as connection:
                await connection.execute(
                    text("""
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()""")
                )
            cuts += 1

    cutting = asyncio.create_task(cut())
    try:
        source = shop_of(60)
        sync = await within_patience(world.sync(source, **QUICK))
    finally:
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
    assert cuts >= 2
    assert (sync.state, sync.attempt_count) == (SyncState.SUCCEEDED, 1)
    assert sync.progress.products.seen == sync.progress.products.created == 60
