"""Rows past their retention period are purged in small steps; rows that are still needed stay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from catalogsync_common.drain import ServerDraining
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import Sync, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.usecases.retention import Retention, RetentionPolicy
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.waiting import within_timeout


def retention(world: CatalogWorld, *, every: timedelta = timedelta(hours=1), **sizes: int) -> Retention:
    """Keep only two syncs per shop, so that a test needs few."""
    store = RetentionStore(Database(world.engine), **sizes)
    return Retention(records=store, drain=world.drain, policy=RetentionPolicy(latest_syncs=2), interval=every)


async def ended(world: CatalogWorld, state: str, *, days_ago: int, shop: ShopKey = SHOP, **order: Any) -> Sync:
    """Create a sync that ended `days_ago`, with three issues and three seen ids."""
    sync = await world.create_sync(shop, **order)
    await world.execute(
        """UPDATE sync SET state = :state, ended_at = clock_timestamp() - :days * interval '1 day'
           WHERE sync_id = :id""",
        state=state,
        days=days_ago,
        id=sync.sync_id,
    )
    key = {"merchant_id": sync.shop.merchant_id, "id": sync.sync_id}
    await world.execute(
        """INSERT INTO sync_issue (merchant_id, sync_id, number, reason, product_set_aside)
           SELECT CAST(:merchant_id AS uuid), CAST(:id AS uuid), n, 'X', false FROM generate_series(1, 3) AS n""",
        **key,
    )
    await world.execute(
        """INSERT INTO sync_seen (merchant_id, pass_id, product_id)
           SELECT CAST(:merchant_id AS uuid), CAST(:id AS uuid), 'p' || n FROM generate_series(1, 3) AS n""",
        **key,
    )
    return sync


async def remaining_values(world: CatalogWorld, table: str, column: str) -> set[Any]:
    return {row[column] for row in await world.rows(f"SELECT {column} FROM {table}")}


async def remaining_syncs(world: CatalogWorld) -> set[UUID]:
    return await remaining_values(world, "sync", "sync_id")


async def registered(world: CatalogWorld) -> Shop:
    shop = await world.shops.find(SHOP)
    assert shop is not None
    return shop


async def test_old_syncs_are_purged_with_their_issues_and_seen_ids(world: CatalogWorld) -> None:
    old = await ended(world, "FAILED", days_ago=31)
    kept = [await ended(world, "FAILED", days_ago=1) for _ in range(2)]
    await retention(world).purge()
    ids = {sync.sync_id for sync in kept}
    assert await remaining_syncs(world) == ids
    assert await remaining_values(world, "sync_issue", "sync_id") == ids
    # Only the latest sync can be resumed, and needs its seen ids.
    assert await remaining_values(world, "sync_seen", "pass_id") == {kept[-1].sync_id}
    assert old.sync_id not in ids


async def test_recent_and_active_syncs_stay_however_many_there_are(world: CatalogWorld) -> None:
    kept = {(await ended(world, "CANCELLED", days_ago=29)).sync_id for _ in range(5)}
    kept.add((await world.create_sync()).sync_id)
    await retention(world).purge()
    assert await remaining_syncs(world) == kept


async def test_an_active_sync_stays_however_old_it_is(world: CatalogWorld) -> None:
    other = ShopKey("shopify", "other.myshopify.com")
    active = await world.create_sync(other)
    await world.execute("UPDATE sync SET ended_at = clock_timestamp() - interval '1 year'")
    keep_none = Retention(
        records=RetentionStore(Database(world.engine)),
        drain=world.drain,
        policy=RetentionPolicy(latest_syncs=0),
    )
    await keep_none.purge()
    assert await remaining_syncs(world) == {active.sync_id}


async def test_each_shop_keeps_its_latest_syncs_and_its_last_success(world: CatalogWorld) -> None:
    other = ShopKey("shopify", "other.myshopify.com")
    kept = set()
    for shop in (SHOP, other):
        await ended(world, "SUCCEEDED", days_ago=90, shop=shop)
        kept.add((await ended(world, "SUCCEEDED", days_ago=80, shop=shop)).sync_id)
        for days in (70, 60):
            await ended(world, "FAILED", days_ago=days, shop=shop)
        for days in (50, 40):
            kept.add((await ended(world, "FAILED", days_ago=days, shop=shop)).sync_id)
    await retention(world).purge()
    assert await remaining_syncs(world) == kept


async def test_a_sync_stays_while_its_request_may_be_repeated(world: CatalogWorld) -> None:
    repeated = await ended(world, "FAILED", days_ago=31, request_id="r-1")
    for _ in range(2):
        await ended(world, "FAILED", days_ago=1)
    await retention(world).purge()
    assert (await world.create_sync(request_id="r-1")).sync_id == repeated.sync_id
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '8 days'")
    await retention(world).purge()
    assert repeated.sync_id not in await remaining_syncs(world)
    assert (await world.create_sync(request_id="r-1")).sync_id != repeated.sync_id


async def test_request_ids_are_kept_for_a_week_as_promised(world: CatalogWorld) -> None:
    await world.create_sync(request_id="r-1")
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '167 h'")
    await retention(world).purge()
    assert await remaining_values(world, "idempotency_key", "request_id") == {"r-1"}
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '169 h'")
    await retention(world).purge()
    assert await remaining_values(world, "idempotency_key", "request_id") == set()


async def test_the_seen_ids_of_a_resumed_pass_stay_when_its_first_sync_is_purged(world: CatalogWorld) -> None:
    first = await ended(world, "FAILED", days_ago=40)
    await world.execute("UPDATE sync SET checkpoint = '\\x01'")
    child = await world.commands.resume(first.sync_id, request_id="", correlation_id="")
    await world.execute(
        "UPDATE sync SET state = 'FAILED', ended_at = clock_timestamp() WHERE sync_id = :id", id=child.sync_id
    )
    grandchild = await world.commands.resume(child.sync_id, request_id="", correlation_id="")
    await retention(world).purge()
    assert await remaining_syncs(world) == {child.sync_id, grandchild.sync_id}
    assert await remaining_values(world, "sync_seen", "pass_id") == {first.sync_id}
    assert (await world.syncs.get(child.sync_id)).parent_sync_id == first.sync_id


async def test_tombstones_are_purged_after_their_retention_and_live_rows_stay(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product(n, items=2) for n in ("1", "2", "3", "4")]))
    ago = "clock_timestamp() - interval '{} days'"
    await world.execute(f"UPDATE item SET deleted_at = {ago.format(91)} WHERE product_id IN ('1', '2')")
    await world.execute(f"UPDATE item SET deleted_at = {ago.format(91)} WHERE item_id = '3-1'")
    await world.execute(f"UPDATE item SET deleted_at = {ago.format(89)} WHERE product_id = '4' OR item_id = '2-2'")
    await world.execute(f"UPDATE product SET deleted_at = {ago.format(91)} WHERE product_id IN ('1', '2')")
    await world.execute(f"UPDATE product SET deleted_at = {ago.format(89)} WHERE product_id = '4'")
    await retention(world).purge()
    assert await remaining_values(world, "item", "item_id") == {"2-2", "3-2", "4-1", "4-2"}
    # Product 2 still has an item, which could not be read without its product.
    assert await remaining_values(world, "product", "product_id") == {"2", "3", "4"}


async def test_a_purged_product_that_returns_is_stored_again(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1"), product("2")]))
    for table in ("item", "product"):
        await world.execute(f"UPDATE {table} SET deleted_at = clock_timestamp() - interval '1 year'")
    await retention(world).purge()
    assert await remaining_values(world, "product", "product_id") == set()
    again = await world.sync(MemorySource([product("1"), product("2")]))
    assert (again.state, again.progress.items.created) == (SyncState.SUCCEEDED, 2)
    assert await remaining_values(world, "item", "item_id") == {"1-1", "2-1"}


async def test_many_rows_are_purged_in_small_transactions(world: CatalogWorld, engine: AsyncEngine) -> None:
    await world.sync(MemorySource([product("1", items=25)]))
    await world.execute("UPDATE item SET deleted_at = clock_timestamp() - interval '1 year'")
    for days in (60, 50, 40):
        await ended(world, "FAILED", days_ago=days)
    await world.sync(MemorySource([product("2")]))
    await world.execute(
        "UPDATE sync SET ended_at = clock_timestamp() - interval '1 year' WHERE state = 'SUCCEEDED'"
    )
    deleted: list[int] = []

    def record_rows(*arguments: Any) -> None:
        cursor, statement = arguments[1], arguments[2]
        if statement.lstrip().startswith("DELETE"):
            deleted.append(cursor.rowcount)

    event.listen(engine.sync_engine, "after_cursor_execute", record_rows)
    await retention(world, rows_per_purge=4, syncs_per_purge=2).purge()
    assert max(deleted) == 4
    assert sum(deleted) == 25 + 3 + 6 + 9
    assert await remaining_values(world, "item", "item_id") == {"2-1"}
    assert len(await remaining_syncs(world)) == 2


async def test_purging_continues_after_the_last_chunk_of_one_sync(world: CatalogWorld) -> None:
    for _ in range(6):
        await ended(world, "FAILED", days_ago=60)
    await retention(world, rows_per_purge=2, syncs_per_purge=1).purge()
    assert len(await remaining_syncs(world)) == 2
    assert len(await remaining_values(world, "sync_seen", "pass_id")) == 1


async def test_two_replicas_may_purge_concurrently_during_a_running_sync(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await world.sync(MemorySource([product(str(n), items=3) for n in range(40)]))
    for table in ("item", "product"):
        await world.execute(
            f"UPDATE {table} SET deleted_at = clock_timestamp() - interval '1 year' WHERE product_id > '2'"
        )
    _, _, again = await asyncio.gather(
        retention(world, rows_per_purge=3).purge(),
        retention(CatalogWorld(engine), rows_per_purge=5).purge(),
        world.sync(MemorySource([product(str(n), items=3) for n in range(40)])),
    )
    assert again.state is SyncState.SUCCEEDED
    live = await world.rows("SELECT item_id FROM item WHERE deleted_at IS NULL")
    assert len(live) == 120
    assert len(await world.rows("SELECT 1 FROM product WHERE deleted_at IS NULL")) == 40


async def test_the_loop_purges_soon_after_its_start_and_ends_with_the_drain(world: CatalogWorld) -> None:
    await registered_and_old(world)
    running = asyncio.create_task(retention(world, every=timedelta(milliseconds=40)).run())
    remaining = [1]

    async def count() -> None:
        while remaining[0]:
            remaining[0] = len(await world.rows("SELECT 1 FROM idempotency_key"))

    await within_timeout(count())
    world.drain.start()
    await until(running.done)
    await running


async def registered_and_old(world: CatalogWorld) -> None:
    await world.create_sync(request_id="r-1")
    await registered(world)
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '1 year'")


async def test_a_drain_ends_purging_between_two_steps(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=20)]))
    await world.execute("UPDATE item SET deleted_at = clock_timestamp() - interval '1 year'")
    world.drain.start()
    with pytest.raises(ServerDraining):
        await retention(world, rows_per_purge=1).purge()
    assert len(await remaining_values(world, "item", "item_id")) == 19


async def test_seen_ids_of_a_failed_pass_are_purged_in_small_steps_once_another_sync_was_started(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    failed = await ended(world, "FAILED", days_ago=0)
    await retention(world).purge()
    assert await remaining_values(world, "sync_seen", "pass_id") == {failed.sync_id}
    await world.create_sync()
    deleted: list[int] = []

    def record_rows(*arguments: Any) -> None:
        cursor, statement = arguments[1], arguments[2]
        if "DELETE FROM sync_seen" in statement:
            deleted.append(cursor.rowcount)

    event.listen(engine.sync_engine, "after_cursor_execute", record_rows)
    await retention(world, rows_per_purge=2).purge()
    assert await remaining_values(world, "sync_seen", "pass_id") == set()
    assert deleted == [2, 1, 0]


async def test_seen_ids_of_a_running_pass_stay(world: CatalogWorld) -> None:
    running = await ended(world, "RUNNING", days_ago=0)
    await retention(world).purge()
    assert await remaining_values(world, "sync_seen", "pass_id") == {running.sync_id}
