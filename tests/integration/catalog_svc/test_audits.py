"""Audits on PostgreSQL: every falsified cell is found and repaired, and nothing else is reported."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from catalog_svc.domain.audit import DifferenceCause, DifferenceKind
from catalog_svc.domain.errors import AuditAlreadyRunning, ShopNotFound, SourceFailed
from catalog_svc.domain.refresh import RefreshReason, RefreshRequest
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.source import SourceBatch, StockLevel
from catalog_svc.domain.sync import SyncMode
from catalog_svc.storage.database import Database
from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from tests.contract.catalog_stores.conftest import HEADER, batch
from tests.fakes.product_source import WATERMARK, MemorySource
from tests.integration.catalog_svc.auditing import LONG_AGO, Auditing, dated, open_audit
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.catalog_svc.falsification import other_value
from tests.integration.catalog_svc.plans import explain, recorded


@pytest.fixture
async def auditing(world: CatalogWorld) -> Auditing:
    return await open_audit(world, MemorySource([dated(str(n)) for n in range(10)]))


async def test_an_equal_catalog_has_no_difference_and_is_not_written(auditing: Auditing) -> None:
    before = await auditing.position()
    result = await auditing.audit()
    assert (result.products_checked, result.items_checked, result.different) == (10, 20, 0)
    assert (result.differences, result.undecided, result.missing_rows) == ((), 0, 0)
    assert await auditing.position() == before
    # Equal products are read once.
    assert [len(ids) for ids in auditing.source.requested_ids] == [10]


@pytest.mark.parametrize("column", PRODUCT_COLUMNS[2:], ids=lambda column: column.name)
async def test_a_falsified_cell_of_a_product_is_drift_and_is_repaired(
    auditing: Auditing, column: RecordColumn
) -> None:
    before = await auditing.tables()
    await auditing.falsify(f"UPDATE product SET {column.name} = {other_value(column)} WHERE product_id = '3'")
    assert await auditing.tables() != before
    result = await auditing.audit()
    (difference,) = result.differences
    assert (difference.product_id, difference.item_id, difference.field) == ("3", "", column.name)
    assert (difference.kind, difference.cause) == (DifferenceKind.VALUE, DifferenceCause.DRIFT)
    assert (result.drifted, result.different, result.repaired) == (1, 1, 1)
    assert await auditing.tables() == before
    assert (await auditing.audit()).different == 0


@pytest.mark.parametrize("column", ITEM_COLUMNS[2:], ids=lambda column: column.name)
async def test_a_falsified_cell_of_an_item_is_drift_and_is_repaired(
    auditing: Auditing, column: RecordColumn
) -> None:
    before, position = await auditing.tables(), await auditing.position()
    await auditing.falsify(f"UPDATE item SET {column.name} = {other_value(column)} WHERE item_id = '3-2'")
    result = await auditing.audit()
    (difference,) = result.differences
    assert (difference.product_id, difference.item_id, difference.field) == ("3", "3-2", column.name)
    assert (difference.kind, difference.cause) == (DifferenceKind.VALUE, DifferenceCause.DRIFT)
    assert difference.stored_at is not None
    assert difference.source_updated_at == LONG_AGO
    assert (result.drifted, result.items_different, result.repaired) == (1, 1, 1)
    assert await auditing.tables() == before
    # Followers of the items get the repaired one.
    changed = await auditing.world.rows("SELECT item_id FROM item WHERE feed_position > :p", p=position)
    assert [row["item_id"] for row in changed] == ["3-2"]
    await auditing.check_counters()


@pytest.mark.parametrize(
    ("falsification", "found"),
    [
        ("DELETE FROM item WHERE item_id = '3-2'", ("3-2", DifferenceKind.MISSING)),
        ("UPDATE item SET deleted_at = now() WHERE item_id = '3-2'", ("3-2", DifferenceKind.MISSING)),
        ("UPDATE product SET deleted_at = now() WHERE product_id = '3'", ("", DifferenceKind.MISSING)),
        (
            """INSERT INTO item SELECT (jsonb_populate_record(item, '{"item_id": "3-9"}')).*
               FROM item WHERE item_id = '3-2'""",
            ("3-9", DifferenceKind.EXTRA),
        ),
    ],
)
async def test_rows_that_were_removed_or_added_are_drift_and_are_repaired_and_counted(
    auditing: Auditing, falsification: str, found: tuple[str, DifferenceKind]
) -> None:
    before = await auditing.tables()
    await auditing.falsify(falsification)
    result = await auditing.audit()
    assert [(d.product_id, d.item_id, d.kind, d.cause) for d in result.differences] == [
        ("3", *found, DifferenceCause.DRIFT)
    ]
    assert (result.drifted, result.repaired) == (1, 1)
    assert await auditing.tables() == before
    await auditing.check_counters()


async def test_rows_of_products_that_are_gone_are_counted_and_a_full_sync_is_requested(auditing: Auditing) -> None:
    await auditing.falsify("DELETE FROM item WHERE product_id IN ('3', '4')")
    await auditing.falsify("DELETE FROM product WHERE product_id IN ('3', '4')")
    result = await auditing.audit()
    assert (result.products_checked, result.missing_rows, result.different) == (8, 2, 0)
    await auditing.check_counters()
    (queued,) = await auditing.world.rows("SELECT wanted_sync FROM refresh_queue")
    assert (queued["wanted_sync"], auditing.woken) == ("FULL", 1)
    assert (await auditing.audit()).missing_rows == 0


async def test_a_change_that_is_newer_than_the_last_sync_is_behind_and_is_stored(auditing: Auditing) -> None:
    auditing.source.products[3] = dated("3", WATERMARK + timedelta(seconds=30), title="New title")
    result = await auditing.audit()
    assert (result.behind, result.drifted, result.undated, result.repaired) == (1, 0, 0, 1)
    assert {d.cause for d in result.differences} == {DifferenceCause.BEHIND}
    (row,) = await auditing.world.rows("SELECT title FROM product WHERE product_id = '3'")
    assert row["title"] == "New title"


async def test_a_change_within_the_overlap_of_the_syncs_is_behind(auditing: Auditing) -> None:
    """A platform may list a change late: the next incremental sync would read it."""
    auditing.source.products[3] = dated("3", WATERMARK - timedelta(minutes=4), title="New title")
    result = await auditing.audit()
    assert (result.behind, result.drifted) == (1, 0)


async def test_a_dated_change_that_the_catalog_should_have_read_is_drift(auditing: Auditing) -> None:
    auditing.source.products[3] = dated("3", WATERMARK - timedelta(hours=1), title="New title")
    result = await auditing.audit()
    assert (result.behind, result.drifted, result.repaired) == (0, 1, 1)
    assert ("title", "Shirt", "New title") in [(d.field, d.stored, d.found) for d in result.differences]


async def test_a_change_without_a_new_date_is_undated_and_names_the_field(auditing: Auditing) -> None:
    auditing.source.products[3].variants[0].stock_quantity = 1
    result = await auditing.audit()
    (difference,) = result.differences
    assert (difference.field, difference.stored, difference.found) == ("stock_quantity", "5", "1")
    assert difference.cause is DifferenceCause.UNDATED
    assert (result.undated, result.drifted, result.behind, result.repaired) == (1, 0, 0, 1)


async def test_a_product_that_the_platform_does_not_have_is_undated_and_is_deleted(auditing: Auditing) -> None:
    del auditing.source.products[3]
    result = await auditing.audit()
    assert [(d.product_id, d.kind, d.cause) for d in result.differences] == [
        ("3", DifferenceKind.EXTRA, DifferenceCause.UNDATED)
    ]
    assert (result.undated, result.repaired) == (1, 1)
    await auditing.check_counters()
    assert (await auditing.audit()).different == 0


async def test_the_deletion_guard_limits_what_an_audit_deletes(auditing: Auditing) -> None:
    before = await auditing.tables()
    del auditing.source.products[2:]
    await auditing.falsify("UPDATE product SET title = 'falsified' WHERE product_id = '1'")
    result = await auditing.audit()
    assert (result.undated, result.drifted, result.repaired) == (8, 1, 1)
    assert await auditing.tables() == before


async def test_a_product_that_cannot_be_stored_is_rejected_and_stays(auditing: Auditing) -> None:
    before = await auditing.tables()
    auditing.source.products[3].variants[0].price_amount = "seven"
    result = await auditing.audit()
    assert (result.rejected, result.products_checked, result.different) == (1, 9, 0)
    assert await auditing.tables() == before


async def test_products_about_which_the_platform_says_nothing_are_undecided(auditing: Auditing) -> None:
    auditing.source.undecided = {"3"}
    result = await auditing.audit()
    assert (result.undecided, result.products_checked, result.different) == (1, 9, 0)


async def test_a_difference_that_a_second_read_does_not_confirm_is_not_reported(auditing: Auditing) -> None:
    """As a stale cache of the platform returns it once."""
    true = auditing.source.products[3]
    auditing.source.products[3] = dated("3", LONG_AGO - timedelta(days=1), title="Stale")
    take = auditing.store.take

    async def taken(*arguments: object) -> object:
        auditing.source.products[3] = true
        return await take(*arguments)  # type: ignore[arg-type]

    auditing.store.take = taken  # type: ignore[method-assign, assignment]
    before = await auditing.tables()
    result = await auditing.audit()
    assert (result.products_checked, result.different, result.repaired) == (10, 0, 0)
    assert await auditing.tables() == before
    assert await auditing.left_rows() == []


async def test_numbers_that_are_equal_but_not_written_alike_differ(auditing: Auditing) -> None:
    await auditing.falsify("UPDATE item SET price = 10.0 WHERE item_id = '3-1'")
    (difference,) = (await auditing.audit()).differences
    assert (difference.field, difference.stored, difference.found) == ("price", "10.0", "10.00")


async def test_stock_that_an_incremental_sync_has_stored_alone_is_no_difference(auditing: Auditing) -> None:
    """The hash of the product is that of its last whole read, which differs by then."""
    world = auditing.world
    await world.create_sync(mode=SyncMode.INCREMENTAL)
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    level = StockLevel(item_id="3-1", stock_quantity=1, available=True)
    stock = SourceBatch(products=(), issues=(), checkpoint=b"1", stock_levels=(level,))
    await world.batches.apply(claimed.lease, claimed.sync.shop, stock, full=False, items_per_second=None)
    auditing.source.products[3].variants[0].stock_quantity = 1
    result = await auditing.audit()
    assert (result.products_checked, result.different) == (10, 0)


# -- beside syncs and refreshes


async def test_a_product_that_a_sync_writes_between_read_and_comparison_is_compared_again(
    world: CatalogWorld, auditing: Auditing
) -> None:
    """The audit has read the old state, and the sync has stored the new one."""
    await world.create_sync()
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    new = dated("3", LONG_AGO + timedelta(days=1), title="New title")
    state, calls = auditing.store.state, 0

    async def after_the_sync(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            page = batch(new)
            await world.batches.apply(claimed.lease, claimed.sync.shop, page, full=True, items_per_second=None)
            auditing.source.products[3] = new
        return await state(*arguments)  # type: ignore[arg-type]

    auditing.store.state = after_the_sync  # type: ignore[method-assign, assignment]
    result = await auditing.audit()
    assert calls == 2
    assert (result.products_checked, result.different, result.undecided) == (10, 0, 0)
    (row,) = await world.rows("SELECT title FROM product WHERE product_id = '3'")
    assert row["title"] == "New title"


async def test_a_product_that_a_sync_wrote_during_its_first_read_must_differ_in_two_later_ones(
    world: CatalogWorld, auditing: Auditing
) -> None:
    """The first difference is that of the sync's write, and the second one a stale answer of the platform."""
    await world.create_sync()
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    new = dated("3", LONG_AGO + timedelta(days=1), title="New title")
    stale = dated("3", LONG_AGO + timedelta(hours=1), title="Stale")
    state, take = auditing.store.state, auditing.store.take
    states, takes = 0, 0

    async def after_the_sync(*arguments: object) -> object:
        nonlocal states
        states += 1
        if states == 2:
            page = batch(new)
            await world.batches.apply(claimed.lease, claimed.sync.shop, page, full=True, items_per_second=None)
        return await state(*arguments)  # type: ignore[arg-type]

    async def taken(*arguments: object) -> object:
        nonlocal takes
        takes += 1
        auditing.source.products[3] = stale if takes == 1 else new
        return await take(*arguments)  # type: ignore[arg-type]

    auditing.store.state = after_the_sync  # type: ignore[method-assign, assignment]
    auditing.store.take = taken  # type: ignore[method-assign, assignment]
    result = await auditing.audit()
    assert takes == 2
    assert (result.products_checked, result.different, result.undecided) == (10, 0, 0)
    (row,) = await world.rows("SELECT title FROM product WHERE product_id = '3'")
    assert row["title"] == "New title"


async def test_a_sync_that_writes_during_the_second_read_keeps_the_audit_from_writing(
    world: CatalogWorld, auditing: Auditing
) -> None:
    await auditing.falsify("UPDATE product SET title = 'falsified' WHERE product_id = '3'")
    await world.create_sync()
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    newest = dated("3", LONG_AGO + timedelta(days=1), title="Newest")
    settle = auditing.store.settle

    async def after_the_sync(*arguments: object, **more: object) -> object:
        if auditing.source.products[3] is not newest:
            page = batch(newest)
            await world.batches.apply(claimed.lease, claimed.sync.shop, page, full=True, items_per_second=None)
            auditing.source.products[3] = newest
        return await settle(*arguments, **more)  # type: ignore[arg-type]

    auditing.store.settle = after_the_sync  # type: ignore[method-assign, assignment]
    result = await auditing.audit()
    # The product waits for a refresh, which no worker makes here.
    assert (result.different, result.repaired, result.undecided) == (0, 0, 1)
    (row,) = await world.rows("SELECT title FROM product WHERE product_id = '3'")
    assert row["title"] == "Newest"


async def test_what_an_audit_repairs_during_a_pass_is_not_written_by_the_pass(
    world: CatalogWorld, auditing: Auditing
) -> None:
    """The sync may have read its page before the platform changed the product."""
    await world.create_sync()
    claimed = await world.claim()
    await world.leases.begin(claimed.lease, HEADER)
    old = dated("3")
    new = dated("3", WATERMARK + timedelta(days=1), title="Newest")
    auditing.source.products[3] = new
    assert (await auditing.audit()).repaired == 1
    await world.batches.apply(claimed.lease, claimed.sync.shop, batch(old), full=True, items_per_second=None)
    (row,) = await world.rows("SELECT title FROM product WHERE product_id = '3'")
    assert row["title"] == "Newest"
    # It is read again, since the pass may have had something newer.
    (left,) = await world.rows("SELECT pending, refreshed, reader FROM product_refresh")
    assert (left["pending"], left["refreshed"], left["reader"]) == (True, True, None)


async def test_a_product_that_waits_for_a_refresh_is_left_to_it(auditing: Auditing) -> None:
    """A pass may have left it out: the catalog knows that it is behind."""
    auditing.source.products[3] = dated("3", WATERMARK - timedelta(hours=1), title="New title")
    request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=("3",))
    await auditing.requests.add(await auditing.shop(), request)
    result = await auditing.audit()
    assert (result.different, result.undecided) == (0, 1)


async def test_what_an_audit_that_died_was_reading_is_read_by_the_refresh_worker(auditing: Auditing) -> None:
    shop = await auditing.shop()
    claim = await auditing.store.take(shop, uuid4(), ["3"])
    assert claim.product_ids == ("3",)
    assert await auditing.refreshes.claim(limit=1) == []
    await auditing.world.execute("UPDATE refresh_queue SET due_at = now()")
    (queued,) = await auditing.refreshes.claim(limit=1)
    taken = await auditing.refreshes.take(queued, limit=9)
    assert taken is not None
    assert taken.product_ids == ("3",)
    # From then on the audit, should it live, decides nothing.
    settled = await auditing.store.settle(
        claim, batch(dated("3", title="late")), suspected={"3"}, overlap=timedelta()
    )
    assert settled.decided == frozenset()


async def test_a_read_that_fails_releases_the_products_and_the_shop(auditing: Auditing) -> None:
    await auditing.falsify("UPDATE product SET title = 'falsified' WHERE product_id = '3'")
    failure = SourceFailed(reason="SOURCE_UNREACHABLE", message="away", transient=True)
    auditing.source.by_id_failures = {2: [failure]}
    with pytest.raises(SourceFailed):
        await auditing.audit()
    assert await auditing.left_rows() == []
    assert (await auditing.audit()).repaired == 1


async def test_one_audit_of_a_shop_runs_at_a_time(auditing: Auditing) -> None:
    shop = await auditing.shop()
    other = auditing.right(shop, uuid4())
    assert await other.acquire(ttl=timedelta(minutes=1))
    with pytest.raises(AuditAlreadyRunning):
        await auditing.audit()
    await other.release()
    assert (await auditing.audit()).products_checked == 10


async def test_a_cancelled_audit_releases_its_products_and_the_shop(auditing: Auditing) -> None:
    await auditing.falsify("UPDATE product SET title = 'falsified' WHERE product_id = '3'")
    reached = asyncio.Event()
    settle = auditing.store.settle

    async def never(*arguments: object, **more: object) -> object:
        reached.set()
        return await asyncio.Event().wait()

    auditing.store.settle = never  # type: ignore[method-assign, assignment]
    running = asyncio.create_task(auditing.audit())
    await reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert await auditing.left_rows() == []
    auditing.store.settle = settle  # type: ignore[method-assign]
    assert (await auditing.audit()).repaired == 1


async def test_an_audit_of_a_shop_that_is_being_deleted_writes_nothing(auditing: Auditing) -> None:
    shop = await auditing.shop()
    claim = await auditing.store.take(shop, uuid4(), ["3"])
    await ShopDeletionStore(Database(auditing.world.engine), owner=uuid4()).begin(shop)
    settle = auditing.store.settle(claim, batch(dated("3", title="x")), suspected={"3"}, overlap=timedelta())
    for work in (
        settle,
        auditing.store.sample(shop, size=3, seed=1),
        auditing.store.take(shop, uuid4(), ["3"]),
    ):
        with pytest.raises(ShopNotFound):
            await work
    await auditing.store.release(claim)
    await auditing.store.request_full_sync(shop)
    await auditing.store.correct_counters(shop)
    await auditing.records.begin(shop)
    assert await auditing.world.rows("SELECT 1 FROM shop_audit") == []


# -- samples


async def test_a_sample_has_each_product_at_most_once_and_has_the_requested_size(auditing: Auditing) -> None:
    shop = await auditing.shop()
    await auditing.falsify("UPDATE item SET updated_at = now() - interval '2 hours'")
    for seed in range(50):
        ids = (await auditing.store.sample(shop, size=4, seed=seed)).product_ids
        assert len(ids) == len(set(ids)) == 4
    assert len((await auditing.store.sample(shop, size=999, seed=1)).product_ids) == 10


async def test_products_that_changed_within_the_last_hour_are_in_every_sample(auditing: Auditing) -> None:
    shop = await auditing.shop()
    await auditing.falsify("UPDATE item SET updated_at = now() - interval '2 hours' WHERE product_id <> '7'")
    for seed in range(20):
        assert "7" in (await auditing.store.sample(shop, size=1, seed=seed)).product_ids


async def test_tombstones_are_sampled_too(auditing: Auditing) -> None:
    """A product that the platform has, and that the catalog has as deleted, must be found."""
    shop = await auditing.shop()
    await auditing.falsify("UPDATE item SET updated_at = now() - interval '2 hours'")
    await auditing.falsify("UPDATE product SET deleted_at = now() WHERE product_id = '7'")
    found = [await auditing.store.sample(shop, size=8, seed=seed) for seed in range(40)]
    assert 20 < sum("7" in sample.product_ids for sample in found) <= 40


MANY = 20_000


async def insert_products(auditing: Auditing, count: int = MANY) -> None:
    shop = await auditing.shop()
    await auditing.falsify("DELETE FROM item")
    await auditing.falsify("DELETE FROM product")
    await auditing.falsify(
        """INSERT INTO product (shop_id, product_id, content_hash, tags, options, images, item_count, title)
           SELECT :shop_id, 'p' || n, '', '{}', '[]', '[]', 1, repeat('x', 500)
           FROM generate_series(1, :n) AS n""",
        shop_id=shop.shop_id,
        n=count,
    )
    await auditing.falsify("UPDATE shop_state SET product_count = :n", n=count)


async def test_300_of_the_products_meet_one_of_one_percent_in_95_percent_of_samples(auditing: Auditing) -> None:
    """The probability is 1 - 0.99^300 = 95.1 %. Of 400 samples with other seeds 380 meet one; the standard
    deviation is 4.3. A sampler that prefers some products fails at some of the three sets."""
    await insert_products(auditing)
    shop = await auditing.shop()
    ids = sorted(f"p{n}" for n in range(1, MANY + 1))
    falsified = (set(ids[:200]), set(ids[-200:]), set(ids[50::100]))
    met = [0, 0, 0]
    for seed in range(400):
        sample = frozenset((await auditing.store.sample(shop, size=300, seed=seed)).product_ids)
        assert len(sample) == 300
        for number, one_percent in enumerate(falsified):
            met[number] += not sample.isdisjoint(one_percent)
    assert all(380 - 4 * 4.3 <= count <= 400 for count in met), met


@pytest.mark.needs_session("plans are explained on a connection of their own")
async def test_a_sample_reads_an_index_alone_and_no_row_of_a_product(auditing: Auditing) -> None:
    await insert_products(auditing)
    shop = await auditing.shop()
    await auditing.world.execute("ANALYZE product, item")
    async with auditing.world.owner.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.exec_driver_sql("VACUUM product")
    with recorded(auditing.world.engine) as statements:
        await auditing.store.sample(shop, size=300, seed=1)
    of_products = [one for one in statements if "FROM product" in one.sql]
    assert len(of_products) == 3
    for statement in of_products[:2]:
        plan = await explain(auditing.world.engine, statement)
        assert "Index Only Scan" in plan.text, plan.text
        assert plan.full_scans == (), plan.text
        assert plan.rows_read <= MANY, plan.text
    for statement in [one for one in statements if "FROM product" not in one.sql or one is of_products[2]]:
        plan = await explain(auditing.world.engine, statement)
        assert plan.rows_read < 100, plan.text


@pytest.mark.needs_session("plans are explained on a connection of their own")
async def test_a_comparison_reads_the_rows_of_its_products_alone(auditing: Auditing) -> None:
    await insert_products(auditing)
    shop = await auditing.shop()
    await auditing.falsify(
        """INSERT INTO item (shop_id, item_id, product_id, position, available, sellable_without_stock, options)
           SELECT :shop_id, 'i' || n, 'p' || n, 1, true, false, '[]' FROM generate_series(1, :n) AS n""",
        shop_id=shop.shop_id,
        n=MANY,
    )
    await auditing.world.execute("ANALYZE product, item")
    with recorded(auditing.world.engine) as statements:
        state = await auditing.store.state(shop, ["p1", "p2"], ["i1", "i3"])
    assert {i: sorted(rows.items) for i, rows in state.rows.items()} == {"p1": ["i1"], "p2": ["i2"]}
    assert sorted(state.others) == ["i3"]
    for statement in statements:
        plan = await explain(auditing.world.engine, statement)
        assert plan.full_scans in ((), ("shop_state",)), plan.text
        assert plan.rows_read < 20, plan.text


# -- records


async def test_the_last_audit_is_in_the_status_of_the_shop(auditing: Auditing) -> None:
    shop = await auditing.shop()
    assert (await auditing.world.statuses.get(shop, ScheduleDefaults())).last_audit is None
    await auditing.falsify("UPDATE product SET title = 'falsified' WHERE product_id = '3'")
    await auditing.audit()
    last = (await auditing.world.statuses.get(shop, ScheduleDefaults())).last_audit
    assert last is not None
    assert (last.products_checked, last.items_checked, last.drifted) == (10, 20, 1)


async def due(auditing: Auditing) -> list[UUID]:
    return await auditing.records.due(interval=timedelta(days=1), limit=9)


async def test_a_healthy_shop_is_due_once_a_day_and_a_broken_one_never(auditing: Auditing) -> None:
    shop = await auditing.shop()
    assert await due(auditing) == [shop.shop_id]
    await auditing.records.begin(shop)
    assert await due(auditing) == []
    await auditing.falsify("UPDATE shop_audit SET attempted_at = now() - interval '25 hours'")
    assert await due(auditing) == [shop.shop_id]
    await auditing.falsify("UPDATE shop SET connection_state = 'BROKEN'")
    assert await due(auditing) == []
