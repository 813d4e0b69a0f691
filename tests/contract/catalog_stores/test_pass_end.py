"""The contract of the stores at the end of a pass: missing products, notes, and a changed currency."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.sync import SyncMode, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch
from tests.contract.catalog_stores.steps import (
    DOLLARS,
    REVOKED,
    apply,
    claimed_sync,
    full_sync,
    live_products,
    started_sync,
    sweep_and_succeed,
)
from tests.fakes.product_source import WATERMARK, product


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
