"""A listing that leaves a product out deletes nothing: missing products are first read by their ids."""

from __future__ import annotations

from datetime import timedelta

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.sync import Sync, SyncMode, SyncState
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld

TOMBSTONES = "SELECT product_id FROM product WHERE deleted_at IS NOT NULL ORDER BY product_id"


def shop_of(*numbers: int, items: int = 1) -> MemorySource:
    return MemorySource([product(f"{n:04}", items=items) for n in numbers], batch_size=250)


async def synced(world: CatalogWorld, source: MemorySource, mode: SyncMode = SyncMode.FULL) -> Sync:
    created = await world.create_sync(mode=mode)
    await world.supervisor(source, give_up_after=timedelta(minutes=1)).run(await world.claim())
    return await world.syncs.get(created.sync_id)


async def live(world: CatalogWorld) -> set[str]:
    return {r["product_id"] for r in await world.rows("SELECT product_id FROM item WHERE deleted_at IS NULL")}


async def test_a_product_that_the_listing_leaves_out_is_read_by_id_and_stays(world: CatalogWorld) -> None:
    await synced(world, shop_of(1, 2, 3))
    source = shop_of(1, 3)
    source.unlisted = [product("0002", price="12.50")]
    sync = await synced(world, source)
    assert (sync.state, sync.progress.products.deleted, sync.notes) == (SyncState.SUCCEEDED, 0, ())
    assert source.requested_ids == [("0002",)]
    assert await live(world) == {"0001", "0002", "0003"}
    (row,) = await world.rows("SELECT price::text AS price FROM item WHERE product_id = '0002'")
    assert row["price"] == "12.50"


async def test_only_products_that_the_platform_reports_as_deleted_are_marked(world: CatalogWorld) -> None:
    await synced(world, shop_of(1, 2, 3, 4))
    source = shop_of(1)
    source.unlisted = [product("0002")]
    source.undecided = {"0003"}
    sync = await synced(world, source)
    assert sync.state is SyncState.SUCCEEDED
    assert [row["product_id"] for row in await world.rows(TOMBSTONES)] == ["0004"]


async def test_a_product_that_the_platform_does_not_decide_on_is_kept_and_reported(world: CatalogWorld) -> None:
    await synced(world, shop_of(1, 2))
    source = shop_of(1)
    source.undecided = {"0002"}
    sync = await synced(world, source)
    assert await live(world) == {"0001", "0002"}
    (note,) = sync.notes
    assert "did not say whether they still exist" in note
    assert sync.shop.notes == sync.notes
    (issue,) = await world.issues.page(sync.sync_id, after=0, limit=10)
    assert (issue.issue.reason, issue.issue.product_id) == ("SOURCE_ERROR", "0002")


async def test_a_missing_product_that_is_rejected_when_it_is_read_is_not_deleted(world: CatalogWorld) -> None:
    await synced(world, shop_of(1, 2, 3))
    source = shop_of(1, 3)
    rejected = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="0002", product_rejected=True
    )
    source.by_id_issues = [rejected]
    sync = await synced(world, source)
    assert (sync.state, sync.progress.products.rejected) == (SyncState.SUCCEEDED, 1)
    assert await live(world) == {"0001", "0002", "0003"}


async def test_a_source_that_proves_absence_gets_no_request_by_id(world: CatalogWorld) -> None:
    await synced(world, shop_of(1, 2))
    source = shop_of(1)
    source.absence_proven = True
    await synced(world, source)
    assert source.requested_ids == []
    assert await live(world) == {"0001"}


async def test_missing_products_are_read_in_bounded_requests(world: CatalogWorld) -> None:
    await synced(world, shop_of(*range(700)))
    source = shop_of(*range(100))
    source.unlisted = [product(f"{n:04}") for n in range(100, 650)]
    sync = await synced(world, source)
    assert [len(ids) for ids in source.requested_ids] == [250, 250, 100]
    assert (sync.state, sync.progress.products.deleted) == (SyncState.SUCCEEDED, 50)


async def test_a_retry_while_missing_products_are_read_repeats_none_of_them(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(*range(700)))
    source = shop_of(*range(100))
    source.unlisted = [product(f"{n:04}") for n in range(100, 650)]
    source.by_id_failures = {2: [ConnectorUnavailable()]}
    sync = await synced(world, source)
    assert sync.state is SyncState.SUCCEEDED
    assert [ids[0] for ids in source.requested_ids] == ["0100", "0350", "0350", "0600"]
    assert sync.progress.products.deleted == 50


async def test_nothing_is_marked_before_the_deletion_guard_has_checked_all_deleted_products(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(*range(700)))
    sync = await synced(world, shop_of(*range(400)))
    assert sync.error is not None
    assert (sync.error.reason, sync.error.metadata["would_delete"]) == ("MASS_DELETE_BLOCKED", "300")
    assert await world.rows(TOMBSTONES) == []


async def test_the_deletion_guard_counts_what_the_pass_has_deleted_already_and_reports_it_separately(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(*range(10, 30)))
    source = shop_of(*range(25, 30))
    source.deleted = tuple(f"{n:04}" for n in range(10, 16))
    source.listed = tuple(f"{n:04}" for n in range(25, 30))
    sync = await synced(world, source, SyncMode.INCREMENTAL)
    assert sync.error is not None
    counts = {"would_delete": "9", "stored": "20", "deleted": "6"}
    assert sync.error.metadata == {**counts, "decided_by": "FULL_SYNC"}
    assert sync.error.message.startswith("6 of 20 items are deleted and 9 more would be;")


async def test_an_incremental_sync_reads_listed_products_that_are_not_stored_or_stored_as_deleted(
    world: CatalogWorld,
) -> None:
    """Imported products without a date, and wrongly deleted ones, would otherwise wait for the next full sync."""
    await synced(world, shop_of(1, 2, 3))
    await synced(world, shop_of(1, 3))
    source = shop_of()
    source.listed = ("0001", "0002", "0003", "0004")
    source.unlisted = [product(i) for i in source.listed]
    sync = await synced(world, source, SyncMode.INCREMENTAL)
    assert source.requested_ids == [("0002", "0004")]
    assert (sync.progress.products.created, sync.progress.checked_products) == (2, 4)
    assert await live(world) == {"0001", "0002", "0003", "0004"}


async def test_a_full_sync_reads_listed_products_that_are_not_stored(world: CatalogWorld) -> None:
    """A pass that was resumed cannot know whether the stream before it delivered everything."""
    source = shop_of(1, 3)
    source.listed = ("0001", "0002", "0003")
    source.unlisted = [product("0002")]
    sync = await synced(world, source)
    assert source.requested_ids == [("0002",)]
    assert (sync.state, sync.progress.products.created) == (SyncState.SUCCEEDED, 3)


async def test_a_product_that_an_incremental_sync_delivered_and_did_not_list_is_not_deleted(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(1))
    source = shop_of(2)
    source.listed = ("0001",)
    await synced(world, source, SyncMode.INCREMENTAL)
    assert source.requested_ids == []
    assert await live(world) == {"0001", "0002"}


async def test_warnings_of_a_pass_are_notes_of_its_sync(world: CatalogWorld) -> None:
    source = shop_of(1)
    source.notes = ("Prices without a date are seen by full syncs only.",)
    source.warnings = ("The store does not tell how many products it has.",)
    sync = await synced(world, source)
    assert sync.notes == (
        "Prices without a date are seen by full syncs only.",
        "No product was marked as deleted: The store does not tell how many products it has.",
    )


async def test_an_incremental_sync_of_a_shop_whose_currency_changed_reads_everything(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(1, 2, 3))
    source = shop_of(1, 2, 3)
    source.currency_code = "USD"
    sync = await synced(world, source, SyncMode.INCREMENTAL)
    assert (sync.state, sync.mode) == (SyncState.SUCCEEDED, SyncMode.FULL)
    assert [request.updated_after is None for request in source.requests] == [False, True]
    currencies = await world.rows("SELECT DISTINCT currency_code FROM item WHERE deleted_at IS NULL")
    assert [row["currency_code"] for row in currencies] == ["USD"]


async def test_a_pass_that_cannot_go_on_since_the_currency_changed_starts_over(
    world: CatalogWorld,
) -> None:
    source = shop_of(*range(6))
    source.batch_size = 2
    changed = SourceFailed(reason="SOURCE_CURRENCY_CHANGED", message="it changed", transient=True)
    source.failures = {4: [changed]}
    sync = await synced(world, source)
    assert sync.state is SyncState.SUCCEEDED
    assert [request.checkpoint for request in source.requests] == [b"", b""]
    assert sync.progress.products.seen == 6


async def test_a_currency_that_changes_while_missing_products_are_read_starts_the_pass_over(
    world: CatalogWorld,
) -> None:
    await synced(world, shop_of(1, 2, 3))
    source = shop_of(1, 3)
    source.unlisted = [product("0002")]
    source.by_id_currency = "USD"
    sync = await synced(world, source)
    assert sync.state is SyncState.SUCCEEDED
    currencies = await world.rows("SELECT DISTINCT currency_code FROM item WHERE deleted_at IS NULL")
    assert [row["currency_code"] for row in currencies] == ["USD"]
