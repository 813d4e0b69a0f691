"""Rows past their retention period are purged in small steps, by one replica; rows that are still needed stay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from catalogsync_common.drain import ServerDraining
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import RequestIdReused, StorageUnavailable
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Lease, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.sweeps import SweepStore
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld, until
from tests.integration.catalog_svc.plans import plans_of, recorded
from tests.integration.catalog_svc.purging import (
    StepRecorder,
    age_tombstones,
    full_sync,
    purge,
    retention,
    statements_of,
    store_of,
    values_of,
)
from tests.integration.catalog_svc.scheduling import REVOKED
from tests.waiting import within_timeout

TTL = timedelta(minutes=5)


async def test_request_ids_are_kept_for_a_week_as_promised(world: CatalogWorld) -> None:
    await world.create_sync(request_id="r-1")
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '167 h'")
    await purge(world)
    assert await values_of(world, "idempotency_key", "request_id") == {"r-1"}
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '169 h'")
    await purge(world)
    assert await values_of(world, "idempotency_key", "request_id") == set()


async def test_workers_that_have_leased_nothing_for_a_week_are_forgotten(world: CatalogWorld) -> None:
    await world.execute(
        """INSERT INTO analysis_worker (worker_id, analyzer, model_version, seen_at)
           SELECT 'w-' || hours, 'quality', '1', clock_timestamp() - hours * interval '1 h'
           FROM unnest(ARRAY[167, 169]) AS hours"""
    )
    await purge(world)
    assert await values_of(world, "analysis_worker", "worker_id") == {"w-167"}


async def test_a_request_can_be_repeated_until_its_id_is_purged(world: CatalogWorld) -> None:
    first = await world.create_sync(request_id="r-1")
    await world.commands.cancel(first.sync_id)
    await purge(world)
    assert (await world.create_sync(request_id="r-1")).sync_id == first.sync_id
    with pytest.raises(RequestIdReused):
        await world.create_sync(request_id="r-1", allow_mass_delete=True)
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '8 days'")
    await purge(world)
    assert (await world.create_sync(request_id="r-1")).sync_id != first.sync_id


async def test_many_request_ids_are_purged_in_small_steps(world: CatalogWorld) -> None:
    await world.execute(
        """INSERT INTO idempotency_key (principal, method, request_id, request_hash, shop_id, sync_id, created_at)
           SELECT '', 'StartSync', 'r-' || n, '', gen_random_uuid(), gen_random_uuid(),
               clock_timestamp() - interval '1 year'
           FROM generate_series(1, 10) AS n"""
    )
    store = store_of(world, rows_per_purge=4)
    steps = [await store.purge_requests(older_than=timedelta(days=7)) for _ in range(4)]
    assert steps == [4, 4, 2, 0]


async def failed_pass(world: CatalogWorld, *, products: int = 5) -> MemorySource:
    """Run a sync that fails after it has stored all but the last product; return its source, which works again."""
    source = MemorySource([product(str(number)) for number in range(products)], batch_size=1)
    source.failures = {products - 1: [REVOKED]}
    assert (await world.sync(source)).state is SyncState.FAILED
    return source


async def test_the_seen_ids_of_a_pass_stay_while_it_can_be_resumed_and_until_its_resumed_sync_has_succeeded(
    world: CatalogWorld,
) -> None:
    source = await failed_pass(world)
    (failed,) = await world.rows("SELECT sync_id FROM sync")
    await purge(world)
    assert len(await values_of(world, "sync_seen", "product_id")) == 4
    resumed = await world.commands.resume(failed["sync_id"], request_id="", correlation_id="")
    await purge(world)
    assert await values_of(world, "sync_seen", "pass_id") == {failed["sync_id"]}
    await world.supervisor(source).run(await world.claim())
    sync = await world.syncs.get(resumed.sync_id)
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 0)
    await purge(world)
    assert await world.rows("SELECT 1 FROM sync_seen") == []
    assert await world.rows("SELECT 1 FROM obsolete_pass") == []


async def test_the_seen_ids_of_a_failed_pass_are_purged_in_small_steps_once_another_sync_was_started(
    world: CatalogWorld,
) -> None:
    await failed_pass(world)
    running = await world.create_sync()
    store = StepRecorder(Database(world.engine), rows_per_purge=3)
    await retention(world, store).purge()
    # The pass itself is the last row.
    assert store.seen == [3, 2, 0]
    assert await world.rows("SELECT 1 FROM sync_seen") == []
    assert (await world.syncs.get(running.sync_id)).state is SyncState.PENDING


async def test_the_seen_ids_of_a_succeeded_pass_are_purged_when_its_own_cleanup_did_not_happen(
    world: CatalogWorld,
) -> None:
    class Unavailable(SweepStore):
        async def finalize(self, lease: Lease) -> None:
            raise StorageUnavailable

    world.sweeps = Unavailable(Database(world.engine), ttl=TTL)
    await full_sync(world, ["1", "2"])
    assert len(await values_of(world, "sync_seen", "product_id")) == 2
    await purge(world)
    assert await world.rows("SELECT 1 FROM sync_seen") == []


@pytest.mark.smoke
async def test_seen_ids_of_many_shops_are_purged_by_one_round(world: CatalogWorld) -> None:
    for number in range(3):
        shop = ShopKey("shopify", f"s{number}.myshopify.com")
        created = await world.create_sync(shop)
        source = MemorySource([product("1"), product("2")], batch_size=1)
        source.failures = {1: [REVOKED]}
        await world.supervisor(source).run(await world.claim())
        assert (await world.syncs.get(created.sync_id)).state is SyncState.FAILED
        await world.commands.cancel((await world.create_sync(shop)).sync_id)
    await purge(world)
    assert await world.rows("SELECT 1 FROM sync_seen") == []


async def test_the_seen_ids_of_a_running_pass_and_all_live_rows_stay(world: CatalogWorld) -> None:
    await full_sync(world, [str(number) for number in range(6)], items=2)
    source = MemorySource([product(str(number), items=2) for number in range(6)])
    source.hold = asyncio.Event()
    await world.create_sync()
    running = asyncio.create_task(world.supervisor(source).run(await world.claim()))
    await until(lambda: world.published and world.published[-1].progress.products.seen == 2)
    await purge(world)
    assert await values_of(world, "sync_seen", "product_id") == {"0", "1"}
    assert len(await world.rows("SELECT 1 FROM item WHERE deleted_at IS NULL")) == 12
    source.hold.set()
    await within_timeout(running)
    assert world.published[-1].state is SyncState.SUCCEEDED


async def test_products_that_return_while_their_tombstones_are_purged_are_complete(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    everything = [str(number) for number in range(40)]
    await full_sync(world, everything, items=3)
    await full_sync(world, everything[:20], items=3)
    await age_tombstones(world)
    stores = [store_of(world, rows_per_purge=3), store_of(CatalogWorld(engine), rows_per_purge=5)]

    async def purge_all(store: RetentionStore) -> None:
        # Without the lease: even two replicas at once would do no harm.
        while await store.purge_deleted(older_than=timedelta(days=90)):
            pass

    purging = [asyncio.create_task(purge_all(store)) for store in stores]
    again = await full_sync(world, everything, items=3)
    await asyncio.gather(*purging)
    assert again.progress.items.created == 60
    assert len(await world.rows("SELECT 1 FROM item WHERE deleted_at IS NULL")) == 120
    assert len(await world.rows("SELECT 1 FROM product WHERE deleted_at IS NULL")) == 40
    (state,) = await world.rows("SELECT product_count, item_count FROM shop_state")
    assert tuple(state.values()) == (40, 120)


async def test_only_one_replica_purges_until_its_lease_has_run_out(world: CatalogWorld) -> None:
    first, second = store_of(world), store_of(world)
    assert await first.acquire(ttl=TTL)
    assert not await second.acquire(ttl=TTL)
    assert await first.acquire(ttl=TTL)
    await world.execute("UPDATE loop_lease SET lease_until = clock_timestamp() - interval '1 ms'")
    assert await second.acquire(ttl=TTL)
    assert not await first.acquire(ttl=TTL)


async def test_of_many_replicas_that_begin_at_once_one_purges(world: CatalogWorld) -> None:
    results = await asyncio.gather(*(store_of(world).acquire(ttl=TTL) for _ in range(6)))
    assert sum(results) == 1


async def test_a_replica_without_the_lease_purges_nothing(world: CatalogWorld, engine: AsyncEngine) -> None:
    await world.create_sync(request_id="r-1")
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '1 year'")
    assert await store_of(world).acquire(ttl=TTL)
    statements = statements_of(engine)
    await retention(world).purge()
    assert len(statements) == 1
    assert await values_of(world, "idempotency_key", "request_id") == {"r-1"}


async def test_a_replica_that_loses_the_lease_stops_between_two_steps(world: CatalogWorld) -> None:
    await full_sync(world, ["1"], items=10)
    await full_sync(world, [])
    await age_tombstones(world)

    class LosesTheLease(RetentionStore):
        async def purge_deleted(self, *, older_than: timedelta) -> int:
            deleted = await super().purge_deleted(older_than=older_than)
            await world.execute(
                """UPDATE loop_lease SET owner = gen_random_uuid(),
                       lease_until = clock_timestamp() + interval '5 min'"""
            )
            return deleted

    await retention(world, LosesTheLease(Database(world.engine), owner=uuid4(), rows_per_purge=1)).purge()
    assert len(await world.rows("SELECT 1 FROM item")) == 9


async def shops_with_nothing_to_purge(world: CatalogWorld, count: int) -> None:
    """Register shops with an ended sync, young tombstones and a young request id each."""
    for number in range(count):
        shop = ShopKey("shopify", f"n{count}-{number}.myshopify.com")
        sync = await world.create_sync(shop, request_id=f"{count}-{number}")
        await world.commands.cancel(sync.sync_id)
    await world.execute("UPDATE shop_state SET oldest_tombstone_at = clock_timestamp()")


async def test_a_round_with_nothing_to_do_sends_as_many_statements_for_many_shops_as_for_few(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    counts: list[int] = []
    for shop_count in (5, 50):
        await shops_with_nothing_to_purge(world, shop_count)
        await world.execute("DELETE FROM loop_lease")
        statements = statements_of(engine)
        await retention(world).purge()
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert counts[0] < 30


@pytest.mark.needs_session("plans are explained on a connection of their own")
async def test_what_is_to_be_purged_is_found_by_index_however_many_shops_there_are(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await world.execute(
        """INSERT INTO shop_state (shop_id, oldest_tombstone_at)
           SELECT gen_random_uuid(), clock_timestamp() - interval '1 day' FROM generate_series(1, 5000)"""
    )
    await world.execute(
        """INSERT INTO idempotency_key (principal, method, request_id, request_hash, shop_id, sync_id)
           SELECT '', 'StartSync', 'r-' || n, '', gen_random_uuid(), gen_random_uuid()
           FROM generate_series(1, 5000) AS n"""
    )
    await world.execute("ANALYZE shop_state, idempotency_key")
    with recorded(engine) as statements:
        await purge(world)
    for function in ("find_shop_with_tombstones", "purge_requests"):
        (plan,) = await plans_of(engine, statements, function)
        assert plan.full_scans == ()
        assert plan.rows_read == 0


async def test_a_drain_ends_purging_between_two_steps(world: CatalogWorld) -> None:
    await full_sync(world, ["1"], items=20)
    await full_sync(world, [])
    await age_tombstones(world)
    world.drain.start()
    with pytest.raises(ServerDraining):
        await purge(world, rows_per_purge=1)
    assert len(await world.rows("SELECT 1 FROM item")) == 19


async def test_an_unexpected_error_of_one_kind_keeps_no_other_from_being_purged(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await full_sync(world, ["1"])
    await full_sync(world, [])
    await age_tombstones(world)
    await world.create_sync(request_id="r-1")
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '1 year'")
    await world.execute(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'not this row'; END $$"""
    )
    await world.execute(
        "CREATE TRIGGER refuse BEFORE DELETE ON idempotency_key FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    await purge(world)
    assert "cannot purge old records" in caplog.text
    assert await values_of(world, "idempotency_key", "request_id") == {"r-1"}
    assert await world.rows("SELECT 1 FROM item") == []


async def test_the_loop_purges_soon_after_its_start_and_ends_with_the_drain(world: CatalogWorld) -> None:
    await world.create_sync(SHOP, request_id="r-1")
    await world.execute("UPDATE idempotency_key SET created_at = clock_timestamp() - interval '1 year'")
    running = asyncio.create_task(retention(world, every=timedelta(milliseconds=40)).run())

    async def count() -> None:
        while await world.rows("SELECT 1 FROM idempotency_key"):
            pass

    await within_timeout(count())
    world.drain.start()
    await within_timeout(running)


async def test_the_loop_survives_an_unavailable_database(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    class UnavailableOnce(RetentionStore):
        rounds = 0

        async def acquire(self, *, ttl: timedelta) -> bool:
            self.rounds += 1
            if self.rounds == 1:
                raise StorageUnavailable
            return await super().acquire(ttl=ttl)

    store = UnavailableOnce(Database(world.engine), owner=uuid4())
    running = asyncio.create_task(retention(world, store, every=timedelta(milliseconds=10)).run())
    await until(lambda: store.rounds > 2)
    world.drain.start()
    await within_timeout(running)
    assert "the database is unavailable" in caplog.text
