"""What the engine relies on, whatever keeps its state: who may write, what is stored once, and what is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
from catalog_svc.domain.progress import Waiting, WaitReason
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.status import LatestSyncs
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, SyncError, SyncMode, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch
from tests.fakes.product_source import WATERMARK, product

DOLLARS = replace(HEADER, profile=replace(HEADER.profile, currency_code="USD"))
REVOKED = SyncError(reason="SOURCE_UNAUTHORIZED", message="connect the shop again")


async def begun(replica: Replica, mode: SyncMode = SyncMode.FULL, **more: Any) -> ClaimedSync:
    """A sync that has heard its source's header."""
    await replica.order(mode, **more)
    claimed = await replica.claim()
    await replica.leases.begin(claimed.lease, HEADER)
    return claimed


async def apply(replica: Replica, claimed: ClaimedSync, what: SourceBatch, lease: Lease | None = None) -> Lease:
    lease, _ = await replica.batches.apply(
        lease or claimed.lease,
        claimed.sync.shop,
        what,
        full=claimed.sync.mode is SyncMode.FULL,
        items_per_second=None,
    )
    return lease


async def ordered_and_claimed(replica: Replica, mode: SyncMode = SyncMode.FULL) -> ClaimedSync:
    await replica.order(mode)
    return await replica.claim()


async def swept(replica: Replica, claimed: ClaimedSync, lease: Lease) -> Sync:
    """Everything that vanished is marked, and the sync has succeeded."""
    sync: Sync | None = claimed.sync
    while sync is not None:
        lease, sync = await replica.sweeps.step(lease, claimed.sync.shop)
    return await replica.leases.end(lease, SyncState.SUCCEEDED)


async def stored(replica: Replica, *products: pb.Product, **more: Any) -> Sync:
    """A whole full sync of these products."""
    claimed = await begun(replica, **more)
    return await swept(replica, claimed, await apply(replica, claimed, batch(*products)))


async def failed(replica: Replica, *products: pb.Product) -> Sync:
    """A full sync that failed after these products."""
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(*products, checkpoint=b"parent")) if products else claimed.lease
    return await replica.leases.end(lease, SyncState.FAILED, REVOKED)


async def live(stores: Stores) -> set[str]:
    return {pid for pid, (_, is_live) in (await stores.products()).items() if is_live}


# -- claims and the fence


async def test_a_sync_has_one_owner_at_a_time(stores: Stores) -> None:
    await stores.replica().order()
    claims = await asyncio.gather(*(stores.replica().leases.claim() for _ in range(4)))
    assert sum(map(len, claims)) == 1


async def test_a_silent_owner_is_replaced_and_may_do_nothing_any_more(stores: Stores) -> None:
    old, new = stores.replica(), stores.replica()
    claimed = await begun(old)
    await stores.expire(claimed.sync.sync_id)
    taken = await new.claim()
    assert (taken.lease.epoch, taken.sync.attempt_count) == (claimed.lease.epoch + 1, 2)
    before = await new.syncs.get(claimed.sync.sync_id)
    for attempt in (
        old.leases.renew(claimed.lease),
        old.leases.regain(claimed.lease),
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


async def test_whoever_takes_over_goes_on_after_the_last_stored_batch(stores: Stores, replica: Replica) -> None:
    claimed = await begun(replica)
    await apply(replica, claimed, batch(product("1"), checkpoint=b"here"))
    await stores.expire(claimed.sync.sync_id)
    taken = await stores.replica().claim()
    assert (taken.checkpoint, taken.lease.next_seq, taken.claims_without_progress) == (b"here", 1, 0)
    assert taken.sync.progress.products.seen == 1


async def test_a_released_sync_is_free_at_once_and_nobody_is_blamed(stores: Stores, replica: Replica) -> None:
    claimed = await begun(replica)
    await replica.leases.release(claimed.lease)
    taken = await stores.replica().claim()
    assert taken.claims_without_progress == claimed.claims_without_progress == 0


async def test_who_dies_after_its_attempt_has_ended_did_not_die_of_it(stores: Stores, replica: Replica) -> None:
    """Else a connector or a database that comes and goes, among replicas that do, ends a sync as stalled."""
    pause = Waiting(reason=WaitReason.CONNECTOR, until=datetime.now(UTC) + timedelta(seconds=3), message="away")
    claimed = await begun(replica)
    await replica.leases.pause(claimed.lease, claimed.sync.shop, pause)
    await stores.expire(claimed.sync.sync_id)
    taken = await stores.replica().claim()
    assert taken.claims_without_progress == 0

    # An attempt in which the platform waits goes on: the next batch may be what kills.
    await replica.leases.begin(taken.lease, HEADER)
    await replica.leases.wait(taken.lease, taken.sync.shop, pause)
    await stores.expire(taken.sync.sync_id)
    blamed = await stores.replica().claim()
    assert blamed.claims_without_progress == 1

    # And so may the one after a lost connection to the database, but only once it has begun.
    await replica.leases.begin(blamed.lease, HEADER)
    assert (await replica.leases.regain(blamed.lease)).claims_without_progress == 1
    await replica.leases.begin(blamed.lease, HEADER)
    await stores.expire(blamed.sync.sync_id)
    assert (await stores.replica().claim()).claims_without_progress == 2


async def test_an_owner_that_lost_touch_finds_out_where_it_stands(replica: Replica) -> None:
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"here"))
    regained = await replica.leases.regain(claimed.lease)
    assert (regained.lease, regained.checkpoint) == (lease, b"here")
    assert regained.sync == await replica.syncs.get(claimed.sync.sync_id)


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity", "1_0", "ten", "1E+999999", "\uff17.30"])
async def test_a_price_that_is_none_rejects_its_product_and_nothing_else(
    stores: Stores, replica: Replica, price: str
) -> None:
    await stored(replica, product("1", price="5.00"), product("2"))
    claimed = await begun(replica)
    changed = batch(product("1", price=price), product("2", title="New"), product("3"))
    await apply(replica, claimed, changed)
    progress = (await replica.syncs.get(claimed.sync.sync_id)).progress
    assert (progress.products.seen, progress.products.set_aside, progress.issue_count) == (2, 1, 1)
    assert await live(stores) == {"1", "2", "3"}
    assert (await stores.items())["1-1"][1] == "5.00"
    assert "1" in await stores.seen()


async def test_a_product_with_several_issues_is_set_aside_once(replica: Replica) -> None:
    claimed = await begun(replica)
    issues = [
        pb.RecordIssue(product_id="1", field="title", product_set_aside=True),
        pb.RecordIssue(product_id="1", field="price", product_set_aside=True),
        pb.RecordIssue(product_id="2", product_set_aside=True),
        pb.RecordIssue(field="id", product_set_aside=True),
        pb.RecordIssue(field="id", product_set_aside=True),
    ]
    await apply(replica, claimed, batch(issues=issues))
    progress = (await replica.syncs.get(claimed.sync.sync_id)).progress
    assert (progress.products.set_aside, progress.issue_count) == (4, 5)


# -- a batch, once


async def test_a_batch_whose_commit_was_not_heard_is_stored_once(replica: Replica) -> None:
    claimed = await begun(replica)
    what = batch(product("1", items=2))
    first = await apply(replica, claimed, what)
    before = await replica.syncs.get(claimed.sync.sync_id)
    assert await apply(replica, claimed, what) == first
    assert await replica.syncs.get(claimed.sync.sync_id) == before
    assert (before.progress.products.seen, before.progress.items.seen) == (1, 2)


async def test_a_batch_out_of_turn_is_refused(stores: Stores, replica: Replica) -> None:
    claimed = await begun(replica)
    await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    for seq in (0, 2, 7):
        with pytest.raises(LeaseLost):
            await apply(
                replica, claimed, batch(product("2"), checkpoint=b"2"), replace(claimed.lease, next_seq=seq)
            )
    assert await live(stores) == {"1"}


async def test_digits_and_leading_zeros_are_kept_and_a_new_zero_is_a_change(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1", price="7.3", sku="00000134000"))
    second = await stored(replica, product("1", price="7.30", sku="00000134000"))
    assert await stores.items() == {"1-1": ("00000134000", "7.30", True)}
    assert (second.progress.items.updated, second.progress.items.unchanged) == (1, 0)


async def test_counts_tell_what_became_of_each_record(stores: Stores, replica: Replica) -> None:
    await stored(replica, product("1", items=3), product("2"))
    second = await stored(replica, product("1", items=2, title="New"), product("2"), product("3"))
    products, items = second.progress.products, second.progress.items
    assert (products.seen, products.created, products.updated, products.unchanged) == (3, 1, 1, 1)
    assert (items.seen, items.created, items.unchanged, items.deleted) == (4, 1, 3, 1)
    assert (await stores.items())["1-3"][2] is False


async def test_an_item_that_comes_with_another_product_moves(stores: Stores, replica: Replica) -> None:
    """Also where all the products of its batch are new."""
    await stored(replica, product("1", items=2))
    claimed = await begun(replica)
    new = product("3")
    new.variants.append(pb.Variant(id="1-2", position=2, price="5.00"))
    lease = await apply(replica, claimed, batch(product("2"), new))
    second = await swept(replica, claimed, await apply(replica, claimed, batch(product("1")), lease))
    counts = second.progress.items
    assert (counts.created, counts.updated, counts.unchanged, counts.deleted) == (2, 1, 1, 0)
    assert (await stores.items())["1-2"][1:] == ("5.00", True)


async def test_a_product_that_came_incomplete_loses_no_items(stores: Stores, replica: Replica) -> None:
    await stored(replica, product("1", items=3))
    partial = product("1", items=1, title="New")
    partial.variants_complete = False
    await stored(replica, partial)
    assert all(is_live for *_, is_live in (await stores.items()).values())


async def test_set_aside_records_are_counted_and_taken_for_present(stores: Stores, replica: Replica) -> None:
    await stored(replica, product("1"), product("2"))
    claimed = await begun(replica)
    aside = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="2", product_set_aside=True
    )
    lease = await apply(replica, claimed, batch(product("1"), issues=[aside]))
    sync = await swept(replica, claimed, lease)
    assert (sync.progress.issue_count, sync.progress.products.set_aside) == (1, 1)
    assert await live(stores) == {"1", "2"}


# -- the sweep and its fuse


async def test_what_a_full_pass_did_not_meet_is_marked_and_comes_back_when_met_again(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1"), product("2", items=2))
    second = await stored(replica, product("1"))
    assert (second.progress.products.deleted, second.progress.items.deleted) == (1, 2)
    assert (await stores.products())["2"] == ("Shirt", False)
    third = await stored(replica, product("1"), product("2", items=2))
    assert (third.progress.products.created, third.progress.items.created) == (1, 2)
    assert await live(stores) == {"1", "2"}


async def test_an_incremental_pass_that_listed_every_product_tells_what_is_gone(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1"), product("2"), product("3"))
    claimed = await begun(replica, SyncMode.INCREMENTAL)
    lease = await apply(replica, claimed, batch(product("4"), listed_product_ids=["1", "3", "4"]))
    sync = await swept(replica, claimed, lease)
    assert await live(stores) == {"1", "3", "4"}
    assert (sync.progress.products.deleted, sync.progress.items.deleted) == (1, 1)


async def test_stock_is_kept_without_reading_the_product_again(stores: Stores, replica: Replica) -> None:
    """Only what differs is written and counted; a stock of nobody's is no fault."""
    await stored(replica, product("1", items=2, stock_quantity=5))
    claimed = await begun(replica, SyncMode.INCREMENTAL)
    levels = [
        pb.StockLevel(product_id="1", variant_id="1-1", stock_quantity=0, available=False),
        pb.StockLevel(product_id="1", variant_id="1-2", stock_quantity=5, available=True),
        pb.StockLevel(product_id="9", variant_id="9-1", stock_quantity=7, available=True),
    ]
    await apply(replica, claimed, batch(stock_levels=levels))
    assert await stores.stock() == {"1-1": (0, False), "1-2": (5, True)}
    items = (await replica.syncs.get(claimed.sync.sync_id)).progress.items
    assert (items.seen, items.updated) == (1, 1)


async def test_an_offer_that_was_seen_beside_the_stock_is_kept_digit_for_digit(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1", items=3, price="7.3", sku="007"))
    claimed = await begun(replica, SyncMode.INCREMENTAL)
    levels = [
        pb.StockLevel(product_id="1", variant_id="1-1", available=True, offer=pb.Offer(sku="007", price="7.30")),
        pb.StockLevel(product_id="1", variant_id="1-2", available=True, offer=pb.Offer(sku="007", price="7.3")),
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


async def test_stock_that_goes_back_to_what_the_product_once_said_is_written_again(
    stores: Stores, replica: Replica
) -> None:
    """The product is then the same, byte for byte, as when it was last read whole."""
    await stored(replica, product("1", stock_quantity=5))
    claimed = await begun(replica, SyncMode.INCREMENTAL)
    level = pb.StockLevel(product_id="1", variant_id="1-1", stock_quantity=4, available=True)
    lease = await apply(replica, claimed, batch(stock_levels=[level]))
    await replica.leases.end(lease, SyncState.SUCCEEDED)
    await stored(replica, product("1", stock_quantity=5))
    assert await stores.stock() == {"1-1": (5, True)}


async def test_a_step_of_the_sweep_whose_commit_was_not_heard_is_done_once(replica: Replica) -> None:
    await stored(replica, product("1"), product("2"))
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("1")))
    _, first = await replica.sweeps.step(lease, claimed.sync.shop)
    following, again = await replica.sweeps.step(lease, claimed.sync.shop)
    assert first == again
    assert (await swept(replica, claimed, following)).progress.products.deleted == 1


async def test_what_a_pass_did_not_meet_is_told_in_pages_with_its_items(replica: Replica) -> None:
    await stored(replica, product("1", items=2), product("2"), product("3", items=3))
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("2")))
    first = await replica.sweeps.missing(lease, after="", limit=1)
    rest = await replica.sweeps.missing(lease, after="1", limit=10)
    assert [(p.product_id, p.item_count) for p in first + rest] == [("1", 2), ("3", 3)]
    assert await replica.sweeps.live_items(lease) == 6


async def test_what_a_pass_listed_and_the_catalog_lacks_or_holds_as_deleted_is_told(replica: Replica) -> None:
    await stored(replica, product("1"), product("2"))
    await stored(replica, product("1"))
    claimed = await begun(replica, mode=SyncMode.INCREMENTAL)
    lease = await apply(replica, claimed, batch(listed_product_ids=["1", "2", "3", "4"]))
    assert await replica.sweeps.unstored(lease, after="", limit=2) == ["2", "3"]
    assert await replica.sweeps.unstored(lease, after="3", limit=2) == ["4"]
    assert (await replica.syncs.get(lease.sync_id)).progress.checked_products == 4


async def test_what_the_pass_itself_rejected_is_not_told_as_lacking(replica: Replica) -> None:
    claimed = await begun(replica)
    rejected = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="2", product_set_aside=True
    )
    lease = await apply(replica, claimed, batch(product("1"), issues=[rejected], listed_product_ids=["3"]))
    assert await replica.sweeps.unstored(lease, after="", limit=10) == ["3"]
    parent = await replica.leases.end(lease, SyncState.FAILED, REVOKED)
    await replica.orders.resume(parent.sync_id, request_id="", correlation_id="")
    resumed = await replica.claim()
    assert await replica.sweeps.unstored(resumed.lease, after="", limit=10) == ["3"]


async def test_who_lost_the_lease_is_told_nothing_of_what_is_missing(stores: Stores, replica: Replica) -> None:
    await stored(replica, product("1"))
    claimed = await begun(replica)
    await stores.expire(claimed.sync.sync_id)
    await stores.replica().claim()
    for reading in (replica.sweeps.missing, replica.sweeps.unstored):
        with pytest.raises(LeaseLost):
            await reading(claimed.lease, after="", limit=10)


async def test_the_batches_of_one_pass_are_one_deletion(stores: Stores, replica: Replica) -> None:
    await stored(replica, *[product(str(n)) for n in range(10, 30)])
    claimed = await begun(replica)
    gone = batch(deleted_product_ids=[str(n) for n in range(10, 16)])
    lease = await apply(replica, claimed, gone)
    more = batch(deleted_product_ids=[str(n) for n in range(16, 21)], checkpoint=b"2")
    with pytest.raises(MassDeleteBlocked) as blocked:
        await apply(replica, claimed, more, lease)
    assert blocked.value.metadata == {"would_delete": "5", "stored": "20", "deleted": "6"}
    assert len(await live(stores)) == 14


async def test_a_batch_that_would_delete_too_many_variants_is_not_stored_at_all(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1", items=150))
    claimed = await begun(replica)
    before = await replica.syncs.get(claimed.sync.sync_id)
    with pytest.raises(MassDeleteBlocked):
        await apply(replica, claimed, batch(product("1", items=1)))
    assert await replica.syncs.get(claimed.sync.sync_id) == before
    assert sum(is_live for *_, is_live in (await stores.items()).values()) == 150


# -- orders, the end, cancel and resume


async def test_a_shop_has_one_active_sync_and_a_request_makes_one(replica: Replica) -> None:
    first = await replica.order(request_id="r")
    assert (await replica.order(request_id="r")).sync_id == first.sync_id
    with pytest.raises(SyncAlreadyRunning):
        await replica.order()
    with pytest.raises(RequestIdReused):
        await replica.order(request_id="r", allow_mass_delete=True)


async def test_an_end_that_was_not_heard_is_the_same_end_and_moves_the_watermark(replica: Replica) -> None:
    claimed = await begun(replica)
    first = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert await replica.leases.end(claimed.lease, SyncState.SUCCEEDED) == first
    assert first.shop.watermark == WATERMARK
    with pytest.raises(LeaseLost):
        await replica.leases.end(claimed.lease, SyncState.FAILED, REVOKED)


async def test_notes_of_header_and_end_are_kept_once_each_and_a_success_hands_them_to_the_shop(
    replica: Replica,
) -> None:
    claimed = await ordered_and_claimed(replica)
    for _ in range(2):
        await replica.leases.begin(claimed.lease, replace(HEADER, notes=("b", "a", "b")))
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED, notes=("a", "c"))
    assert ended.notes == ended.shop.notes == ("b", "a", "c")


async def test_only_a_full_sync_tells_that_everything_was_read(replica: Replica) -> None:
    assert (await stored(replica, product("1"))).shop.full_watermark == WATERMARK
    claimed = await ordered_and_claimed(replica, SyncMode.INCREMENTAL)
    later = replace(HEADER, watermark=WATERMARK + timedelta(hours=1))
    await replica.leases.begin(claimed.lease, later)
    shop = (await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)).shop
    assert (shop.watermark, shop.full_watermark) == (later.watermark, WATERMARK)


async def test_another_currency_turns_an_incremental_pass_into_a_full_one_from_the_beginning(
    stores: Stores, replica: Replica
) -> None:
    await stored(replica, product("1"))
    claimed = await ordered_and_claimed(replica, SyncMode.INCREMENTAL)
    for _ in range(2):
        begun = await replica.leases.begin(claimed.lease, DOLLARS)
        assert (begun.sync.mode, begun.checkpoint, begun.updated_after) == (SyncMode.FULL, b"", None)
    assert begun.sync.notes == ("The shop's currency changed from EUR to USD: everything was read anew.",)
    assert (begun.sync.shop.currency_code, begun.sync.shop.watermark) == ("USD", None)


async def test_another_currency_starts_a_resumed_full_pass_over(stores: Stores, replica: Replica) -> None:
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    same = await replica.leases.begin(lease, HEADER)
    assert (same.checkpoint, same.sync.progress.products.seen) == (b"1", 1)
    other = await replica.leases.begin(lease, DOLLARS)
    assert (other.checkpoint, other.sync.progress.products.seen, await stores.seen()) == (b"", 0, set())


async def test_a_pass_is_started_over_when_it_is_told_to(stores: Stores, replica: Replica) -> None:
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    over = await replica.leases.begin(lease, HEADER, restart=True)
    assert (over.checkpoint, over.sync.progress.products.seen, await stores.seen()) == (b"", 0, set())
    assert over.sync.notes == ("The shop's currency changed: everything was read anew.",)


async def test_after_a_currency_change_the_next_sync_is_full_until_one_has_succeeded(replica: Replica) -> None:
    await stored(replica, product("1"))
    claimed = await begun(replica)
    await replica.leases.begin(claimed.lease, DOLLARS)
    await replica.leases.end(claimed.lease, SyncState.FAILED, REVOKED)
    assert (await replica.order(SyncMode.INCREMENTAL)).mode is SyncMode.FULL


async def test_an_incremental_sync_tells_since_when_it_reads_changes(stores: Stores, replica: Replica) -> None:
    first = await stored(replica, product("1"))
    assert first.updated_after is None
    ordered = await replica.order(SyncMode.INCREMENTAL)
    claimed = await replica.claim()
    assert ordered.updated_after == claimed.updated_after == claimed.sync.updated_after
    assert claimed.updated_after is not None
    assert claimed.updated_after <= WATERMARK


async def test_only_success_moves_the_watermark(replica: Replica) -> None:
    assert (await failed(replica, product("1"))).shop.watermark is None
    assert (await replica.order(SyncMode.INCREMENTAL)).mode is SyncMode.FULL


async def test_a_cancel_takes_the_right_to_write_and_what_was_stored_stays(
    stores: Stores, replica: Replica
) -> None:
    claimed = await begun(replica)
    lease = await apply(replica, claimed, batch(product("1")))
    cancelled = await replica.orders.cancel(claimed.sync.sync_id)
    assert await replica.orders.cancel(claimed.sync.sync_id) == cancelled
    for attempt in (apply(replica, claimed, batch(product("2")), lease), replica.leases.renew(lease)):
        with pytest.raises(LeaseLost):
            await attempt
    assert await live(stores) == {"1"}
    assert await replica.leases.claim() == []


async def test_what_has_succeeded_is_neither_cancelled_nor_resumed(replica: Replica) -> None:
    sync = await stored(replica, product("1"))
    with pytest.raises(SyncNotCancellable):
        await replica.orders.cancel(sync.sync_id)
    with pytest.raises(SyncNotResumable):
        await replica.orders.resume(sync.sync_id, request_id="", correlation_id="")


async def test_a_resumed_sync_goes_on_in_its_parents_pass(stores: Stores, replica: Replica) -> None:
    await stored(replica, product("1"), product("2"), product("3"))
    parent = await failed(replica, product("1"))
    child = await replica.orders.resume(parent.sync_id, request_id="", correlation_id="")
    assert (child.revision, child.parent_sync_id, child.progress.products) == (
        1,
        parent.sync_id,
        parent.progress.products,
    )
    claimed = await replica.claim()
    assert (claimed.checkpoint, claimed.lease.next_seq) == (b"parent", 0)
    await replica.leases.begin(claimed.lease, HEADER)
    lease = await apply(replica, claimed, batch(product("2"), checkpoint=b"2"))
    sync = await swept(replica, claimed, lease)
    assert sync.progress.products.seen == 2
    assert await live(stores) == {"1", "2"}


async def test_only_the_latest_sync_with_something_stored_is_resumed(replica: Replica) -> None:
    old = await failed(replica, product("1"))
    fruitless = await failed(replica)
    for sync in (old, fruitless):
        with pytest.raises(SyncNotResumable):
            await replica.orders.resume(sync.sync_id, request_id="", correlation_id="")


async def test_the_end_of_a_pass_purges_the_ids_that_it_met(stores: Stores, replica: Replica) -> None:
    """Those of an earlier pass, however many they are, hold up no later one: they are purged in small steps."""
    await failed(replica, product("1"))
    assert await stores.seen() == {"1"}
    claimed = await begun(replica)
    await apply(replica, claimed, batch(product("2")))
    assert await stores.seen() == {"1", "2"}
    await replica.sweeps.tidy_up(claimed.lease)
    assert await stores.seen() == {"1"}


async def test_every_change_raises_the_revision_by_one(replica: Replica) -> None:
    ordered = await replica.order()
    claimed = await replica.claim()
    began = await replica.leases.begin(claimed.lease, HEADER)
    _, after = await replica.batches.apply(
        claimed.lease, claimed.sync.shop, batch(product("1")), full=True, items_per_second=1.0
    )
    await replica.leases.renew(claimed.lease)
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    revisions = [sync.revision for sync in (ordered, claimed.sync, began.sync, after, ended)]
    assert revisions == [1, 2, 3, 4, 5]


# -- what a dashboard shows


async def test_the_active_and_the_last_finished_sync_of_a_shop_are_told_apart(replica: Replica) -> None:
    first = await replica.order()
    assert await replica.syncs.latest(first.shop) == LatestSyncs(active=first)
    claimed = await replica.claim()
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert await replica.syncs.latest(first.shop) == LatestSyncs(last_finished=ended)
    second = await replica.order()
    latest = await replica.syncs.latest(first.shop)
    assert latest.active is not None
    assert latest.last_finished is not None
    assert (latest.active.sync_id, latest.last_finished.sync_id) == (second.sync_id, first.sync_id)
