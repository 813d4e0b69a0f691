"""The contract of the stores at the end of a pass: missing products, notes, and a changed currency."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.deletion_guard import DeletionDigest
from catalog_svc.domain.errors import LeaseLost, MassDeleteBlocked
from catalog_svc.domain.sync import BlockedDeletion, Sync, SyncError, SyncMode, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch
from tests.contract.catalog_stores.steps import (
    DOLLARS,
    REVOKED,
    apply,
    claimed_sync,
    failed_sync,
    full_sync,
    live_products,
    started_sync,
    sweep_and_succeed,
)
from tests.fakes.product_source import WATERMARK, product

BLOCKED = SyncError(reason="MASS_DELETE_BLOCKED", message="", metadata={"decided_by": "FULL_SYNC"})


async def test_a_product_that_a_full_pass_did_not_see_is_deleted_and_restored_when_seen_again(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1"), product("2", items=2))
    second = await full_sync(replica, product("1"))
    assert (second.progress.products.deleted, second.progress.items.deleted) == (1, 2)
    assert (await stores.products())["2"] == ("Shirt", False)
    third = await full_sync(replica, product("1"), product("2", items=2))
    assert (third.progress.products.created, third.progress.items.created) == (1, 2)
    assert await live_products(stores) == {"1", "2"}


async def test_an_incremental_pass_that_listed_every_product_detects_deletions(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1"), product("2"), product("3"))
    claimed = await started_sync(replica, SyncMode.INCREMENTAL)
    lease = await apply(replica, claimed, batch(product("4"), listed_product_ids=["1", "3", "4"]))
    sync = await sweep_and_succeed(replica, claimed, lease)
    assert await live_products(stores) == {"1", "3", "4"}
    assert (sync.progress.products.deleted, sync.progress.items.deleted) == (1, 1)


async def test_a_step_of_the_sweep_whose_commit_was_not_acknowledged_is_done_once(replica: Replica) -> None:
    await full_sync(replica, product("1"), product("2"))
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1")))
    _, first = await replica.sweeps.step(lease, claimed.sync.shop)
    next_lease, again = await replica.sweeps.step(lease, claimed.sync.shop)
    assert first == again
    assert (await sweep_and_succeed(replica, claimed, next_lease)).progress.products.deleted == 1


async def test_products_that_a_pass_did_not_see_are_listed_in_pages_with_item_counts(replica: Replica) -> None:
    await full_sync(replica, product("1", items=2), product("2"), product("3", items=3))
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("2")))
    first = await replica.sweeps.missing(lease, after="", limit=1)
    rest = await replica.sweeps.missing(lease, after="1", limit=10)
    assert [(p.product_id, p.item_count) for p in first + rest] == [("1", 2), ("3", 3)]
    assert await replica.sweeps.live_items(lease) == 6


async def test_listed_ids_that_the_catalog_lacks_or_holds_as_deleted_are_unstored(replica: Replica) -> None:
    await full_sync(replica, product("1"), product("2"))
    await full_sync(replica, product("1"))
    claimed = await started_sync(replica, mode=SyncMode.INCREMENTAL)
    lease = await apply(replica, claimed, batch(listed_product_ids=["1", "2", "3", "4"]))
    assert await replica.sweeps.unstored(lease, after="", limit=2) == ["2", "3"]
    assert await replica.sweeps.unstored(lease, after="3", limit=2) == ["4"]
    assert (await replica.syncs.get(lease.sync_id)).progress.checked_products == 4


async def test_a_product_that_the_pass_rejected_is_not_unstored(replica: Replica) -> None:
    claimed = await started_sync(replica)
    rejected = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="2", product_rejected=True
    )
    lease = await apply(replica, claimed, batch(product("1"), issues=[rejected], listed_product_ids=["3"]))
    assert await replica.sweeps.unstored(lease, after="", limit=10) == ["3"]
    parent = await replica.leases.end(lease, SyncState.FAILED, REVOKED)
    await replica.commands.resume(parent.sync_id, request_id="", correlation_id="")
    resumed = await replica.claim()
    assert await replica.sweeps.unstored(resumed.lease, after="", limit=10) == ["3"]


async def test_a_replica_that_lost_the_lease_cannot_read_what_is_missing(stores: Stores, replica: Replica) -> None:
    await full_sync(replica, product("1"))
    claimed = await started_sync(replica)
    await stores.expire(claimed.sync.sync_id)
    await stores.replica().claim()
    for read in (replica.sweeps.missing, replica.sweeps.unstored):
        with pytest.raises(LeaseLost):
            await read(claimed.lease, after="", limit=10)


async def test_notes_of_header_and_end_are_stored_once_each_and_copied_to_the_shop_on_success(
    replica: Replica,
) -> None:
    claimed = await claimed_sync(replica)
    for _ in range(2):
        await replica.leases.begin(claimed.lease, replace(HEADER, notes=("b", "a", "b")))
    ended = await replica.leases.end(claimed.lease, SyncState.SUCCEEDED, notes=("a", "c"))
    assert ended.notes == ended.shop.notes == ("b", "a", "c")


async def test_only_a_full_sync_advances_the_full_watermark(replica: Replica) -> None:
    assert (await full_sync(replica, product("1"))).shop.full_watermark == WATERMARK
    claimed = await claimed_sync(replica, SyncMode.INCREMENTAL)
    later = replace(HEADER, watermark=WATERMARK + timedelta(hours=1))
    await replica.leases.begin(claimed.lease, later)
    shop = (await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)).shop
    assert (shop.watermark, shop.full_watermark) == (later.watermark, WATERMARK)


async def test_another_currency_turns_an_incremental_pass_into_a_full_one_from_the_beginning(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1"))
    claimed = await claimed_sync(replica, SyncMode.INCREMENTAL)
    for _ in range(2):
        started = await replica.leases.begin(claimed.lease, DOLLARS)
        assert (started.sync.mode, started.checkpoint, started.updated_after) == (SyncMode.FULL, b"", None)
    assert started.sync.notes == ("The shop's currency changed from EUR to USD: all products were read again.",)
    assert (started.sync.shop.currency_code, started.sync.shop.watermark) == ("USD", None)


async def test_another_currency_restarts_a_resumed_full_pass(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    same = await replica.leases.begin(lease, HEADER)
    assert (same.checkpoint, same.sync.progress.products.seen) == (b"1", 1)
    other = await replica.leases.begin(lease, DOLLARS)
    assert (other.checkpoint, other.sync.progress.products.seen, await stores.seen()) == (b"", 0, set())


async def test_a_pass_restarts_on_request(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1"), checkpoint=b"1"))
    restarted = await replica.leases.begin(lease, HEADER, restart=True)
    assert (restarted.checkpoint, restarted.sync.progress.products.seen, await stores.seen()) == (b"", 0, set())
    assert restarted.sync.notes == ("The shop's currency changed: all products were read again.",)


async def test_after_a_currency_change_the_next_sync_is_full_until_one_has_succeeded(replica: Replica) -> None:
    await full_sync(replica, product("1"))
    claimed = await started_sync(replica)
    await replica.leases.begin(claimed.lease, DOLLARS)
    await replica.leases.end(claimed.lease, SyncState.FAILED, REVOKED)
    assert (await replica.create_sync(SyncMode.INCREMENTAL)).mode is SyncMode.FULL


# -- a deletion that full passes decide about


def missing(*ids: str) -> BlockedDeletion:
    digest = DeletionDigest("products")
    digest.add(ids)
    return digest.blocked()


async def blocked_sync(replica: Replica, deletion: BlockedDeletion, mode: SyncMode = SyncMode.FULL) -> Sync:
    """Run a sync that the deletion guard stops."""
    claimed = await started_sync(replica, mode)
    return await replica.leases.end(claimed.lease, SyncState.FAILED, BLOCKED, blocked=deletion)


async def test_the_next_pass_agrees_with_exactly_the_same_deletion(replica: Replica) -> None:
    await full_sync(replica, product("1"), product("2"))
    await blocked_sync(replica, missing("1", "2"))
    claimed = await started_sync(replica)
    answers = [
        await replica.sweeps.agrees(claimed.lease, missing(*ids)) for ids in (("1", "2"), ("1",), ("3", "4"))
    ]
    assert answers == [True, False, False]


async def test_a_pass_agrees_neither_with_itself_nor_without_one_before_it_nor_with_an_incremental_one(
    replica: Replica,
) -> None:
    await full_sync(replica, product("1"))
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(product("1")))
    assert not await replica.sweeps.agrees(lease, missing("1"))
    stopped = await replica.leases.end(lease, SyncState.FAILED, BLOCKED, blocked=missing("1"))
    await replica.commands.resume(stopped.sync_id, request_id="", correlation_id="")
    resumed = await replica.claim()
    assert not await replica.sweeps.agrees(resumed.lease, missing("1"))
    await replica.leases.end(resumed.lease, SyncState.SUCCEEDED)
    await blocked_sync(replica, BlockedDeletion(), SyncMode.INCREMENTAL)
    assert not await replica.sweeps.agrees((await started_sync(replica)).lease, missing("1"))


async def test_a_sync_that_has_read_products_comes_between_two_passes(replica: Replica) -> None:
    await full_sync(replica, product("1"))
    await blocked_sync(replica, missing("1"))
    for ending in (failed_sync(replica), _cancelled_sync(replica)):
        await ending
    assert await _agrees_and_ends(replica, missing("1"))
    await blocked_sync(replica, missing("1"))
    await failed_sync(replica, product("1"))
    assert not await _agrees_and_ends(replica, missing("1"))


async def _cancelled_sync(replica: Replica) -> None:
    created = await replica.create_sync()
    await replica.commands.cancel(created.sync_id)


async def _agrees_and_ends(replica: Replica, deletion: BlockedDeletion) -> bool:
    claimed = await started_sync(replica)
    agrees = await replica.sweeps.agrees(claimed.lease, deletion)
    await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    return agrees


async def test_after_a_stopped_deletion_every_sync_is_a_full_one_until_one_succeeds(replica: Replica) -> None:
    await full_sync(replica, product("1"))
    await blocked_sync(replica, BlockedDeletion(), SyncMode.INCREMENTAL)
    claimed = await started_sync(replica, SyncMode.INCREMENTAL)
    assert claimed.sync.mode is SyncMode.FULL
    await replica.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert (await replica.create_sync(SyncMode.INCREMENTAL)).mode is SyncMode.INCREMENTAL


async def test_a_replica_that_lost_the_lease_agrees_with_nothing(stores: Stores, replica: Replica) -> None:
    claimed = await started_sync(replica)
    await stores.expire(claimed.sync.sync_id)
    await stores.replica().claim()
    with pytest.raises(LeaseLost):
        await replica.sweeps.agrees(claimed.lease, missing("1"))


async def test_a_batch_of_a_full_pass_that_agrees_with_the_one_before_is_stored(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1", items=10))
    for items, agrees in ((4, False), (3, False), (4, False), (4, True)):
        claimed = await started_sync(replica)
        if agrees:
            await apply(replica, claimed, batch(product("1", items=items)))
            break
        with pytest.raises(MassDeleteBlocked) as stopped:
            await apply(replica, claimed, batch(product("1", items=items)))
        await replica.leases.end(claimed.lease, SyncState.FAILED, BLOCKED, blocked=stopped.value.blocked)
    assert sum(is_live for *_, is_live in (await stores.items()).values()) == 4


async def test_a_batch_of_an_incremental_pass_is_stopped_although_a_full_one_found_the_same(
    stores: Stores, replica: Replica
) -> None:
    await full_sync(replica, product("1"), product("2"))
    for _ in range(2):
        claimed = await started_sync(replica, SyncMode.INCREMENTAL)
        with pytest.raises(MassDeleteBlocked):
            await replica.batches.apply(
                claimed.lease,
                claimed.sync.shop,
                batch(deleted_product_ids=["1", "2"]),
                full=False,
                items_per_second=None,
            )
        await replica.leases.end(claimed.lease, SyncState.FAILED, BLOCKED, blocked=BlockedDeletion())
    assert await live_products(stores) == {"1", "2"}
