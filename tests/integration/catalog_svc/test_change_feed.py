"""The change feed of all shops over PostgreSQL: complete, whatever the order in which transactions commit."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.change_feed import ChangedShop, ChangeFilter, ChangeKind
from catalog_svc.domain.errors import ChangePositionExpired
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncState
from catalog_svc.rpc.change_feed import decode_position, encode_position
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from catalog_svc.usecases.retention import RetentionPolicy
from tests.conftest import (
    OWNER,
    copied_database,
    execute,
    make_template,
    open_directory,
    superuser_url,
    with_database,
)
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.change_reader import (
    TTL,
    ChangeReader,
    HeldDatabase,
    RolledBack,
    ShopWriter,
    open_transaction,
)
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.purging import purge, store_of
from tests.waiting import until_found

OTHER = ShopKey("shopify", "other.myshopify.com")


@pytest.fixture
async def reader(world: CatalogWorld) -> ChangeReader:
    """Return a reader that begins before the test writes anything."""
    reader = ChangeReader(world)
    await reader.begin()
    return reader


@pytest.fixture
async def outside(world: CatalogWorld) -> AsyncIterator[AsyncEngine]:
    """Yield connections to another database of the same server."""
    engine = open_engine(with_database(superuser_url(world.engine), "postgres"), pool_size=1)
    yield engine
    await engine.dispose()


async def test_each_batch_that_changes_items_and_each_state_of_a_sync_is_an_event(
    world: CatalogWorld, reader: ChangeReader
) -> None:
    source = MemorySource([product(f"{n}") for n in range(3)])
    first = await world.sync(source)
    events = await world.rows("SELECT sync_id, feed_position FROM change_event ORDER BY number")
    (state,) = await world.rows("SELECT feed_position FROM shop_state")
    batches = range(1, state["feed_position"] + 1)
    assert [(row["sync_id"], row["feed_position"]) for row in events] == [
        # PENDING, RUNNING, the batches, SUCCEEDED.
        *[(first.sync_id, 0)] * 2,
        *((None, position) for position in batches),
        (first.sync_id, batches[-1]),
    ]
    unchanged = await world.sync(source)
    await reader.read_all()
    shop_id = first.shop.shop_id
    assert reader.positions == [(shop_id, position) for position in batches]
    assert dict(reader.states) == dict.fromkeys((first.sync_id, unchanged.sync_id), SyncState.SUCCEEDED)


async def test_commands_and_takeovers_write_one_event_for_each_change_of_the_state(world: CatalogWorld) -> None:
    created = await world.create_sync()
    await world.claim()
    await world.expire_lease(created.sync_id)
    await world.claim()
    await world.commands.cancel(created.sync_id)
    # PENDING, RUNNING, nothing for the takeover, CANCELLED.
    assert len(await world.rows("SELECT number FROM change_event")) == 3


async def test_a_transaction_that_commits_after_a_later_one_is_not_skipped(
    world: CatalogWorld, reader: ChangeReader
) -> None:
    """A position by number, or by time, would be that of the later transaction already."""
    slow, quick = await ShopWriter.begin(world, SHOP), await ShopWriter.begin(world, OTHER)
    await reader.read_all()
    held = HeldDatabase(world.engine)
    late = asyncio.create_task(slow.store(BatchStore(held, ttl=TTL)))
    await held.held.wait()
    await quick.store()
    await reader.read()
    assert reader.positions == []
    # The later one is stored, and waits for the earlier one.
    assert len(await world.rows("SELECT number FROM change_event WHERE sync_id IS NULL")) == 1
    assert reader.delay > timedelta()
    held.release.set()
    await late
    await reader.read_all()
    assert reader.positions == [(slow.shop.shop_id, 1), (quick.shop.shop_id, 1)]


async def test_a_transaction_that_is_rolled_back_is_no_event_and_stops_nothing(
    world: CatalogWorld, reader: ChangeReader
) -> None:
    slow, quick = await ShopWriter.begin(world, SHOP), await ShopWriter.begin(world, OTHER)
    held = HeldDatabase(world.engine, roll_back=True)
    failing = asyncio.create_task(slow.store(BatchStore(held, ttl=TTL)))
    await held.held.wait()
    await quick.store()
    held.release.set()
    with pytest.raises(RolledBack):
        await failing
    await reader.read_all()
    assert reader.positions == [(quick.shop.shop_id, 1)]
    await slow.store()
    await reader.read_all()
    assert reader.positions[1:] == [(slow.shop.shop_id, 1)]


@pytest.mark.needs_session("the transaction is one of another database")
async def test_a_transaction_in_another_database_delays_the_feed_and_not_that_of_a_shop(
    world: CatalogWorld, reader: ChangeReader, outside: AsyncEngine
) -> None:
    writer = await ShopWriter.begin(world, SHOP)
    await reader.read_all()
    async with open_transaction(outside):
        await writer.store()
        await reader.read()
        assert reader.positions == []
        assert reader.delay > timedelta()
        items = await ItemFeedStore(Database(world.engine)).page(writer.shop, None, limit=10)
        assert [item.item_id for item in items.items] == ["1-1"]
    await reader.read_all()
    assert reader.positions == [(writer.shop.shop_id, 1)]
    assert reader.delay == timedelta()


async def test_pages_end_between_transactions(world: CatalogWorld, reader: ChangeReader) -> None:
    """So that the id of a transaction is a position."""
    writer = await ShopWriter.begin(world, SHOP)
    for _ in range(3):
        await writer.store()
    (shop,) = await world.rows("SELECT shop_id, max(number) + 1 AS number FROM change_event GROUP BY shop_id")
    await world.execute(
        """INSERT INTO change_event (shop_id, number, feed_position)
           SELECT :shop_id, :number + n, 100 + n FROM generate_series(0, 4) AS n""",
        **shop,
    )
    small = ChangeReader(world, limit=2)
    small.cursor = reader.cursor
    await reader.read_all()
    await small.read_all()
    assert small.positions == reader.positions
    assert [position for _, position in small.positions] == [1, 2, 3, *range(100, 105)]


async def test_a_snapshot_has_all_shops_with_items_and_continues_after_each_page(world: CatalogWorld) -> None:
    feeds = ChangeFeedStore(Database(world.engine))
    for number in range(5):
        writer = await ShopWriter.begin(world, ShopKey("shopify", f"s{number}.myshopify.com"))
        if number:
            await writer.store()
        await writer.end()
    cursor, found = await feeds.start(), list[str]()
    while cursor.snapshot is not None:
        # As a client continues in another stream.
        continued = decode_position(encode_position(cursor, ChangeKind.SHOPS), ChangeKind.SHOPS)
        assert continued == cursor
        page = await feeds.snapshot(cursor, limit=2, which=ChangeFilter(kind=ChangeKind.SHOPS))
        found += [record.shop.key.domain.partition(".")[0] for record in page.records]
        assert not page.caught_up
        cursor = page.cursor
    assert sorted(found) == ["s1", "s2", "s3", "s4"]
    assert (await feeds.events(cursor, limit=10)).caught_up


async def test_a_snapshot_of_syncs_has_those_that_are_active(world: CatalogWorld) -> None:
    feeds = ChangeFeedStore(Database(world.engine))
    keys = [ShopKey("shopify", f"s{number}.myshopify.com") for number in range(5)]
    active = {(await world.create_sync(key)).sync_id for key in keys}
    ended = await world.create_sync(SHOP)
    await world.commands.cancel(ended.sync_id)
    cursor, found = await feeds.start(), list[object]()
    while cursor.snapshot is not None:
        continued = decode_position(encode_position(cursor, ChangeKind.SYNCS), ChangeKind.SYNCS)
        assert continued == cursor
        page = await feeds.snapshot(cursor, limit=2, which=ChangeFilter(kind=ChangeKind.SYNCS))
        found += [record.sync_id for record in page.records if not isinstance(record, ChangedShop)]
        cursor = page.cursor
    assert (len(found), set(found)) == (5, active)


async def test_the_deletion_of_a_shop_is_read_before_and_after_its_events_are_purged(world: CatalogWorld) -> None:
    early, late = ChangeReader(world), ChangeReader(world)
    writer = await ShopWriter.begin(world, SHOP)
    await writer.store()
    await early.begin()
    late.cursor = early.cursor
    deletions = ShopDeletionStore(Database(world.engine), owner=uuid4())
    await deletions.begin(writer.shop)
    await early.read_all()
    while await deletions.purge(writer.shop.shop_id):
        pass
    await late.read_all()
    for reader in (early, late):
        assert [(one.shop.key, one.deleted) for one in reader.records if isinstance(one, ChangedShop)] == [
            (SHOP, True)
        ]
        assert reader.states == []


class TestRetention:
    """Events are purged in the order of their transactions; whoever may have missed one learns that."""

    async def test_old_events_are_purged_in_small_steps_and_positions_before_them_expire(
        self, world: CatalogWorld, reader: ChangeReader
    ) -> None:
        assert RetentionPolicy().changes == timedelta(days=7)
        writer = await ShopWriter.begin(world, SHOP)
        for _ in range(5):
            await writer.store()
        await world.execute("UPDATE change_event SET created_at = created_at - interval '8 days'")
        middle = ChangeReader(world)
        await middle.begin()
        await writer.store()
        store = store_of(world, rows_per_purge=3)
        steps = [await store.purge_changes(older_than=timedelta(days=7)) for _ in range(4)]
        assert steps == [3, 3, 1, 0]
        await middle.read_all()
        assert middle.positions == [(writer.shop.shop_id, 6)]
        with pytest.raises(ChangePositionExpired, match="call again without a position"):
            await reader.read()

    async def test_the_retention_loop_purges_old_events(self, world: CatalogWorld) -> None:
        await ShopWriter.begin(world, SHOP)
        await purge(world)
        assert await world.rows("SELECT number FROM change_event")
        await world.execute("UPDATE change_event SET created_at = created_at - interval '8 days'")
        await purge(world)
        assert not await world.rows("SELECT number FROM change_event")

    async def test_a_young_event_before_old_ones_stays(self, world: CatalogWorld) -> None:
        """A long transaction writes an event late, under an early id."""
        writer = await ShopWriter.begin(world, SHOP)
        await writer.store()
        await world.execute(
            "UPDATE change_event SET created_at = created_at - interval '8 days' WHERE sync_id IS NULL"
        )
        await store_of(world).purge_changes(older_than=timedelta(days=7))
        left = await world.rows("SELECT sync_id IS NULL AS is_item FROM change_event")
        assert [row["is_item"] for row in left] == [False, False]


@pytest.mark.needs_session("the copied database has its own name")
async def test_a_position_of_a_copy_of_the_database_is_expired(world: CatalogWorld) -> None:
    """The copy has every row of the original, the stored incarnation among them."""
    await ShopWriter.begin(world, SHOP)
    original = ChangeReader(world)
    await original.begin()
    superuser, name = superuser_url(world.engine), f"copy_{uuid4().hex}"
    await world.engine.dispose()
    await execute(superuser, f"CREATE DATABASE {name} TEMPLATE {make_url(superuser).database} OWNER {OWNER}")
    copy = open_engine(service_url(with_database(superuser, name)))
    try:
        restored = ChangeReader(CatalogWorld(copy))
        restored.cursor = original.cursor
        with pytest.raises(ChangePositionExpired):
            await restored.read()
    finally:
        await copy.dispose()
        await execute(superuser, f"DROP DATABASE {name} WITH (FORCE)")
    await original.read()


async def test_no_event_is_skipped_after_a_crash_that_makes_the_server_assign_ids_again() -> None:
    """Of transactions that left nothing on disk: a position at the horizon would be above later events."""
    with open_directory("crash") as directory:
        async with embedded_postgres(directory / "data") as url:
            await make_template(url)
            # The ids must not reach the disk before the crash, however long it takes on a busy machine.
            await execute(url, "ALTER SYSTEM SET wal_writer_delay = '10s'")
            await execute(url, "SELECT pg_reload_conf()")
            async with copied_database(url) as database_url:
                engine = open_engine(service_url(database_url))
                world = CatalogWorld(engine)
                writer = await ShopWriter.begin(world, SHOP)
                reader = ChangeReader(world)
                await reader.begin()
                for _ in range(50):
                    async with open_transaction(engine):
                        pass
                await reader.read_all()
                (before,) = await world.rows("SELECT horizon FROM change_feed_state()")
                await crash(engine)
                after = await until_found(partial(horizon, world))
                # Otherwise the experiment shows nothing.
                assert after < before["horizon"]
                await writer.store()
                await reader.read_all()
                assert reader.positions == [(writer.shop.shop_id, 1)]
                await engine.dispose()


async def crash(engine: AsyncEngine) -> None:
    """Kill a process of the server, after which it recovers as after a crash of the machine."""
    with suppress(DBAPIError):
        async with engine.connect() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            os.kill(pid, signal.SIGKILL)
            await connection.execute(text("SELECT 1"))
    await engine.dispose()


async def horizon(world: CatalogWorld) -> int | None:
    """Return the horizon of the change feed; None while the server recovers."""
    try:
        (state,) = await world.rows("SELECT horizon FROM change_feed_state()")
    except (DBAPIError, OSError, asyncpg.PostgresError):
        return None
    return int(state["horizon"])


async def test_a_position_above_the_end_is_expired(world: CatalogWorld, reader: ChangeReader) -> None:
    """The files of the server were restored from a snapshot of its disk: nothing else differs."""
    assert reader.cursor is not None
    reader.cursor = replace(reader.cursor, xid=reader.cursor.xid + 1_000_000)
    with pytest.raises(ChangePositionExpired):
        await reader.read()


async def _as_service(world: CatalogWorld, statement: str, shop_id: UUID) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text(statement), {"shop_id": shop_id})

    await Database(world.engine).write(work, shops=[shop_id])


class TestOlderRelease:
    """Replicas of the last release, which run beside new ones during an upgrade, write no events themselves."""

    async def test_the_database_writes_the_events_of_its_batches_and_syncs(self, world: CatalogWorld) -> None:
        created = await world.create_sync()
        shop_id, sync_id = created.shop.shop_id, created.sync_id
        await world.execute("DELETE FROM change_event")
        # The statements of that release, as the service role executes them.
        for assignments in (
            "epoch = epoch + 1",
            "feed_position = feed_position + 1, item_count = item_count + 1",
            "next_seq = next_seq + 1",
            "active_sync_id = NULL, last_ended_sync_id = active_sync_id",
            "deleting = true, epoch = epoch + 1",
        ):
            await _as_service(world, f"UPDATE shop_state SET {assignments} WHERE shop_id = :shop_id", shop_id)
        events = await world.rows("SELECT shop_id, sync_id, feed_position FROM change_event ORDER BY number")
        assert [(row["shop_id"], row["sync_id"], row["feed_position"]) for row in events] == [
            # Claimed, a batch, ended, the shop deleted.
            (shop_id, sync_id, 0),
            (shop_id, None, 1),
            (shop_id, sync_id, 1),
            (shop_id, None, 1),
        ]
