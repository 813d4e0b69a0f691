"""Nothing of a deleted shop is left, nobody writes it afterwards, and the report counts what was deleted."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from catalogsync.errors.v1 import issue_reason_pb2
from catalogsync_common.drain import ServerDraining
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import LeaseLost, ShopBeingDeleted, ShopNotFound, SourceFailed, SyncNotFound
from catalog_svc.domain.refresh import RefreshReason, RefreshRequest
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopChange, ShopDeletion, ShopField, ShopKey
from catalog_svc.domain.status import ShopFilter
from catalog_svc.domain.sync import (
    CancelledSync,
    StartSyncCommand,
    Sync,
    SyncMode,
    SyncState,
    Waiting,
    WaitReason,
)
from catalog_svc.metrics import NullDeliveryMetrics, NullSyncMetrics
from catalog_svc.storage.audit_records import AuditRecordStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.shop_deletions import PURGED_TABLES, ShopDeletionStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.shop_purge import ShopPurge
from catalog_svc.usecases.shops import DeleteShop, ManageShops
from catalog_svc.usecases.sync_commands import StartSync
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.watch_pacing import WatchLimits
from catalog_svc.usecases.watch_sync import WatchSync
from tests.conftest import as_owner
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.analyzing import ANALYZER, OTHER_ANALYZER, Analyzing, pictured
from tests.integration.catalog_svc.conftest import HEADER, SHOP, CatalogWorld
from tests.waiting import until, until_found, within_timeout

OTHER = ShopKey("shopify", "other.myshopify.com")
OFF = ScheduleDefaults()
WEEK = timedelta(days=7)
REVOKED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)

REPORTS = {"shop_deletion", "change_event"}
"""Tables with rows of a shop after its deletion, which retention purges."""


class Replica:
    """What one replica needs to delete shops."""

    def __init__(self, world: CatalogWorld, *, rows_per_chunk: int = 5_000, attempts: int = 4) -> None:
        database = Database(world.engine, attempts=attempts)
        self.deletions = ShopDeletionStore(database, owner=uuid4(), rows_per_chunk=rows_per_chunk)
        self.directory = ShopDirectoryStore(database)
        self.purge = ShopPurge(
            deletions=self.deletions, drain=world.drain, poll_interval=timedelta(milliseconds=20)
        )
        self.cancelled: list[CancelledSync] = []
        self.read = ReadCatalog(
            shops=world.shops,
            items=world.items,
            products=ProductStore(database),
            statuses=StatusStore(database),
            platforms=KnownPlatforms(),
            defaults=OFF,
        )
        self.shops = ManageShops(
            shops=world.shops,
            directory=self.directory,
            read_directory=self.directory,
            platforms=KnownPlatforms(),
            read=self.read,
            defaults=OFF,
        )
        self.delete = DeleteShop(
            shops=world.shops,
            deletions=self.deletions,
            read=self.read,
            cancel_platform_job=self.cancelled.append,
            wake_purge=self.purge.wake,
            metrics=NullSyncMetrics(),
        )
        self.start = StartSync(
            shops=world.shops,
            commands=world.commands,
            platforms=KnownPlatforms(),
            wake_worker=lambda: None,
            overlap=timedelta(),
            metrics=NullSyncMetrics(),
        )

    async def delete_whole(self, shop: UUID | ShopKey = SHOP) -> ShopDeletion:
        """Delete the shop and purge all its rows."""
        deletion = await self.delete(shop)
        await self.purge.purge()
        ended = await self.deletions.find(deletion.shop.shop_id)
        assert ended is not None
        return ended


def shirts(count: int, *, prefix: str = "") -> MemorySource:
    return MemorySource([product(f"{prefix}{n:03}", items=2) for n in range(count)])


async def synced(world: CatalogWorld, source: MemorySource, shop: ShopKey = SHOP, **more: Any) -> Sync:
    """Create a sync of the shop and run it to its end."""
    created = await world.create_sync(shop=shop, **more)
    await world.supervisor(source).run(await world.claim())
    return await world.syncs.get(created.sync_id)


async def id_of(world: CatalogWorld, shop: ShopKey = SHOP) -> UUID:
    found = await world.shops.find(shop)
    assert found is not None
    return found.shop_id


async def columns(world: CatalogWorld, name: str) -> list[str]:
    """Return the tables with a column of that name, without partitions."""
    rows = await world.rows(
        """SELECT class.relname FROM pg_class AS class JOIN pg_attribute AS attribute ON attrelid = class.oid
           WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p') AND NOT relispartition
             AND attname = :name""",
        name=name,
    )
    return sorted(row["relname"] for row in rows)


async def tables_with(world: CatalogWorld, needle: str) -> set[str]:
    """Return the tables that have this text in any column of any row, also within JSON, arrays and bytes."""
    tables = await world.rows(
        """SELECT relname FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)
             AND relkind IN ('r', 'p') AND NOT relispartition"""
    )
    found = set()
    for table in tables:
        name = table["relname"]
        (row,) = await world.rows(
            f"""SELECT count(*) AS count FROM {name} AS one
                WHERE strpos(one::text, :needle) > 0 OR strpos(one::text, :hex) > 0""",
            needle=needle,
            hex=needle.encode().hex(),
        )
        if row["count"]:
            found.add(name)
    return found


async def all_rows(world: CatalogWorld, shop_id: UUID) -> dict[str, list[str]]:
    """Return every row of the shop, by table."""
    return {
        table: [
            row["row"]
            for row in await world.rows(
                f"SELECT one::text AS row FROM {table} AS one WHERE shop_id = :shop_id ORDER BY 1", shop_id=shop_id
            )
        ]
        for table in await columns(world, "shop_id")
    }


async def counts(world: CatalogWorld, shop_id: UUID) -> Counter[str]:
    return Counter({table: len(rows) for table, rows in (await all_rows(world, shop_id)).items()})


async def long_lived_shop(world: CatalogWorld, replica: Replica) -> UUID:
    """Return the id of a shop that has rows in every table with rows of shops, and an active sync."""
    await replica.shops.register(SHOP, merchant_id="merchant-of-the-test", display_name="Name by the caller")
    source = MemorySource(
        [pictured(f"product-{n}", f"picture-{n}", "", title="Unmistakable shirt") for n in range(9)]
    )
    source.platform_shop_id, source.display_name = "id-on-the-platform", "Name on the platform"
    source.notes = ("A note of the test.",)
    source.issues = [
        connector_pb.RecordIssue(
            reason=issue_reason_pb2.ISSUE_REASON_MISSING_ID, product_id="rejected-1", sample="a sample"
        )
    ]
    for number in range(7):
        await synced(world, source, request_id=f"request-{number}")
    analyzing = Analyzing(world)
    await analyzing.switch(ANALYZER, OTHER_ANALYZER)
    await analyzing.submit((await analyzing.lease(limit=1)).tasks[0])
    # A pass that failed and is not resumed, and one that runs.
    source.failures = {4: [REVOKED]}
    await synced(world, source)
    await world.create_sync(request_id="request-active")
    claimed = await world.claim()
    source.failures = {}
    source.hold = asyncio.Event()
    task = asyncio.create_task(world.supervisor(source).run(claimed))
    await until(
        lambda: any(s.sync_id == claimed.sync.sync_id and s.progress.products.seen for s in world.published)
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=("product-1", "product-2"))
    await RefreshRequestStore(Database(world.engine)).add(claimed.sync.shop, request)
    await AuditRecordStore(Database(world.engine)).begin(claimed.sync.shop)
    return await id_of(world)


async def test_nothing_of_a_deleted_shop_is_left_in_any_table(world: CatalogWorld) -> None:
    replica = Replica(world)
    shop_id = await long_lived_shop(world, replica)
    # The ids of its syncs begin with the first 88 bits of its own.
    needles = {
        "ids": str(shop_id)[:26],
        "domain": SHOP.domain,
        "merchant": "merchant-of-the-test",
        "caller's name": "Name by the caller",
        "platform's name": "Name on the platform",
        "platform's id": "id-on-the-platform",
        "title": "Unmistakable shirt",
        "product ids": "product-",
        "rejected product": "rejected-1",
        "sample": "a sample",
        "note": "A note of the test.",
        "image": "picture-",
    }
    for what, needle in needles.items():
        assert await tables_with(world, needle), f"the test cannot find the {what}"
    # A table with rows of shops that is not filled here would be no test of its deletion.
    empty = {table for table, rows in (await counts(world, shop_id)).items() if not rows}
    assert {table for table in await columns(world, "shop_id") if table in empty} == {"shop_deletion"}

    assert (await replica.delete_whole()).ended_at is not None

    left = {what: tables for what, needle in needles.items() if (tables := await tables_with(world, needle))}
    # The report of the deletion names the shop for a week; followers of many shops learn its id by the last event.
    assert left == {"ids": REPORTS, "domain": {"shop_deletion"}, "merchant": {"shop_deletion"}}
    assert (await counts(world, shop_id))["change_event"] == 1


async def test_every_table_with_many_rows_of_a_shop_is_purged(world: CatalogWorld) -> None:
    """The others have few rows, which the first and the last transaction delete."""
    few = {"shop", "shop_schedule", "shop_state", "sync", "sync_queue", "idempotency_key", "shop_deletion"}
    few |= {"refresh_queue", "shop_audit", "shop_webhooks", "analysis_queue"}
    assert set(await columns(world, "shop_id")) == few | {table.name for table in PURGED_TABLES}


async def test_other_shops_keep_every_row_as_it_is(world: CatalogWorld) -> None:
    replica = Replica(world, rows_per_chunk=3)
    await synced(world, shirts(8), OTHER, request_id="other")
    await world.create_sync(shop=OTHER)
    other_id = await id_of(world, OTHER)
    await synced(world, shirts(8), request_id="r")
    before = await all_rows(world, other_id)
    await replica.delete_whole()
    assert await all_rows(world, other_id) == before
    assert [one.shop.key for one in await replica.shops.page(ShopFilter(), after=None, limit=10)] == [OTHER]


async def test_the_report_counts_what_was_stored(world: CatalogWorld) -> None:
    replica = Replica(world, rows_per_chunk=4)
    shop_id = await long_lived_shop(world, replica)
    stored = await counts(world, shop_id)
    await replica.delete_whole()
    report = await replica.delete(shop_id)
    assert (report.products, report.items) == (stored["product"], stored["item"]) == (9, 18)
    assert (report.syncs, report.issues) == (stored["sync"] + stored["sync_history"], stored["sync_issue"])
    assert report.syncs == 9


async def test_a_chunk_deletes_no_more_rows_than_allowed(world: CatalogWorld) -> None:
    replica = Replica(world, rows_per_chunk=3)
    await synced(world, shirts(5))
    shop_id = (await replica.delete(SHOP)).shop.shop_id
    before = await counts(world, shop_id)
    sizes = []
    while await replica.deletions.purge(shop_id):
        after = await counts(world, shop_id)
        sizes.append(sum((before - after).values()))
        before = after
    assert max(sizes) == 3
    assert sizes.count(3) >= 4


async def test_a_running_sync_stops_and_its_worker_writes_nothing_afterwards(world: CatalogWorld) -> None:
    replica = Replica(world)
    created = await world.create_sync()
    source = shirts(6)
    source.hold = asyncio.Event()
    polling = asyncio.create_task(world.hub.run(world.drain))
    # Without renewals, from which the execution would learn that its lease is void.
    running = asyncio.create_task(
        world.supervisor(source, renew_interval=timedelta(hours=1)).run(await world.claim())
    )
    await until(lambda: any(s.progress.products.seen for s in world.published))
    await replica.delete_whole()
    await within_timeout(running)
    assert source.closed
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    shop_id = created.shop.shop_id
    assert set(+(await counts(world, shop_id))) == REPORTS
    (cancelled,) = replica.cancelled
    assert (cancelled.sync.sync_id, cancelled.sync.state) == (created.sync_id, SyncState.CANCELLED)
    # The platform's job is found by it.
    assert cancelled.checkpoint == b"2"


@pytest.mark.parametrize("purged", [False, True])
async def test_no_write_of_a_worker_that_does_not_know_of_the_deletion_succeeds(
    world: CatalogWorld, purged: bool
) -> None:
    replica = Replica(world)
    await world.create_sync()
    claimed = await world.claim()
    lease, shop = claimed.lease, claimed.sync.shop
    await world.leases.begin(lease, HEADER)
    await (replica.delete_whole() if purged else replica.delete(SHOP))
    before = await all_rows(world, shop.shop_id)
    waiting = Waiting(reason=WaitReason.THROTTLED, until=WATERMARK)
    batch = shirts(1)._batch(shirts(1).products, 1, with_issues=False)
    for write in (
        world.leases.renew(lease),
        world.leases.reacquire(lease),
        world.leases.begin(lease, HEADER),
        world.leases.wait(lease, shop, waiting),
        world.leases.pause(lease, shop, waiting),
        world.batches.apply(lease, shop, batch, full=True, items_per_second=None),
        world.sweeps.missing(lease, after="", limit=10),
        world.sweeps.step(lease, shop),
        world.leases.end(lease, SyncState.SUCCEEDED),
    ):
        with pytest.raises(LeaseLost):
            await write
    await world.leases.release(lease)
    assert await world.leases.claim() == []
    assert await all_rows(world, shop.shop_id) == before


async def test_from_the_first_call_on_the_shop_is_neither_read_nor_synced(world: CatalogWorld) -> None:
    replica = Replica(world)
    sync = await synced(world, shirts(3))
    shop = sync.shop
    await world.execute("UPDATE shop_schedule SET full_due_at = clock_timestamp() - interval '1 h'")
    schedules = ScheduleStore(Database(world.engine))
    (due,) = await schedules.due(most_per_platform=10, limit=10)
    await replica.delete(SHOP)
    for ref in (SHOP, shop.shop_id):
        with pytest.raises(ShopBeingDeleted):
            await replica.start(ref, SyncMode.FULL)
        with pytest.raises(ShopBeingDeleted):
            await replica.shops.update(ref, ShopChange(fields=frozenset({ShopField.PAUSED})))
        for read in (replica.shops.get(ref), replica.read.status(ref), replica.read.shop(ref)):
            with pytest.raises(ShopNotFound):
                await read
    with pytest.raises(ShopBeingDeleted):
        await replica.shops.register(SHOP, merchant_id="", display_name="")
    # A status that has found the shop a moment before.
    with pytest.raises(ShopNotFound):
        await StatusStore(Database(world.engine)).get(shop, OFF)
    # A start that has found the shop, and a scheduled one.
    with pytest.raises(ShopBeingDeleted):
        await world.create_sync()
    assert await schedules.due(most_per_platform=10, limit=10) == []
    assert await world.commands.start_due(due, _command(SHOP), lambda _: due.schedule) is None
    assert await replica.shops.page(ShopFilter(), after=None, limit=10) == []


async def test_the_syncs_of_a_deleted_shop_are_not_found(world: CatalogWorld) -> None:
    replica = Replica(world)
    old = [await synced(world, shirts(2)) for _ in range(7)]
    active = await world.create_sync()
    other = await synced(world, shirts(2), OTHER)
    (in_history,) = await world.rows("SELECT sync_id FROM sync_history ORDER BY sync_id LIMIT 1")
    await replica.delete(SHOP)
    for sync_id in (in_history["sync_id"], old[-1].sync_id, active.sync_id):
        for call in (
            world.syncs.get(sync_id),
            world.issues.page(sync_id, after=0, limit=10),
            world.commands.cancel(sync_id),
            world.commands.resume(sync_id, request_id="", correlation_id=""),
        ):
            with pytest.raises(SyncNotFound):
                await call
    assert await world.syncs.get_many([active.sync_id, in_history["sync_id"]]) == []
    page = await world.syncs.page(shop=None, states=[], before=None, limit=10)
    assert [sync.sync_id for sync in page] == [other.sync_id]


async def test_an_open_watch_ends_with_an_error(world: CatalogWorld, engine: AsyncEngine) -> None:
    created = await world.create_sync()
    hub = SyncHub(world.syncs, poll_interval=timedelta(milliseconds=20))
    polling = asyncio.create_task(hub.run(world.drain))
    follow = WatchSync(
        hub=hub,
        drain=world.drain,
        metrics=NullDeliveryMetrics(),
        limits=WatchLimits(heartbeat_every=timedelta(hours=1)),
    )
    shown: list[Sync] = []

    async def watch() -> None:
        async for snapshot in follow(created.sync_id, 0):
            shown.append(snapshot.sync)

    watching = asyncio.create_task(watch())
    await until(lambda: shown)
    await Replica(CatalogWorld(engine)).delete(SHOP)
    with pytest.raises(SyncNotFound):
        await within_timeout(watching)
    with pytest.raises(SyncNotFound):
        await watch()
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)


async def test_a_purge_that_dies_within_a_chunk_is_continued_by_another_replica_with_exact_counts(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    dying = Replica(world, rows_per_chunk=4, attempts=1)
    await synced(world, shirts(9))
    shop_id = (await dying.delete(SHOP)).shop.shop_id
    assert await dying.deletions.purge(shop_id)
    async with as_owner(engine).connect() as blocker:
        # The chunk has deleted its rows and waits for one that somebody else has locked.
        locked = await blocker.execute(
            text("SELECT pg_backend_pid() FROM item ORDER BY item_id OFFSET 6 FOR UPDATE")
        )
        pid = locked.scalars().first()
        chunk = asyncio.create_task(dying.deletions.purge(shop_id))

        async def waiting_backend() -> int | None:
            rows = await world.rows(
                "SELECT pid FROM pg_stat_activity WHERE CAST(:pid AS integer) = ANY(pg_blocking_pids(pid))",
                pid=pid,
            )
            return rows[0]["pid"] if rows else None

        backend = await until_found(waiting_backend)
        await world.own_rows(f"SELECT pg_terminate_backend({backend})")
        with pytest.raises(Exception, match="unavailable"):
            await within_timeout(chunk)
        await blocker.rollback()
    assert (await dying.delete(shop_id)).items == 4
    survivor = Replica(CatalogWorld(engine), rows_per_chunk=4)
    await survivor.purge.purge()
    report = await survivor.delete(shop_id)
    assert (report.products, report.items, report.syncs) == (9, 18, 1)
    assert report.ended_at is not None
    assert set(+(await counts(world, shop_id))) == REPORTS
    # The one that was believed dead continues where it was, and finds that nothing is left.
    assert await dying.deletions.purge(shop_id) is False
    assert await survivor.delete(shop_id) == report


async def test_two_replicas_that_purge_at_once_count_each_row_once(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    """A lease of the loop may be believed by two."""
    replicas = [Replica(CatalogWorld(engine), rows_per_chunk=2) for _ in range(2)]
    await synced(world, shirts(20))
    shop_id = (await replicas[0].delete(SHOP)).shop.shop_id

    async def purge(replica: Replica) -> None:
        while await replica.deletions.purge(shop_id):
            pass

    await within_timeout(asyncio.gather(*map(purge, replicas)))
    report = await replicas[1].delete(shop_id)
    assert (report.products, report.items, report.syncs) == (20, 40, 1)


async def test_concurrent_calls_begin_one_deletion_and_cancel_one_sync(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    await synced(world, shirts(2))
    await world.create_sync()
    replicas = [Replica(CatalogWorld(engine)) for _ in range(6)]
    found = await asyncio.gather(*(replica.delete(SHOP) for replica in replicas))
    assert len({(one.shop.shop_id, one.started_at) for one in found}) == 1
    assert len(await world.rows("SELECT * FROM shop_deletion")) == 1
    assert sum(len(replica.cancelled) for replica in replicas) == 1


async def test_a_start_and_a_deletion_at_the_same_time_leave_no_sync_behind(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    """Whichever is first, nothing is queued, and nothing but the report is left."""
    purger = Replica(world)
    for number in range(10):
        key = ShopKey("shopify", f"race-{number}.myshopify.com")
        shop_id = (await purger.shops.register(key, merchant_id="", display_name="")).shop.shop_id
        replicas = [Replica(CatalogWorld(engine)) for _ in range(4)]
        outcomes = await asyncio.gather(
            replicas[0].start(key, SyncMode.FULL),
            replicas[1].delete(key),
            replicas[2].start(shop_id, SyncMode.FULL),
            replicas[3].shops.register(key, merchant_id="", display_name=""),
            return_exceptions=True,
        )
        errors = {type(one).__name__ for one in outcomes if isinstance(one, BaseException)}
        assert errors <= {"ShopBeingDeleted", "SyncAlreadyRunning"}
        await purger.purge.purge()
        assert set(+(await counts(world, shop_id))) == REPORTS
        assert await world.rows("SELECT * FROM sync_queue") == []


async def test_after_the_end_the_shop_is_registered_as_a_new_one(world: CatalogWorld) -> None:
    replica = Replica(world)
    first = await synced(world, shirts(2), request_id="r")
    old_id = first.shop.shop_id
    report = await replica.delete_whole()
    new = await replica.shops.register(SHOP, merchant_id="", display_name="")
    assert new.shop.shop_id != old_id
    # The request of a deleted shop is forgotten with it.
    second = await world.create_sync(request_id="r")
    assert (second.shop.shop_id, second.sync_id != first.sync_id) == (new.shop.shop_id, True)
    assert await replica.delete(old_id) == report
    again = await replica.delete(SHOP)
    assert (again.shop.shop_id, again.ended_at) == (new.shop.shop_id, None)
    assert await replica.delete(SHOP) == again


async def test_a_shop_that_never_was_is_not_deleted(world: CatalogWorld) -> None:
    for ref in (SHOP, uuid4()):
        with pytest.raises(ShopNotFound):
            await Replica(world).delete(ref)
    assert await world.rows("SELECT * FROM shop_deletion") == []


async def test_retention_removes_a_report_a_week_after_the_end(world: CatalogWorld) -> None:
    replica, retention = Replica(world), RetentionStore(Database(world.engine), owner=uuid4())
    await synced(world, shirts(1))
    shop_id = (await replica.delete(SHOP)).shop.shop_id
    await world.execute("UPDATE shop_deletion SET started_at = started_at - interval '1 year'")
    assert await retention.purge_deletions(older_than=WEEK) == 0
    await replica.purge.purge()
    for age, purged in (("6 days 23 h", 0), ("7 days 1 min", 1)):
        await world.execute(f"UPDATE shop_deletion SET ended_at = clock_timestamp() - interval '{age}'")
        assert await retention.purge_deletions(older_than=WEEK) == purged
    with pytest.raises(ShopNotFound):
        await replica.delete(shop_id)


async def test_retention_leaves_tombstones_of_a_shop_that_is_deleted_to_its_purge(world: CatalogWorld) -> None:
    replica, retention = Replica(world), RetentionStore(Database(world.engine), owner=uuid4())
    await synced(world, shirts(3))
    await world.execute(
        "UPDATE item SET deleted_at = clock_timestamp() - interval '1 year'",
    )
    await world.execute("UPDATE shop_state SET oldest_tombstone_at = clock_timestamp() - interval '1 year'")
    await replica.delete(SHOP)
    assert await retention.purge_deleted(older_than=timedelta(days=90)) == 0
    await replica.purge.purge()
    assert (await replica.delete(SHOP)).items == 6


async def test_the_loop_purges_as_soon_as_it_is_woken_and_ends_with_the_drain(world: CatalogWorld) -> None:
    replica = Replica(world)
    await synced(world, shirts(3))
    purge = ShopPurge(deletions=replica.deletions, drain=world.drain, poll_interval=timedelta(days=1))
    loop = asyncio.create_task(purge.run())
    shop_id = (await replica.delete(SHOP)).shop.shop_id
    purge.wake()

    async def ended() -> ShopDeletion | None:
        deletion = await replica.deletions.find(shop_id)
        return deletion if deletion and deletion.ended_at else None

    await until_found(ended)
    world.drain.start()
    await within_timeout(loop)
    # Another replica may go on at once.
    assert await world.rows("SELECT * FROM loop_lease") == []


async def test_only_the_replica_with_the_lease_purges_and_the_next_one_takes_over(world: CatalogWorld) -> None:
    one, two = Replica(world), Replica(world)
    await synced(world, shirts(3))
    shop_id = (await one.delete(SHOP)).shop.shop_id
    assert await one.deletions.acquire(ttl=timedelta(minutes=5))
    await two.purge.purge()
    assert (await one.delete(shop_id)).ended_at is None
    await world.execute("UPDATE loop_lease SET lease_until = clock_timestamp() - interval '1 s'")
    await two.purge.purge()
    assert (await one.delete(shop_id)).ended_at is not None


async def test_an_error_of_one_shop_does_not_hold_up_the_others(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(ShopDeletionStore):
        async def purge(self, shop_id: UUID) -> bool:
            if shop_id == failing_id:
                raise ValueError("a bug")
            return await super().purge(shop_id)

    replica = Replica(world)
    await synced(world, shirts(1))
    await synced(world, shirts(1), OTHER)
    failing_id = (await replica.delete(SHOP)).shop.shop_id
    await replica.delete(OTHER)
    store = Failing(Database(world.engine), owner=uuid4())
    await ShopPurge(deletions=store, drain=world.drain).purge()
    assert (await replica.delete(OTHER)).ended_at is not None
    assert (await replica.delete(SHOP)).ended_at is None
    assert "cannot purge a deleted shop" in caplog.text


async def test_a_purge_stops_between_two_chunks_when_the_replica_drains(world: CatalogWorld) -> None:
    replica = Replica(world, rows_per_chunk=1)
    await synced(world, shirts(3))
    shop_id = (await replica.delete(SHOP)).shop.shop_id

    def drain_soon() -> None:
        if not world.drain.started:
            world.drain.start()

    with pytest.raises(ServerDraining):
        await replica.purge.purge(drain_soon)
    assert (await replica.delete(shop_id)).items == 1


def _command(shop: ShopKey) -> StartSyncCommand:
    return StartSyncCommand(shop=shop, mode=SyncMode.FULL, overlap=timedelta())
