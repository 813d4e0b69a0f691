"""Products that the platform no longer has are deleted only after a complete pass, and never too many of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.sync import Sync, SyncMode, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.retention import RetentionStore
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld


def shop_of(*numbers: int, items: int = 1) -> MemorySource:
    return MemorySource([product(f"{n:04}", items=items) for n in numbers], batch_size=250)


async def live(world: CatalogWorld) -> set[str]:
    return {r["product_id"] for r in await world.rows("SELECT product_id FROM item WHERE deleted_at IS NULL")}


async def full(world: CatalogWorld, source: MemorySource, *, allow_mass_delete: bool = False) -> Sync:
    created = await world.create_sync(allow_mass_delete=allow_mass_delete)
    await world.supervisor(source, give_up_after=timedelta(0)).run(await world.claim())
    return await world.syncs.get(created.sync_id)


@pytest.mark.smoke
async def test_a_missing_product_is_marked_deleted_with_its_items_and_stays_readable(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2, 3, items=2))
    sync = await full(world, shop_of(1, 3, items=2))
    assert (sync.progress.products.deleted, sync.progress.items.deleted) == (1, 2)
    assert await live(world) == {"0001", "0003"}
    shop = await world.shops.find(sync.shop.key)
    assert shop is not None
    item = await world.items.get(shop, "0002-1")
    assert item is not None
    assert item.deleted_at is not None


async def test_a_product_that_returns_is_live_again(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2))
    await full(world, shop_of(1))
    sync = await full(world, shop_of(1, 2))
    assert sync.progress.products.created == 1
    assert await live(world) == {"0001", "0002"}


async def test_a_pass_that_did_not_succeed_deletes_nothing(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2, 3))
    incomplete = shop_of(1)
    incomplete.omit_end = True
    short = shop_of(1)
    short.announced = 3
    for source in (incomplete, short):
        assert (await full(world, source)).state is SyncState.FAILED
    assert await live(world) == {"0001", "0002", "0003"}


async def test_a_pass_with_warnings_deletes_nothing(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2))
    doubtful = shop_of(1)
    doubtful.warnings = ("a product came without an id",)
    assert (await full(world, doubtful)).state is SyncState.SUCCEEDED
    assert await live(world) == {"0001", "0002"}


async def test_an_incremental_pass_without_a_listing_deletes_nothing(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2))
    sync = await world.sync(shop_of(1), SyncMode.INCREMENTAL)
    assert sync.mode is SyncMode.INCREMENTAL
    assert await live(world) == {"0001", "0002"}


async def incremental(world: CatalogWorld, source: MemorySource) -> Sync:
    created = await world.create_sync(mode=SyncMode.INCREMENTAL)
    await world.supervisor(source, give_up_after=timedelta(0)).run(await world.claim())
    return await world.syncs.get(created.sync_id)


async def test_an_incremental_pass_that_listed_all_products_deletes_missing_ones(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2, 3))
    source = shop_of(3)
    source.listed = ("0001", "0003")
    assert (await incremental(world, source)).progress.products.deleted == 1
    assert await live(world) == {"0001", "0003"}


async def test_a_listing_with_warnings_deletes_nothing(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2))
    source = shop_of()
    source.listed, source.warnings = (), ("the listing was cut",)
    assert (await incremental(world, source)).state is SyncState.SUCCEEDED
    assert await live(world) == {"0001", "0002"}


async def test_an_empty_listing_is_stopped_by_the_deletion_guard(world: CatalogWorld) -> None:
    await full(world, shop_of(*range(150)))
    source = shop_of()
    source.listed = ()
    sync = await incremental(world, source)
    assert sync.error is not None
    assert sync.error.reason == "MASS_DELETE_BLOCKED"
    assert len(await live(world)) == 150


async def test_a_rejected_product_is_not_deleted(world: CatalogWorld) -> None:
    await full(world, shop_of(1, 2))
    source = shop_of(1)
    source.issues = [
        pb.RecordIssue(
            reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="0002", product_rejected=True
        )
    ]
    sync = await full(world, source)
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 0)
    assert await live(world) == {"0001", "0002"}


async def test_the_deletion_guard_stops_a_mass_deletion_and_marks_nothing(world: CatalogWorld) -> None:
    await full(world, shop_of(*range(300)))
    sync = await full(world, shop_of(*range(150)))
    assert sync.error is not None
    assert (sync.state, sync.error.reason) == (SyncState.FAILED, "MASS_DELETE_BLOCKED")
    counts = {"would_delete": "150", "stored": "300", "deleted": "0"}
    assert sync.error.metadata == {**counts, "decided_by": "FULL_SYNC"}
    assert len(await live(world)) == 300


async def test_an_empty_response_does_not_empty_a_small_shop(world: CatalogWorld) -> None:
    await full(world, shop_of(*range(100)))
    sync = await full(world, shop_of())
    assert sync.error is not None
    assert sync.error.reason == "MASS_DELETE_BLOCKED"
    assert len(await live(world)) == 100


async def test_a_confirmed_mass_deletion_is_executed(world: CatalogWorld) -> None:
    await full(world, shop_of(*range(300)))
    sync = await full(world, shop_of(), allow_mass_delete=True)
    assert (sync.state, sync.progress.items.deleted) == (SyncState.SUCCEEDED, 300)
    assert await live(world) == set()


async def test_the_deletion_guard_stops_a_mass_deletion_of_variants_too(world: CatalogWorld) -> None:
    """If a platform suddenly lists no variants, an error is more likely than an empty shop."""
    await full(world, shop_of(*range(60), items=5))
    sync = await full(world, shop_of(*range(60), items=1))
    assert sync.error is not None
    assert sync.error.reason == "MASS_DELETE_BLOCKED"
    assert len(await world.rows("SELECT * FROM item WHERE deleted_at IS NULL")) == 300
    allowed = await full(world, shop_of(*range(60), items=1), allow_mass_delete=True)
    assert (allowed.state, allowed.progress.items.deleted) == (SyncState.SUCCEEDED, 240)


async def test_another_shop_of_the_same_platform_is_not_swept(world: CatalogWorld) -> None:
    from catalog_svc.domain.shop import ShopKey

    await full(world, shop_of(1, 2))
    await world.create_sync(shop=ShopKey("shopify", "other.myshopify.com"))
    await world.supervisor(shop_of(9)).run(await world.claim())
    assert await live(world) == {"0001", "0002", "0009"}


async def test_the_seen_ids_of_a_pass_are_deleted_once_they_are_not_needed(world: CatalogWorld) -> None:
    broken = shop_of(1, 2, 3)
    broken.announced = 9
    await full(world, broken)
    assert len(await world.rows("SELECT * FROM sync_seen")) == 3
    sync = await full(world, shop_of(1, 2, 3))
    assert await world.rows("SELECT * FROM sync_seen WHERE pass_id = :id", id=sync.sync_id) == []
    # Retention purges the seen ids of the failed pass in small steps.
    retention = RetentionStore(Database(world.engine), owner=uuid4())
    while await retention.purge_seen():
        pass
    assert await world.rows("SELECT * FROM sync_seen") == []


def explained(engine: AsyncEngine, words: str) -> list[str]:
    """Return the plans of all further statements with these words."""
    plans: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def explain(connection: Connection, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if words in statement and not statement.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()
            plans.append("\n".join(rows))

    return plans


async def test_a_sweep_of_tables_without_statistics_is_not_quadratic(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    """Right after a first load there are no statistics: a nested loop over 2,000 ids took minutes."""
    plans = explained(engine, "NOT EXISTS (SELECT FROM sync_seen")
    await full(world, shop_of(*range(300), items=3))
    sync = await full(world, shop_of(*range(270), items=3))
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 30)
    assert len(plans) >= 4
    assert not [plan for plan in plans if "Nested Loop" in plan]
