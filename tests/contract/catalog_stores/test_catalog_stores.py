"""The contract of the stores, over PostgreSQL and in memory: leases, the fence, batches, deletions, commands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.errors import (
    LeaseLost,
    MassDeleteBlocked,
    RequestIdReused,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotResumable,
)
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.status import LatestSyncs
from catalog_svc.domain.sync import ClaimedSync, SyncMode, SyncState, Waiting, WaitReason
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch
from tests.contract.catalog_stores.steps import (
    REVOKED,
    apply,
    failed_sync,
    full_sync,
    live_products,
    started_sync,
    sweep_and_succeed,
)
from tests.fakes.product_source import WATERMARK, product

# -- claims and the fence


async def test_a_sync_has_one_owner_at_a_time(stores: Stores) -> None:
    await stores.replica().create_sync()
    claims = await asyncio.gather(*(stores.replica().leases.claim() for _ in range(4)))
    assert sum(map(len, claims)) == 1


async def test_an_owner_whose_lease_expired_is_replaced_and_can_write_nothing(stores: Stores) -> None:
    old, new = stores.replica(), stores.replica()
    claimed = await started_sync(old)
    await stores.expire(claimed.sync.sync_id)
    reclaimed = await new.claim()
    assert (reclaimed.lease.epoch, reclaimed.sync.attempt_count) == (claimed.lease.epoch + 1, 2)
    before = await new.syncs.get(claimed.sync.sync_id)
    for attempt in (
        old.leases.renew(claimed.lease),
        old.leases.reacquire(claimed.lease),
        old.leases.begin(claimed.lease, HEADER),
        old.leases.end(claimed.lease, SyncState.FAILED, REVOKED),
        old.sweeps.step(claimed.lease, claimed.sync.shop),
        apply(old, claimed, batch(product("1"))),
    ):
        with pytest.raises(LeaseLost):
            await attempt
    await old.leases.release(claimed.lease)
    assert await new.syncs.get(claimed.sync.sync_id) == before
    assert await stores.products() == {}
    assert await new.leases.claim() == []


async def test_the_next_owner_continues_after_the_last_stored_batch(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    await apply(replica, claimed, batch(product("1"), checkpoint=b"here"))
    await stores.expire(claimed.sync.sync_id)
    reclaimed = await stores.replica().claim()
    assert (reclaimed.checkpoint, reclaimed.lease.next_seq, reclaimed.claims_without_progress) == (b"here", 1, 0)
    assert reclaimed.sync.progress.products.seen == 1


async def test_a_released_sync_is_free_at_once_and_nobody_is_counted(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    await replica.leases.release(claimed.lease)
    reclaimed = await stores.replica().claim()
    assert reclaimed.claims_without_progress == claimed.claims_without_progress == 0


async def test_an_owner_that_dies_between_two_attempts_is_not_counted(stores: Stores, replica: Replica) -> None:
    """Otherwise an unstable connector or database, with restarting replicas, would end a sync as stalled."""
    pause = Waiting(
        reason=WaitReason.CONNECTOR, until=datetime.now(UTC) + timedelta(seconds=3), message="unavailable"
    )
    claimed = await started_sync(replica)
    await replica.leases.pause(claimed.lease, claimed.sync.shop, pause)
    await stores.expire(claimed.sync.sync_id)
    reclaimed = await stores.replica().claim()
    assert reclaimed.claims_without_progress == 0

    # An attempt in which the platform waits continues: the next batch may be what ends it.
    await replica.leases.begin(reclaimed.lease, HEADER)
    await replica.leases.wait(reclaimed.lease, reclaimed.sync.shop, pause)
    await stores.expire(reclaimed.sync.sync_id)
    counted = await stores.replica().claim()
    assert counted.claims_without_progress == 1

    # And so may the one after a lost connection to the database, but only once it has started_sync.
    await replica.leases.begin(counted.lease, HEADER)
    assert (await replica.leases.reacquire(counted.lease)).claims_without_progress == 1
    await replica.leases.begin(counted.lease, HEADER)
    await stores.expire(counted.sync.sync_id)
    assert (await stores.replica().claim()).claims_without_progress == 2


async def test_an_owner_that_does_not_know_its_last_write_reacquires_the_lease(replica: Replica) -> None:
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"here"))
    reacquired = await replica.leases.reacquire(claimed.lease)
    assert (reacquired.lease, reacquired.checkpoint) == (lease, b"here")
    assert reacquired.sync == await replica.syncs.get(claimed.sync.sync_id)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity", "1_0", "ten", "1E+999999", "\uff17.30"])
async def test_an_invalid_price_rejects_its_product_and_nothing_else(
    stores: Stores, replica: Replica, price: str
) -> None:
    await full_sync(replica, product("1", price="5.00"), product("2"))
    claimed = await started_sync(replica)
    changed = batch(product("1", price=price), product("2", title="New"), product("3"))
    await apply(replica, claimed, changed)
    progress = (await replica.syncs.get(claimed.sync.sync_id)).progress
    assert (progress.products.seen, progress.products.rejected, progress.issue_count) == (2, 1, 1)
    assert await live_products(stores) == {"1", "2", "3"}
    assert (await stores.items())["1-1"][1] == "5.00"
    assert "1" in await stores.seen()


async def test_a_product_with_several_issues_is_rejected_once(replica: Replica) -> None:
    claimed = await started_sync(replica)
    issues = [
        pb.RecordIssue(product_id="1", field="title", product_rejected=True),
        pb.RecordIssue(product_id="1", field="price", product_rejected=True),
        pb.RecordIssue(product_id="2", product_rejected=True),
        pb.RecordIssue(field="id", product_rejected=True),
        pb.RecordIssue(field="id", product_rejected=True),
    ]
    await apply(replica, claimed, batch(issues=issues))
    progress = (await replica.syncs.get(claimed.sync.sync_id)).progress
    assert (progress.products.rejected, progress.issue_count) == (4, 5)


# -- batches, each stored once


async def test_a_batch_whose_commit_was_not_acknowledged_is_stored_once(replica: Replica) -> None:
    claimed = await started_sync(replica)
    what = batch(product("1", items=2))
    first = await apply(replica, claimed, what)
    before = await replica.syncs.get(claimed.sync.sync_id)
    assert await apply(replica, claimed, what) == first
    assert await replica.syncs.get(claimed.sync.sync_id) == before
    assert (before.progress.products.seen, before.progress.items.seen) == (1, 2)


async def test_a_batch_with_another_sequence_number_is_rejected(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    for seq in (0, 2, 7):
        with pytest.raises(LeaseLost):
            await apply(
                replica, claimed, batch(product("2"), checkpoint=b"2"), replace(claimed.lease, next_seq=seq)
            )
    assert await live_products(stores) == {"1"}


async def test_digits_and_leading_zeros_are_kept_and_an_added_zero_is_a_change(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1", price="7.3", sku="00000134000"))
    second = await full_sync(replica, product("1", price="7.30", sku="00000134000"))
    assert await stores.items() == {"1-1": ("00000134000", "7.30", True)}
    assert (second.progress.items.updated, second.progress.items.unchanged) == (1, 0)


async def test_counts_say_what_was_done_with_each_record(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, product("1", items=3), product("2"))
    second = await full_sync(replica, product("1", items=2, title="New"), product("2"), product("3"))
    products, items = second.progress.products, second.progress.items
    assert (products.seen, products.created, products.updated, products.unchanged) == (3, 1, 1, 1)
    assert (items.seen, items.created, items.unchanged, items.deleted) == (4, 1, 3, 1)
    assert (await stores.items())["1-3"][2] is False


async def test_an_item_that_arrives_with_another_product_moves_to_it(stores: Stores, replica: Replica) -> None:
    """Also if all products of its batch are new."""
    await full_sync(replica, product("1", items=2))
    claimed = await started_sync(replica)
    new = product("3")
    new.variants.append(pb.Variant(id="1-2", position=2, price_amount="5.00"))
    lease = await apply(replica, claimed, batch(product("2"), new))
    second = await sweep_and_succeed(replica, claimed, await apply(replica, claimed, batch(product("1")), lease))
    counts = second.progress.items
    assert (counts.created, counts.updated, counts.unchanged, counts.deleted) == (2, 1, 1, 0)
    assert (await stores.items())["1-2"][1:] == ("5.00", True)


async def test_a_product_that_arrives_incomplete_loses_no_items(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, product("1", items=3))
    partial = product("1", items=1, title="New")
    partial.variants_complete = False
    await full_sync(replica, partial)
    assert all(is_live for *_, is_live in (await stores.items()).values())


async def test_rejected_records_are_counted_and_treated_as_present(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, product("1"), product("2"))
    claimed = await started_sync(replica)
    rejected = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="2", product_rejected=True
    )
    lease = await apply(replica, claimed, batch(product("1"), issues=[rejected]))
    sync = await sweep_and_succeed(replica, claimed, lease)
    assert (sync.progress.issue_count, sync.progress.products.rejected) == (1, 1)
    assert await live_products(stores) == {"1", "2"}


# -- stock and the deletion guard


async def test_stock_is_stored_without_reading_the_product_again(stores: Stores, replica: Replica) -> None:
    """Only what differs is written and counted; the stock of an unknown item is ignored."""
    await full_sync(replica, product("1", items=2, stock_quantity=5))
    claimed = await started_sync(replica, SyncMode.INCREMENTAL)
    levels = [
        pb.StockLevel(product_id="1", variant_id="1-1", stock_quantity=0, available=False),
        pb.StockLevel(product_id="1", variant_id="1-2", stock_quantity=5, available=True),
        pb.StockLevel(product_id="9", variant_id="9-1", stock_quantity=7, available=True),
    ]
    await apply(replica, claimed, batch(stock_levels=levels))
    assert await stores.stock() == {"1-1": (0, False), "1-2": (5, True)}
    items = (await replica.syncs.get(claimed.sync.sync_id)).progress.items
    assert (items.seen, items.updated) == (1, 1)


async def test_an_offer_that_arrives_with_the_stock_is_stored_digit_for_digit(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1", items=3, price="7.3", sku="007"))
    claimed = await started_sync(replica, SyncMode.INCREMENTAL)
    levels = [
        pb.StockLevel(
            product_id="1", variant_id="1-1", available=True, offer=pb.Offer(sku="007", price_amount="7.30")
        ),
        pb.StockLevel(
            product_id="1", variant_id="1-2", available=True, offer=pb.Offer(sku="007", price_amount="7.3")
        ),
        pb.StockLevel(product_id="1", variant_id="1-3", available=True),
    ]
    lease = await apply(replica, claimed, batch(stock_levels=levels))
    assert await stores.items() == {
        "1-1": ("007", "7.30", True),
        "1-2": ("007", "7.3", True),
        "1-3": ("007", "7.3", True),
    }
    assert (await replica.syncs.get(claimed.sync.sync_id)).progress.items.updated == 1
    await apply(replica, claimed, batch(stock_levels=[levels[0]], checkpoint=b"2"), lease)
    assert (await replica.syncs.get(claimed.sync.sync_id)).progress.items.updated == 1


async def test_stock_that_returns_to_an_earlier_value_of_the_product_is_written_again(
    stores: Stores, replica: Replica
) -> None:
    """The product is then byte for byte the same as when it was last read as a whole."""
    await full_sync(replica, product("1", stock_quantity=5))
    claimed = await started_sync(replica, SyncMode.INCREMENTAL)
    level = pb.StockLevel(product_id="1", variant_id="1-1", stock_quantity=4, available=True)
    lease = await apply(replica, claimed, batch(stock_levels=[level]))
    await replica.leases.end(lease, SyncState.SUCCEEDED)
    await full_sync(replica, product("1", stock_quantity=5))
    assert await stores.stock() == {"1-1": (5, True)}


async def test_the_deletion_guard_adds_up_the_batches_of_one_pass(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, *[product(str(n)) for n in range(10, 30)])
    claimed = await started_sync(replica)
    gone = batch(deleted_product_ids=[str(n) for n in range(10, 16)])
    lease = await apply(replica, claimed, gone)
    more = batch(deleted_product_ids=[str(n) for n in range(16, 21)], checkpoint=b"2")
    with pytest.raises(MassDeleteBlocked) as blocked:
        await apply(replica, claimed, more, lease)
    counts = {"would_delete": "5", "stored": "20", "deleted": "6"}
    assert blocked.value.metadata == {**counts, "decided_by": "FULL_SYNC"}
    assert len(await live_products(stores)) == 14


async def test_a_batch_that_would_delete_too_many_variants_is_not_stored_at_all(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1", items=150))
    claimed = await started_sync(replica)
    before = await replica.syncs.get(claimed.sync.sync_id)
    with pytest.raises(MassDeleteBlocked):
        await apply(replica, claimed, batch(product("1", items=1)))
    assert await replica.syncs.get(claimed.sync.sync_id) == before
    assert sum(is_live for *_, is_live in (await stores.items()).values()) == 150


# -- start, end, cancel and resume


async def test_a_shop_has_one_active_sync_and_a_request_id_creates_one(replica: Replica) -> None:
    first = await replica.create_sync(request_id="r")
    assert (await replica.create_sync(request_id="r")).sync_id == first.sync_id
    with pytest.raises(SyncAlreadyRunning):
        await replica.create_sync()
    with pytest.raises(RequestIdReused):
        await replica.create_sync(request_id="r", allow_mass_delete=True)


async def test_a_repeated_end_is_the_same_end_and_advances_the_watermark(replica: Replica) -> None:
    claimed = await started_sync(replica)
    first = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert await replica.leases.end(claimed.lease, SyncState.SUCCEEDED) == first
    assert first.shop.watermark == WATERMARK
    with pytest.raises(LeaseLost):
        await replica.leases.end(claimed.lease, SyncState.FAILED, REVOKED)


async def test_an_incremental_sync_shows_since_when_it_reads_changes(stores: Stores, replica: Replica) -> None:
    first = await full_sync(replica, product("1"))
    assert first.updated_after is None
    created = await replica.create_sync(SyncMode.INCREMENTAL)
    claimed = await replica.claim()
    assert created.updated_after == claimed.updated_after == claimed.sync.updated_after
    assert claimed.updated_after is not None
    assert claimed.updated_after <= WATERMARK


async def test_only_success_advances_the_watermark(replica: Replica) -> None:
    assert (await failed_sync(replica, product("1"))).shop.watermark is None
    assert (await replica.create_sync(SyncMode.INCREMENTAL)).mode is SyncMode.FULL


async def test_a_cancel_revokes_the_lease_and_stored_products_stay(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1")))
    cancelled = await replica.commands.cancel(claimed.sync.sync_id)
    assert await replica.commands.cancel(claimed.sync.sync_id) == cancelled
    for attempt in (apply(replica, claimed, batch(product("2")), lease), replica.leases.renew(lease)):
        with pytest.raises(LeaseLost):
            await attempt
    assert await live_products(stores) == {"1"}
    assert await replica.leases.claim() == []


async def test_a_succeeded_sync_can_be_neither_cancelled_nor_resumed(replica: Replica) -> None:
    sync = await full_sync(replica, product("1"))
    with pytest.raises(SyncNotCancellable):
        await replica.commands.cancel(sync.sync_id)
    with pytest.raises(SyncNotResumable):
        await replica.commands.resume(sync.sync_id, request_id="", correlation_id="")


async def test_a_resumed_sync_continues_the_pass_of_its_parent(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, product("1"), product("2"), product("3"))
    parent = await failed_sync(replica, product("1"))
    child = await replica.commands.resume(parent.sync_id, request_id="", correlation_id="")
    assert (child.revision, child.parent_sync_id, child.progress.products) == (
        1,
        parent.sync_id,
        parent.progress.products,
    )
    claimed = await replica.claim()
    assert claimed.checkpoint == b"parent"
    await replica.leases.begin(claimed.lease, HEADER)
    lease = await apply(replica, claimed, batch(product("2"), checkpoint=b"2"))
    sync = await sweep_and_succeed(replica, claimed, lease)
    assert sync.progress.products.seen == 2
    assert await live_products(stores) == {"1", "2"}


async def test_every_claim_gets_the_trace_in_which_its_sync_was_created(stores: Stores, replica: Replica) -> None:
    """The spans of a takeover, and of a resumed sync, belong to the trace of the call that asked for the sync."""
    started, resumed = (f"00-{digit * 32}-{digit * 16}-01" for digit in "12")
    sync = await replica.create_sync(traceparent=started)
    claimed = await started_claim(replica)
    await stores.expire(sync.sync_id)
    taken_over = await started_claim(replica)
    assert (claimed.traceparent, taken_over.traceparent) == (started, started)
    await apply(replica, taken_over, batch(product("1")))
    reacquired = await replica.leases.reacquire(replace(taken_over.lease, next_seq=taken_over.lease.next_seq + 1))
    assert reacquired.traceparent == started
    await replica.commands.cancel(sync.sync_id)
    await replica.commands.resume(sync.sync_id, request_id="", correlation_id="", traceparent=resumed)
    assert (await replica.claim()).traceparent == resumed


async def started_claim(replica: Replica) -> ClaimedSync:
    """Claim the sync and begin its pass."""
    claimed = await replica.claim()
    await replica.leases.begin(claimed.lease, HEADER)
    return claimed


async def test_only_the_latest_sync_can_be_resumed_and_only_if_it_stored_something(replica: Replica) -> None:
    old = await failed_sync(replica, product("1"))
    without_checkpoint = await failed_sync(replica)
    for sync in (old, without_checkpoint):
        with pytest.raises(SyncNotResumable):
            await replica.commands.resume(sync.sync_id, request_id="", correlation_id="")


async def test_the_end_of_a_pass_deletes_its_seen_ids(stores: Stores, replica: Replica) -> None:
    """Ids of an earlier pass, however many, must not delay a later one: retention purges them in small steps."""
    await failed_sync(replica, product("1"))
    assert await stores.seen() == {"1"}
    claimed = await started_sync(replica)
    await apply(replica, claimed, batch(product("2")))
    assert await stores.seen() == {"1", "2"}
    await replica.sweeps.finalize(claimed.lease)
    assert await stores.seen() == {"1"}


async def test_every_change_raises_the_revision_by_one(replica: Replica) -> None:
    created = await replica.create_sync()
    claimed = await replica.claim()
    began = await replica.leases.begin(claimed.lease, HEADER)
    _, after = await replica.batches.apply(
        claimed.lease, claimed.sync.shop, batch(product("1")), full=True, items_per_second=1.0
    )
    await replica.leases.renew(claimed.lease)
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    revisions = [sync.revision for sync in (created, claimed.sync, began.sync, after, ended)]
    assert revisions == [1, 2, 3, 4, 5]


async def test_syncs_whose_revision_is_not_the_known_one_are_found_and_unknown_syncs_are_named(
    replica: Replica,
) -> None:
    syncs = [await replica.create_sync(shop=ShopKey("shopify", f"{n}.myshopify.com")) for n in range(3)]
    (claimed,) = await replica.leases.claim()
    known = {sync.sync_id: sync.revision for sync in syncs}
    assert await replica.syncs.changed_revisions(known) == {claimed.sync.sync_id: claimed.sync.revision}
    known[claimed.sync.sync_id] = claimed.sync.revision
    assert await replica.syncs.changed_revisions(known) == {}
    unknown = uuid4()
    assert await replica.syncs.changed_revisions({**known, unknown: 7}) == {unknown: None}


# -- latest syncs


async def test_the_active_and_the_last_finished_sync_of_a_shop_are_read_separately(replica: Replica) -> None:
    first = await replica.create_sync()
    assert await replica.syncs.latest(first.shop) == LatestSyncs(active=first)
    claimed = await replica.claim()
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert await replica.syncs.latest(first.shop) == LatestSyncs(last_finished=ended)
    second = await replica.create_sync()
    latest = await replica.syncs.latest(first.shop)
    assert latest.active is not None
    assert latest.last_finished is not None
    assert (latest.active.sync_id, latest.last_finished.sync_id) == (second.sync_id, first.sync_id)


# -- the queue


async def test_a_pending_sync_has_a_position_in_the_queue_of_its_platform(replica: Replica) -> None:
    shops = [ShopKey("shopify", f"{name}.myshopify.com") for name in "abc"] + [ShopKey("custom", "d.example")]
    syncs = [await replica.create_sync(shop=shop) for shop in shops]
    assert [sync.queue_position for sync in syncs] == [0, 1, 2, 0]
    assert await replica.syncs.get_many([syncs[2].sync_id]) == [syncs[2]]
    claimed = await replica.claim()
    assert (claimed.sync.sync_id, claimed.sync.queue_position) == (syncs[0].sync_id, None)
    ids = [sync.sync_id for sync in syncs]
    assert [(await replica.syncs.get(sync_id)).queue_position for sync_id in ids] == [None, 0, 1, 0]
    positions = await replica.syncs.queue_positions(ids[1:])
    assert positions == dict(zip(ids[1:], [0, 1, 0], strict=True))
