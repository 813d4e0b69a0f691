"""A run ends complete, or failed with a reason; stored products stay, and the next run does not repeat them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.domain.sync import SyncState, Waiting, WaitReason
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import HEADER, CatalogWorld, until
from tests.waiting import within_timeout

ITEMS = "SELECT item_id FROM item ORDER BY item_id"


def products(count: int, *, items: int = 1) -> list[pb.Product]:
    return [product(f"{n:03}", items=items) for n in range(count)]


async def test_a_complete_pass_succeeds_and_moves_the_watermark(world: CatalogWorld) -> None:
    sync = await world.sync(MemorySource(products(5, items=2)))
    assert sync.state is SyncState.SUCCEEDED
    assert (sync.progress.products.created, sync.progress.items.created) == (5, 10)
    assert sync.shop.watermark == WATERMARK
    assert (sync.shop.currency_code, sync.shop.display_name) == ("EUR", "Demo")


async def test_a_shop_without_products_succeeds(world: CatalogWorld) -> None:
    sync = await world.sync(MemorySource())
    assert (sync.state, sync.progress.products.seen) == (SyncState.SUCCEEDED, 0)


async def test_a_stream_without_its_end_never_succeeds(world: CatalogWorld) -> None:
    source = MemorySource(products(3))
    source.omit_end = True
    sync = await world.sync(source, give_up_after=timedelta(milliseconds=50))
    assert sync.state is SyncState.FAILED
    assert sync.error is not None
    assert sync.error.reason == "SOURCE_INCOMPLETE"
    assert sync.shop.watermark is None
    assert len(await world.rows(ITEMS)) == 3


async def test_fewer_products_than_the_platform_counts_never_succeed(world: CatalogWorld) -> None:
    source = MemorySource(products(3))
    source.announced = 4
    sync = await world.sync(source)
    assert sync.state is SyncState.FAILED
    assert sync.error is not None
    assert (sync.error.reason, sync.error.metadata["expected"]) == ("SOURCE_COUNT_MISMATCH", "4")


async def test_a_permanent_failure_ends_the_sync_at_once_and_keeps_what_was_stored(world: CatalogWorld) -> None:
    source = MemorySource(products(6))
    revoked = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)
    source.failures = {4: [revoked]}
    sync = await world.sync(source)
    assert sync.state is SyncState.FAILED
    assert sync.error is not None
    assert (sync.error.reason, sync.error.message) == ("SOURCE_UNAUTHORIZED", "connect the shop again")
    assert len(await world.rows(ITEMS)) == 4


async def test_a_transient_failure_is_shown_as_waiting_and_the_pass_continues_from_its_checkpoint(
    world: CatalogWorld,
) -> None:
    source = MemorySource(products(6))
    source.failures = {4: [ConnectorUnavailable(), ConnectorUnavailable()]}
    sync = await world.sync(source)
    assert sync.state is SyncState.SUCCEEDED
    assert [request.checkpoint for request in source.requests] == [b"", b"4", b"4"]
    assert sync.progress.products.seen == 6
    waits = [s.waiting.reason for s in world.published if s.waiting]
    assert waits == [WaitReason.CONNECTOR, WaitReason.CONNECTOR]


async def test_a_lasting_failure_ends_the_sync_when_the_retry_policy_is_exhausted(world: CatalogWorld) -> None:
    source = MemorySource(products(2))
    source.failures = {0: [ConnectorUnavailable() for _ in range(1000)]}
    sync = await world.sync(source, give_up_after=timedelta(milliseconds=100))
    assert sync.error is not None
    assert (sync.state, sync.error.reason) == (SyncState.FAILED, "CONNECTOR_UNAVAILABLE")


async def test_the_connectors_waits_are_shown_until_the_batch_after_them(world: CatalogWorld) -> None:
    source = MemorySource(products(4))
    resume_time = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
    source.waits = {
        2: Waiting(reason=WaitReason.PLATFORM_JOB, until=resume_time, done_count=812, total_count=1456)
    }
    sync = await world.sync(source)
    (waiting,) = [s.waiting for s in world.published if s.waiting]
    assert (waiting.reason, waiting.done_count, waiting.total_count) == (WaitReason.PLATFORM_JOB, 812, 1456)
    assert sync.waiting is None


async def test_a_wait_that_is_not_over_outlives_the_batch_before_it(world: CatalogWorld) -> None:
    """The source waits for its next page while the last one is being stored."""
    source = MemorySource(products(4))
    source.waits = {2: Waiting(reason=WaitReason.THROTTLED, until=datetime.now(UTC) + timedelta(minutes=1))}
    await world.sync(source)
    after_wait = [s for s in world.published if s.progress.products.seen == 4 and not s.state.ended]
    assert [s.waiting.reason for s in after_wait if s.waiting] == [WaitReason.THROTTLED]
    assert world.published[-1].waiting is None


@pytest.mark.smoke
async def test_rejected_records_are_reported_with_everything_needed_to_correct_them(world: CatalogWorld) -> None:
    source = MemorySource(products(2))
    source.issues = [
        pb.RecordIssue(
            reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE,
            product_id="9",
            field="price",
            message="not a decimal",
            sample="abc",
            product_rejected=True,
        ),
        pb.RecordIssue(
            reason=issue_reason_pb2.ISSUE_REASON_INVALID_FIELD, product_id="000", variant_id="000-7", field="stock"
        ),
    ]
    sync = await world.sync(source)
    assert sync.state is SyncState.SUCCEEDED
    assert (sync.progress.products.rejected, sync.progress.items.rejected) == (1, 1)
    issues = await world.issues.page(sync.sync_id, after=0, limit=10)
    assert [(i.number, i.issue.reason, i.issue.field) for i in issues] == [
        (1, "INVALID_PRICE", "price"),
        (2, "INVALID_FIELD", "stock"),
    ]


@pytest.mark.smoke
async def test_a_drained_replica_hands_over_and_the_next_one_repeats_nothing(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    created = await world.create_sync()
    source = MemorySource(products(6))
    source.hold = asyncio.Event()
    running = asyncio.create_task(world.supervisor(source).run(await world.claim()))
    await until(lambda: any(s.progress.products.seen for s in world.published))
    world.drain.start()
    await within_timeout(running)

    source.hold = None
    other = CatalogWorld(engine)
    claimed = await other.claim()
    await other.supervisor(source).run(claimed)
    sync = await other.syncs.get(created.sync_id)
    assert (sync.state, sync.attempt_count, sync.progress.products.seen) == (SyncState.SUCCEEDED, 2, 6)
    assert source.requests[1].checkpoint == b"2"


async def test_a_run_whose_lease_is_lost_stops_and_leaves_the_end_to_the_new_owner(world: CatalogWorld) -> None:
    created = await world.create_sync()
    source = MemorySource(products(6))
    source.hold = asyncio.Event()
    renewals = timedelta(milliseconds=50)
    running = asyncio.create_task(world.supervisor(source, renew_interval=renewals).run(await world.claim()))
    await until(lambda: any(s.progress.products.seen for s in world.published))
    # As the claim of another replica does, at a moment when no renewal can come in between.
    await world.execute("UPDATE sync_queue SET epoch = epoch + 1")
    await within_timeout(running)
    assert (await world.syncs.get(created.sync_id)).state is SyncState.RUNNING


async def test_a_frozen_replica_that_lost_its_lease_writes_nothing(
    world: CatalogWorld, engine: AsyncEngine
) -> None:
    created = await world.create_sync()
    source = MemorySource(products(6))
    source.hold = asyncio.Event()
    frozen = asyncio.create_task(world.supervisor(source).run(await world.claim()))
    await until(lambda: any(s.progress.products.seen for s in world.published))
    await world.expire_lease(created.sync_id)
    other = CatalogWorld(engine)
    claimed = await other.claim()
    source.hold.set()
    await within_timeout(frozen)
    await other.supervisor(source).run(claimed)
    sync = await world.syncs.get(created.sync_id)
    assert (sync.state, sync.progress.products.seen) == (SyncState.SUCCEEDED, 6)


async def test_a_sync_that_never_stores_anything_is_ended_as_stalled(world: CatalogWorld) -> None:
    created = await world.create_sync()
    for _ in range(5):
        await world.leases.begin((await world.claim()).lease, HEADER)
        await world.expire_lease(created.sync_id)
    await world.supervisor(MemorySource(products(2))).run(await world.claim())
    sync = await world.syncs.get(created.sync_id)
    assert sync.error is not None
    assert (sync.state, sync.error.reason) == (SyncState.FAILED, "SYNC_STALLED")


async def test_a_replica_that_dies_while_its_sync_waits_does_not_count_as_a_claim_without_progress(
    world: CatalogWorld,
) -> None:
    created = await world.create_sync()
    source = MemorySource(products(2))
    source.failures[0] = [ConnectorUnavailable("unavailable") for _ in range(6)]
    claimed = await world.claim()
    while source.failures[0]:
        world.published.clear()
        run = asyncio.create_task(world.supervisor(source).run(claimed))
        await until(lambda: any(s.waiting for s in world.published))
        await world.expire_lease(created.sync_id)
        claimed = await world.claim()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    await world.supervisor(source).run(claimed)
    assert (await world.syncs.get(created.sync_id)).state is SyncState.SUCCEEDED


async def test_a_batch_that_kills_its_replica_is_requested_in_smaller_pieces(world: CatalogWorld) -> None:
    created = await world.create_sync()
    for _ in range(3):
        await world.leases.begin((await world.claim()).lease, HEADER)
        await world.expire_lease(created.sync_id)
    source = MemorySource(products(2))
    await world.supervisor(source).run(await world.claim())
    assert source.requests[0].max_batch_products == 250 >> 4


async def test_small_batches_that_are_queued_are_stored_in_one_transaction(world: CatalogWorld) -> None:
    """Below 500 rows a transaction's fixed cost dominates."""
    source = MemorySource(products(40), batch_size=1)
    sync = await world.sync(source)
    (row,) = await world.rows("SELECT next_seq FROM shop_state")
    assert sync.progress.products.seen == 40
    assert row["next_seq"] < 40
