"""Ended syncs: older ones than the last few of a shop are in the history, which is dropped by the month."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.errors import SyncNotFound, SyncNotResumable
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import Sync, SyncMode, SyncPosition, SyncState, SyncTrigger
from catalog_svc.storage.partitions import PARTITIONED_TABLES
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.purging import purge, store_of, values_of
from tests.integration.catalog_svc.scheduling import REVOKED

KEPT = 5
DAY = timedelta(days=1)
ISSUE = pb.RecordIssue(reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="1")
PARTITIONS = """
    SELECT child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bounds
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = CAST(:table AS regclass)"""


async def cancelled(world: CatalogWorld, count: int) -> list[Sync]:
    """Return ended syncs of the shop, the oldest first."""
    syncs: list[Sync] = []
    for _ in range(count):
        created = await world.create_sync()
        syncs.append(await world.commands.cancel(created.sync_id))
    return syncs


async def run(world: CatalogWorld, source: MemorySource, *, trigger: SyncTrigger = SyncTrigger.SCHEDULE) -> Sync:
    """Create a sync of this trigger, run it to its end and return it."""
    created = await world.create_sync(mode=SyncMode.INCREMENTAL, trigger=trigger)
    await world.supervisor(source).run(await world.claim())
    return await world.syncs.get(created.sync_id)


async def state(world: CatalogWorld) -> Mapping[Any, Any]:
    (row,) = await world.rows("SELECT * FROM shop_state")
    return row


async def test_the_last_few_ended_syncs_stay_and_older_ones_move_to_the_history(world: CatalogWorld) -> None:
    syncs = await cancelled(world, KEPT + 3)
    active = await world.create_sync()
    ids = [sync.sync_id for sync in syncs]
    assert await values_of(world, "sync", "sync_id") == {*ids[3:], active.sync_id}
    assert await values_of(world, "sync_history", "sync_id") == set(ids[:3])
    assert (await state(world))["last_ended_sync_id"] == ids[-1]


@pytest.mark.smoke
async def test_a_sync_of_the_history_is_found_as_before(world: CatalogWorld) -> None:
    source = MemorySource([product("1"), product("2")])
    source.issues = [ISSUE]
    created = await world.create_sync(correlation_id="c-1")
    await world.supervisor(source).run(await world.claim())
    before = await world.syncs.get(created.sync_id)
    issues = await world.issues.page(created.sync_id, after=0, limit=10)
    checkpoint = await world.syncs.checkpoint(created.sync_id)
    assert len(issues) == 1
    await cancelled(world, KEPT)
    assert created.sync_id in await values_of(world, "sync_history", "sync_id")
    after = await world.syncs.get(created.sync_id)
    assert after == before
    assert await world.issues.page(created.sync_id, after=0, limit=10) == issues
    assert await world.syncs.checkpoint(created.sync_id) == checkpoint
    assert await world.syncs.changed_revisions({created.sync_id: 1}) == {created.sync_id: before.revision}
    assert await world.syncs.changed_revisions({created.sync_id: before.revision}) == {}
    assert await world.syncs.get_many([created.sync_id]) == [before]


@pytest.mark.parametrize("of_one_shop", [True, False])
async def test_pages_of_syncs_continue_from_the_last_few_into_the_history(
    world: CatalogWorld, of_one_shop: bool
) -> None:
    syncs = await cancelled(world, KEPT + 4)
    active = await world.create_sync()
    shop = await world.shops.find(SHOP) if of_one_shop else None
    pages: list[list[Sync]] = []
    before: SyncPosition | None = None
    while page := await world.syncs.page(shop=shop, states=(), before=before, limit=3):
        pages.append(page)
        before = SyncPosition(page[-1].created_at, page[-1].sync_id)
    found = [sync.sync_id for page in pages for sync in page]
    assert found == [active.sync_id, *(sync.sync_id for sync in reversed(syncs))]
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    ended = await world.syncs.page(shop=shop, states=[SyncState.CANCELLED], before=None, limit=50)
    assert len(ended) == KEPT + 4
    assert await world.syncs.page(shop=shop, states=[SyncState.FAILED], before=None, limit=50) == []


async def test_a_request_id_finds_its_sync_in_the_history(world: CatalogWorld) -> None:
    first = await world.create_sync(request_id="r-1")
    await world.commands.cancel(first.sync_id)
    await cancelled(world, KEPT)
    assert (await world.create_sync(request_id="r-1")).sync_id == first.sync_id


async def test_a_sync_of_the_history_is_neither_resumed_nor_cancelled(world: CatalogWorld) -> None:
    source = MemorySource([product("1"), product("2")], batch_size=1)
    source.failures = {1: [REVOKED]}
    failed = await run(world, source, trigger=SyncTrigger.REQUEST)
    (first, *_) = await cancelled(world, KEPT)
    with pytest.raises(SyncNotResumable, match="a later sync of the shop was started"):
        await world.commands.resume(failed.sync_id, request_id="", correlation_id="")
    await cancelled(world, 1)
    assert await world.commands.cancel(first.sync_id) == first


async def test_the_history_of_one_shop_is_not_shortened_by_another_one(world: CatalogWorld) -> None:
    other = await world.create_sync(ShopKey("shopify", "other.myshopify.com"))
    await world.commands.cancel(other.sync_id)
    await cancelled(world, KEPT + 1)
    assert other.sync_id in await values_of(world, "sync", "sync_id")


async def test_scheduled_syncs_that_changed_nothing_are_only_counted(world: CatalogWorld) -> None:
    """At 100,000 shops with a sync every five minutes they would be 29 million rows a day."""
    source = MemorySource([product("1")])
    await run(world, source, trigger=SyncTrigger.REQUEST)
    unchanged = [await run(world, source) for _ in range(KEPT + 3)]
    assert (await state(world))["unchanged_sync_count"] == 3
    assert await values_of(world, "sync", "sync_id") == {sync.sync_id for sync in unchanged[3:]}
    # The first sync has changed something.
    assert len(await values_of(world, "sync_history", "sync_id")) == 1
    with pytest.raises(SyncNotFound):
        await world.syncs.get(unchanged[0].sync_id)


@pytest.mark.parametrize("reason", ["requested", "changed", "deleted", "issue", "failed", "cancelled"])
async def test_every_other_sync_is_kept(world: CatalogWorld, reason: str) -> None:
    source = MemorySource([product("1"), product("2")])
    await run(world, source, trigger=SyncTrigger.REQUEST)
    if reason == "cancelled":
        created = await world.create_sync(trigger=SyncTrigger.SCHEDULE)
        kept = await world.commands.cancel(created.sync_id)
    else:
        if reason == "changed":
            source.products[0] = product("1", price="11.00")
        if reason == "deleted":
            source.listed, source.deleted = ("1",), ("2",)
            source.products = source.products[:1]
        if reason == "issue":
            source.issues = [ISSUE]
        if reason == "failed":
            source.failures = {0: [REVOKED]}
        trigger = SyncTrigger.REQUEST if reason == "requested" else SyncTrigger.SCHEDULE
        kept = await run(world, source, trigger=trigger)
    await cancelled(world, KEPT)
    assert kept.sync_id in await values_of(world, "sync_history", "sync_id")
    assert (await state(world))["unchanged_sync_count"] == 0


async def now(world: CatalogWorld) -> datetime:
    (row,) = await world.rows("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment.astimezone(UTC)


def month_after(moment: datetime, count: int) -> datetime:
    """Return the beginning of the month `count` months after that of `moment`."""
    months = moment.year * 12 + moment.month - 1 + count
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def partition(table: str, month: datetime) -> str:
    return f"{table}_{month:%Y_%m}"


async def create_partition(world: CatalogWorld, table: str, month: datetime) -> str:
    """Create the partition of a month as it was created back then."""
    name, bounds = partition(table, month), f"FROM ('{month}') TO ('{month_after(month, 1)}')"
    await world.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {bounds}")
    return name


async def partitions(world: CatalogWorld, table: str) -> set[str]:
    return {row["name"] for row in await world.rows(PARTITIONS, table=table)}


@pytest.mark.parametrize("table", PARTITIONED_TABLES)
async def test_partitions_of_this_month_and_the_next_two_are_created_ahead(
    world: CatalogWorld, table: str
) -> None:
    this_month = await now(world)
    names = {partition(table, month_after(this_month, ahead)) for ahead in range(3)}
    assert await partitions(world, table) == {f"{table}_default", *names}
    for name in names:
        await world.execute(f"DROP TABLE {name}")
    for _ in range(2):
        await purge(world)
        assert await partitions(world, table) == {f"{table}_default", *names}


async def test_a_partition_has_the_bounds_of_its_month_in_utc_whatever_the_servers_time_zone(
    world: CatalogWorld,
) -> None:
    (row,) = await world.rows("SELECT current_database() AS name")
    await world.execute(f"ALTER DATABASE {row['name']} SET timezone = 'Pacific/Kiritimati'")
    await world.engine.dispose()
    month = month_after(await now(world), 1)
    name = partition("sync_history", month)
    await world.execute(f"DROP TABLE {name}")
    await purge(world)
    rows = await world.rows(
        """SELECT CAST(substring(bounds FROM $$FROM \\('([^']+)$$) AS timestamptz) AS first,
               CAST(substring(bounds FROM $$TO \\('([^']+)$$) AS timestamptz) AS last
           FROM ("""
        + PARTITIONS
        + ") AS partitions WHERE name = :name",
        table="sync_history",
        name=name,
    )
    assert [(row["first"], row["last"]) for row in rows] == [(month, month_after(month, 1))]


@pytest.mark.parametrize(("table", "later"), [("sync_history", timedelta()), ("sync_issue", 7 * DAY)])
async def test_a_month_is_dropped_once_all_of_its_syncs_are_old_enough(
    world: CatalogWorld, table: str, later: timedelta
) -> None:
    """An issue is older than the end of its sync, which is what counts: issues are kept a week longer."""
    today = await now(world)
    months = [month_after(today, -ago) for ago in (6, 5, 4)]
    names = [await create_partition(world, table, month) for month in months]
    store = store_of(world)
    for name, end in zip(names, months[1:], strict=False):
        age = today - end - later
        # The last sync of the month is an hour too young.
        assert await store.drop_partitions(older_than=age + timedelta(hours=1)) == 0
        assert await store.drop_partitions(older_than=age) == 1
        assert name not in await partitions(world, table)
    assert await partitions(world, table) >= {names[2], f"{table}_default"}


async def ended_ago(world: CatalogWorld, days: int) -> Sync:
    """Return a sync with an issue that ended so long ago, and that is not one of the shop's last few any more."""
    source = MemorySource([product("1")])
    source.issues = [ISSUE]
    sync = await run(world, source, trigger=SyncTrigger.REQUEST)
    await world.execute(
        f"UPDATE sync SET ended_at = ended_at - interval '{days} days' WHERE sync_id = :id", id=sync.sync_id
    )
    await world.execute(
        f"UPDATE sync_issue SET created_at = created_at - interval '{days} days' WHERE sync_id = :id",
        id=sync.sync_id,
    )
    await cancelled(world, KEPT)
    return sync


async def test_a_dropped_month_takes_its_syncs_and_issues_and_no_others(world: CatalogWorld) -> None:
    today = await now(world)
    for table in PARTITIONED_TABLES:
        for ago in range(1, 5):
            await create_partition(world, table, month_after(today, -ago))
    old, young = await ended_ago(world, 80), await ended_ago(world, 20)
    await purge(world)
    with pytest.raises(SyncNotFound):
        await world.syncs.get(old.sync_id)
    assert await values_of(world, "sync_issue", "sync_id") == {young.sync_id}
    assert (await world.syncs.get(young.sync_id)).progress.issue_count == 1
    assert len(await world.issues.page(young.sync_id, after=0, limit=10)) == 1


async def test_the_last_few_syncs_of_a_shop_stay_however_old_they_are(world: CatalogWorld) -> None:
    syncs = await cancelled(world, KEPT)
    await world.execute("UPDATE sync SET ended_at = ended_at - interval '1 year'")
    await purge(world)
    assert await values_of(world, "sync", "sync_id") == {sync.sync_id for sync in syncs}


async def test_syncs_of_a_month_without_a_partition_are_found_until_they_are_old_enough(
    world: CatalogWorld,
) -> None:
    """Such as one that was among the last few of its shop until its month was dropped."""
    old, young = await ended_ago(world, 200), await ended_ago(world, 100)
    assert await values_of(world, "sync_history_default", "sync_id") == {old.sync_id, young.sync_id}
    assert (await world.syncs.get(old.sync_id)).sync_id == old.sync_id
    store = store_of(world)
    assert await store.purge_unpartitioned(older_than=150 * DAY) == 2
    assert await store.purge_unpartitioned(older_than=150 * DAY) == 0
    assert await values_of(world, "sync_history_default", "sync_id") == {young.sync_id}
    assert await values_of(world, "sync_issue_default", "sync_id") == {young.sync_id}
    await purge(world)
    with pytest.raises(SyncNotFound):
        await world.syncs.get(young.sync_id)
    assert await world.rows("SELECT 1 FROM sync_issue") == []


async def test_old_rows_without_a_partition_are_purged_those_of_an_hour_at_a_time(world: CatalogWorld) -> None:
    await world.execute(
        """INSERT INTO sync_issue (shop_id, sync_id, pass_id, number, reason, product_rejected, created_at)
           SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), n, 'X', false,
               statement_timestamp() - interval '1 year' + n * interval '20 min'
           FROM generate_series(1, 8) AS n"""
    )
    store = store_of(world)
    assert [await store.purge_unpartitioned(older_than=30 * DAY) for _ in range(3)] == [4, 4, 0]


async def test_a_month_whose_rows_came_before_its_partition_keeps_them_and_delays_no_other_month(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """After months in which no replica ran, syncs may end before the first round of retention."""
    today = await now(world)
    this_month, *next_months = [partition("sync_history", month_after(today, ahead)) for ahead in range(3)]
    for name in (this_month, *next_months):
        await world.execute(f"DROP TABLE {name}")
    syncs = await cancelled(world, KEPT + 1)
    await purge(world)
    assert await partitions(world, "sync_history") == {"sync_history_default", *next_months}
    assert "no partition created" in caplog.text
    assert (await world.syncs.get(syncs[0].sync_id)).state is SyncState.CANCELLED
