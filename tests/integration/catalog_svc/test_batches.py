"""A batch is stored as a whole and once, exactly as the platform wrote it; unchanged rows are not written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, SyncState
from catalog_svc.source import decode
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from tests.conftest import open_test_engine
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.waiting import TIMEOUT_SECONDS


def batch(*products: pb.Product, checkpoint: bytes = b"1", currency_code: str = "EUR") -> SourceBatch:
    message = pb.ProductBatch(products=products, checkpoint=checkpoint)
    return decode.batch(message, currency_code=currency_code)


async def started(world: CatalogWorld) -> ClaimedSync:
    await world.create_sync()
    return await world.claim()


async def apply(
    world: CatalogWorld, lease: Lease, claimed: ClaimedSync, incoming: SourceBatch
) -> tuple[Lease, Sync]:
    return await world.batches.apply(lease, claimed.sync.shop, incoming, full=True, items_per_second=None)


async def test_prices_weights_and_skus_are_stored_digit_for_digit(world: CatalogWorld) -> None:
    exact = product(
        "1", price="7.30", sku="00000134000", compare_at_price_amount="9.00", weight="0.50", weight_unit="kg"
    )
    await world.sync(MemorySource([exact]))
    (row,) = await world.rows(
        "SELECT price::text AS p, compare_at_price::text AS c, weight::text AS w, sku FROM item"
    )
    assert (row["p"], row["c"], row["w"], row["sku"]) == ("7.30", "9.00", "0.50", "00000134000")


async def test_a_price_that_only_gains_a_zero_is_stored_again(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", price="7.3")]))
    second = await world.sync(MemorySource([product("1", price="7.30")]))
    assert second.progress.items.updated == 1
    assert (await world.rows("SELECT price::text AS p FROM item"))[0]["p"] == "7.30"


async def test_an_unchanged_product_is_not_rewritten(world: CatalogWorld) -> None:
    source = MemorySource([product(str(n), items=3) for n in range(5)])
    await world.sync(source)
    before = await world.rows("SELECT item_id, xmin::text, ctid::text FROM item ORDER BY item_id")
    second = await world.sync(source)
    after = await world.rows("SELECT item_id, xmin::text, ctid::text FROM item ORDER BY item_id")
    assert before == after
    assert (second.progress.products.unchanged, second.progress.items.unchanged) == (5, 15)
    assert (second.progress.products.updated, second.progress.items.updated) == (0, 0)


async def test_of_a_changed_product_only_the_changed_items_are_rewritten(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=3)]))
    before = {r["item_id"]: r["xmin"] for r in await world.rows("SELECT item_id, xmin::text FROM item")}
    changed = product("1", items=3)
    changed.variants[1].price_amount = "11.00"
    second = await world.sync(MemorySource([changed]))
    after = {r["item_id"]: r["xmin"] for r in await world.rows("SELECT item_id, xmin::text FROM item")}
    assert {item for item in before if before[item] != after[item]} == {"1-2"}
    assert (second.progress.items.updated, second.progress.items.unchanged) == (1, 2)


async def test_a_removed_variant_is_marked_deleted_and_counts_as_created_when_it_returns(
    world: CatalogWorld,
) -> None:
    await world.sync(MemorySource([product("1", items=3)]))
    without = product("1", items=2)
    second = await world.sync(MemorySource([without]))
    assert second.progress.items.deleted == 1
    (deleted,) = await world.rows("SELECT item_id FROM item WHERE deleted_at IS NOT NULL")
    assert deleted["item_id"] == "1-3"
    third = await world.sync(MemorySource([product("1", items=3)]))
    assert third.progress.items.created == 1
    assert await world.rows("SELECT item_id FROM item WHERE deleted_at IS NOT NULL") == []


async def test_missing_variants_of_a_product_that_arrived_incomplete_are_not_deleted(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=3)]))
    partial = product("1", items=2, title="New title")
    partial.variants_complete = False
    await world.sync(MemorySource([partial]))
    assert await world.rows("SELECT item_id FROM item WHERE deleted_at IS NOT NULL") == []


async def test_another_currency_is_a_change(world: CatalogWorld) -> None:
    source = MemorySource([product("1")])
    await world.sync(source)
    source.currency_code = "CHF"
    second = await world.sync(source)
    assert second.progress.items.updated == 1
    assert (await world.rows("SELECT currency_code FROM item"))[0]["currency_code"] == "CHF"


async def test_text_that_postgresql_cannot_hold_does_not_stop_a_sync(world: CatalogWorld) -> None:
    unusual = product("1", title="a\0b", sku="x\0")
    unusual.tags.extend(["t\0", "u"])
    sync = await world.sync(MemorySource([unusual]))
    assert sync.state is SyncState.SUCCEEDED
    (row,) = await world.rows("SELECT product.title, sku, tags FROM item JOIN product USING (product_id)")
    assert (row["title"], row["sku"], row["tags"]) == ("ab", "x", ["t", "u"])


async def test_a_product_that_is_twice_in_a_batch_is_stored_once_in_its_last_version(world: CatalogWorld) -> None:
    claimed = await started(world)
    _, sync = await apply(world, claimed.lease, claimed, batch(product("1"), product("1", title="Later")))
    assert sync.progress.products.created == 1
    assert [r["title"] for r in await world.rows("SELECT title FROM product")] == ["Later"]


async def test_a_writer_with_an_old_epoch_writes_nothing(world: CatalogWorld) -> None:
    claimed = await started(world)
    await world.expire_lease(claimed.sync.sync_id)
    await world.claim()
    with pytest.raises(LeaseLost):
        await apply(world, claimed.lease, claimed, batch(product("1")))
    assert await world.rows("SELECT * FROM product") == []


async def test_a_batch_repeated_after_an_unacknowledged_commit_is_not_applied_twice(world: CatalogWorld) -> None:
    claimed = await started(world)
    incoming = batch(product("1"))
    lease, first = await apply(world, claimed.lease, claimed, incoming)
    same_lease, again = await apply(world, claimed.lease, claimed, incoming)
    assert (same_lease, again.revision) == (lease, first.revision)
    assert again.progress.products.seen == 1


async def test_another_batch_with_a_used_sequence_number_is_rejected(world: CatalogWorld) -> None:
    claimed = await started(world)
    await apply(world, claimed.lease, claimed, batch(product("1"), checkpoint=b"1"))
    with pytest.raises(LeaseLost):
        await apply(world, claimed.lease, claimed, batch(product("2"), checkpoint=b"2"))
    skipped = replace(claimed.lease, next_seq=claimed.lease.next_seq + 5)
    with pytest.raises(LeaseLost):
        await apply(world, skipped, claimed, batch(product("2")))


async def test_products_checkpoint_and_progress_are_one_transaction(world: CatalogWorld) -> None:
    claimed = await started(world)
    # This makes the last statement of the transaction fail.
    await world.execute("ALTER TABLE sync ADD CONSTRAINT never_progresses CHECK (products_seen = 0)")
    with pytest.raises(IntegrityError):
        await apply(world, claimed.lease, claimed, batch(product("0"), product("1")))
    (row,) = await world.rows(
        "SELECT next_seq, checkpoint, products_seen, feed_position, item_count FROM sync, shop_state"
    )
    assert tuple(row.values()) == (0, b"", 0, 0, 0)
    assert await world.rows("SELECT * FROM product") == []


async def test_two_shops_with_the_same_platform_ids_never_collide(world: CatalogWorld) -> None:
    from catalog_svc.domain.shop import ShopKey

    for domain, title in (("a.myshopify.com", "A"), ("b.myshopify.com", "B")):
        await world.create_sync(shop=ShopKey("shopify", domain))
        await world.supervisor(MemorySource([product("1", title=title)])).run(await world.claim())
    assert sorted(r["title"] for r in await world.rows("SELECT title FROM product")) == ["A", "B"]


async def test_products_reported_as_deleted_are_marked_with_their_items(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=2), product("2")]))
    claimed = await started(world)
    message = pb.ProductBatch(deleted_product_ids=["1"], checkpoint=b"1")
    _, sync = await apply(world, claimed.lease, claimed, decode.batch(message, currency_code="EUR"))
    assert (sync.progress.products.deleted, sync.progress.items.deleted) == (1, 2)
    assert [r["item_id"] for r in await world.rows("SELECT item_id FROM item WHERE deleted_at IS NULL")] == ["2-1"]


async def test_ids_and_skus_that_postgresql_cannot_hold_do_not_stop_a_pass(world: CatalogWorld) -> None:
    """Also where ids arrive without a product: listed, deleted, or with a stock level."""
    await world.sync(MemorySource([product("1", sku="old"), product("2")]))
    claimed = await started(world)
    level = pb.StockLevel(product_id="1", variant_id="1-1\0", available=True, offer=pb.Offer(sku="n\0ew"))
    message = pb.ProductBatch(
        stock_levels=[level], listed_product_ids=["1\0"], deleted_product_ids=["2\0"], checkpoint=b"1"
    )
    await apply(world, claimed.lease, claimed, decode.batch(message, currency_code="EUR"))
    rows = await world.rows("SELECT item_id, sku FROM item WHERE deleted_at IS NULL")
    assert [tuple(row.values()) for row in rows] == [("1-1", "new")]
    assert [row["product_id"] for row in await world.rows("SELECT product_id FROM sync_seen")] == ["1"]


async def test_no_statement_of_a_batch_outlives_the_lease(world: CatalogWorld) -> None:
    """It locks the sync's row: the next owner would have to wait for a replica that is frozen in it."""
    await world.execute("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$""")
    await world.execute("CREATE TRIGGER slow BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION slow()")
    claimed = await started(world)
    store = BatchStore(Database(world.engine, attempts=1), ttl=timedelta(seconds=1))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(StorageUnavailable):
            await store.apply(
                claimed.lease, claimed.sync.shop, batch(product("1")), full=True, items_per_second=None
            )


async def test_a_sync_with_invalid_prices_succeeds_and_reports_them(world: CatalogWorld) -> None:
    sync = await world.sync(MemorySource([product("1", price="NaN"), product("2", price="1_0"), product("3")]))
    assert sync.state is SyncState.SUCCEEDED
    assert (sync.progress.products.created, sync.progress.products.rejected) == (1, 2)
    issues = await world.issues.page(sync.sync_id, after=0, limit=10)
    reported = {(issue.issue.product_id, issue.issue.reason, issue.issue.sample) for issue in issues}
    assert reported == {("1", "INVALID_PRICE", "NaN"), ("2", "INVALID_PRICE", "1_0")}


async def test_staging_tables_that_another_release_left_on_a_connection_do_no_harm(
    database_url: str,
) -> None:
    """A pooler keeps the server connection, and with it the temporary tables, across an upgrade."""
    engine = open_test_engine(database_url, pool_size=1, max_overflow=0)
    async with engine.begin() as connection:
        for name in ("stage_item", "stage_product"):
            await connection.execute(text(f"CREATE TEMPORARY TABLE {name} (item_id text) ON COMMIT DELETE ROWS"))
    sync = await CatalogWorld(engine).sync(MemorySource([product("1")]))
    assert sync.state is SyncState.SUCCEEDED
    await engine.dispose()
