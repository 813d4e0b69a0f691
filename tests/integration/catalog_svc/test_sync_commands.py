"""One active sync per shop and one sync per request_id, for any number of concurrent and repeated calls."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import RequestIdReused, SyncAlreadyRunning
from catalog_svc.domain.ids import shop_id_of
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode, SyncState
from tests.conftest import as_owner
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld


async def test_a_second_sync_of_a_shop_is_rejected_with_the_id_of_the_first(world: CatalogWorld) -> None:
    first = await world.create_sync()
    with pytest.raises(SyncAlreadyRunning) as rejected:
        await world.create_sync()
    assert rejected.value.metadata["sync_id"] == str(first.sync_id)


async def test_one_of_many_concurrent_starts_wins_and_all_others_name_it(world: CatalogWorld) -> None:
    results = await asyncio.gather(*(world.create_sync() for _ in range(8)), return_exceptions=True)
    won = [r for r in results if not isinstance(r, BaseException)]
    lost = [r for r in results if isinstance(r, SyncAlreadyRunning)]
    assert (len(won), len(lost)) == (1, 7)
    assert {error.metadata["sync_id"] for error in lost} == {str(won[0].sync_id)}


async def test_after_the_end_of_a_sync_the_next_one_can_start(world: CatalogWorld) -> None:
    first = await world.sync(MemorySource([product("1")]))
    assert first.state is SyncState.SUCCEEDED
    second = await world.create_sync()
    assert second.sync_id != first.sync_id


async def test_a_repeated_request_id_returns_the_same_sync_even_after_its_end(world: CatalogWorld) -> None:
    first = await world.create_sync(request_id="r-1")
    again = await world.create_sync(request_id="r-1")
    assert again.sync_id == first.sync_id
    await world.supervisor(MemorySource([product("1")])).run(await world.claim())
    ended = await world.create_sync(request_id="r-1")
    assert (ended.sync_id, ended.state) == (first.sync_id, SyncState.SUCCEEDED)


async def test_a_request_id_with_other_parameters_is_rejected(world: CatalogWorld) -> None:
    await world.create_sync(request_id="r-1")
    with pytest.raises(RequestIdReused):
        await world.create_sync(request_id="r-1", allow_mass_delete=True)
    with pytest.raises(RequestIdReused):
        await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"), request_id="r-1")


async def test_the_first_sync_of_a_shop_is_full_whatever_was_requested(world: CatalogWorld) -> None:
    assert (await world.create_sync(mode=SyncMode.INCREMENTAL)).mode is SyncMode.FULL


async def test_a_later_incremental_sync_reads_from_the_watermark_minus_the_overlap(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1")]))
    source = MemorySource([product("1")])
    second = await world.sync(source, SyncMode.INCREMENTAL)
    assert second.mode is SyncMode.INCREMENTAL
    (request,) = source.requests
    assert request.updated_after is not None
    assert (WATERMARK - request.updated_after).total_seconds() == 300


async def test_the_request_ids_of_two_callers_do_not_meet(world: CatalogWorld) -> None:
    """Otherwise a caller could find out which ids another one has used, and block them."""
    other = ShopKey("shopify", "other.myshopify.com")
    first = await world.create_sync(request_id="r-1", principal="a")
    second = await world.create_sync(shop=other, request_id="r-1", principal="b")
    assert first.sync_id != second.sync_id
    assert (await world.create_sync(request_id="r-1", principal="a")).sync_id == first.sync_id


async def test_one_request_id_for_two_shops_at_once_starts_one_sync(world: CatalogWorld) -> None:
    shops = [ShopKey("shopify", f"{n}.myshopify.com") for n in range(4)]
    results = await asyncio.gather(
        *(world.create_sync(shop=shop, request_id="r-1") for shop in shops), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == [*["RequestIdReused"] * 3, "Sync"]
    assert len(await world.rows("SELECT * FROM sync")) == 1


async def test_a_start_does_not_wait_for_the_batch_of_the_active_sync(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    first = await world.create_sync()
    async with as_owner(engine).connect() as batch:
        await batch.execute(text("UPDATE shop_state SET next_seq = next_seq"))
        with pytest.raises(SyncAlreadyRunning) as rejected:
            await world.create_sync()
        # A start that waited would have waited for this transaction, which ends only now.
        await batch.rollback()
    assert rejected.value.metadata["sync_id"] == str(first.sync_id)


async def test_the_id_of_a_sync_tells_its_shop(world: CatalogWorld) -> None:
    sync = await world.create_sync()
    assert shop_id_of(sync.sync_id) == sync.shop.shop_id
