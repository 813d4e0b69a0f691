"""The contract of refreshes, over PostgreSQL and in memory: requests, claims, and writes beside a sync.

A refresh and a sync read a product first and store it later. Each test names the order of the reads by the titles:
"new" was read from the platform after "old".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.errors.v1 import issue_reason_pb2

from catalog_svc.domain.errors import MassDeleteBlocked, ShopNotFound
from catalog_svc.domain.refresh import QueuedRefresh, RefreshClaim, RefreshReason, RefreshRequest
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import StockLevel
from catalog_svc.domain.sync import SyncMode, SyncState
from tests.contract.catalog_stores.conftest import MAX_REFRESHES, Replica, Stores, batch
from tests.contract.catalog_stores.steps import (
    REVOKED,
    apply,
    full_sync,
    live_products,
    started_sync,
    sweep_and_succeed,
)
from tests.fakes.product_source import product

LIMIT = 250


async def loaded_shop(replica: Replica, *products: pb.Product) -> Shop:
    """Return a shop whose first sync has stored these products."""
    return (await full_sync(replica, *products)).shop


async def request(replica: Replica, shop: Shop, *product_ids: str) -> None:
    await replica.requests.add(shop, RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=product_ids))


async def claim_due(stores: Stores, replica: Replica) -> QueuedRefresh:
    await stores.make_due()
    (queued,) = await replica.refreshes.claim(limit=9)
    return queued


async def taken(stores: Stores, replica: Replica, *, limit: int = LIMIT) -> tuple[QueuedRefresh, RefreshClaim]:
    """Claim the one shop that is due and become the reader of its products."""
    queued = await claim_due(stores, replica)
    claim = await replica.refreshes.take(queued, limit=limit)
    assert claim is not None
    return queued, claim


async def refresh(stores: Stores, replica: Replica, *products: pb.Product, deleted: tuple[str, ...] = ()) -> None:
    """Read and store what waits; these are the products as the platform has them."""
    queued, claim = await taken(stores, replica)
    await replica.refreshes.write(claim, batch(*products, deleted_product_ids=deleted))
    await replica.refreshes.finish(queued)


async def titles(stores: Stores) -> dict[str, str]:
    return {pid: title for pid, (title, is_live) in (await stores.products()).items() if is_live}


async def waiting(stores: Stores, replica: Replica) -> tuple[str, ...]:
    """Return the products that would be read now, and leave them waiting."""
    await stores.make_due()
    claimed = await replica.refreshes.claim(limit=9)
    if not claimed:
        return ()
    claim = await replica.refreshes.take(claimed[0], limit=LIMIT)
    assert claim is not None
    await replica.refreshes.release(claimed[0])
    return claim.product_ids


# -- requests and claims


async def test_a_requested_product_is_read_and_stored_outside_of_any_sync(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="old"), product("2", title="old"))
    await request(replica, shop, "1", "3")
    queued, claim = await taken(stores, replica)
    assert claim.product_ids == ("1", "3")
    read = batch(product("1", title="new"), product("3", title="created"))
    result = await replica.refreshes.write(claim, read)
    assert (result.stored, result.changed, result.dropped) == (2, 2, 0)
    await replica.refreshes.finish(queued)
    assert await titles(stores) == {"1": "new", "2": "old", "3": "created"}
    assert await waiting(stores, replica) == ()


async def test_requests_that_come_before_the_read_cost_one_read(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    for _ in range(20):
        await request(replica, shop, "1")
    assert (await replica.requests.pending()).count == 1
    await refresh(stores, replica, product("1"))
    assert await waiting(stores, replica) == ()


async def test_a_shop_is_due_only_after_the_coalescing_delay(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, "1")
    assert await replica.refreshes.claim(limit=9) == []
    await stores.make_due()
    assert len(await replica.refreshes.claim(limit=9)) == 1


async def test_a_request_that_comes_during_the_read_is_read_again(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="old"))
    await request(replica, shop, "1")
    queued, claim = await taken(stores, replica)
    await request(replica, shop, "1")
    assert (await replica.refreshes.write(claim, batch(product("1", title="new")))).stored == 1
    await replica.refreshes.finish(queued)
    assert await titles(stores) == {"1": "new"}
    assert await waiting(stores, replica) == ("1",)


async def test_a_claimed_shop_is_not_claimed_again_before_the_claim_ends(stores: Stores) -> None:
    one, other = stores.replica(), stores.replica()
    shop = await loaded_shop(one, product("1"))
    await request(one, shop, "1")
    queued = await claim_due(stores, one)
    await request(other, shop, "2")
    assert await other.refreshes.claim(limit=9) == []
    await one.refreshes.release(queued)
    assert len(await other.refreshes.claim(limit=9)) == 1


async def test_platforms_without_free_slots_are_left_out(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, "1")
    await stores.make_due()
    assert await replica.refreshes.claim(limit=9, without_platforms=[shop.key.platform]) == []


async def test_the_products_of_a_dead_replica_are_read_by_another_one(stores: Stores) -> None:
    dead, alive = stores.replica(), stores.replica()
    shop = await loaded_shop(dead, product("1", title="old"))
    await request(dead, shop, "1")
    await taken(stores, dead)
    await refresh(stores, alive, product("1", title="new"))
    assert await titles(stores) == {"1": "new"}
    assert await waiting(stores, alive) == ()


async def test_a_reader_that_was_replaced_stores_nothing(stores: Stores) -> None:
    slow, quick = stores.replica(), stores.replica()
    shop = await loaded_shop(slow, product("1", title="first"))
    await request(slow, shop, "1")
    queued, claim = await taken(stores, slow)
    await refresh(stores, quick, product("1", title="new"))
    result = await slow.refreshes.write(claim, batch(product("1", title="old")))
    assert (result.stored, result.dropped) == (0, 1)
    await slow.refreshes.finish(queued)
    assert await titles(stores) == {"1": "new"}


async def test_the_oldest_requests_are_read_first_and_the_rest_at_once_afterwards(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, "9")
    await stores.make_due()
    await request(replica, shop, "1", "2")
    queued, claim = await taken(stores, replica, limit=1)
    assert claim.product_ids == ("9",)
    await replica.refreshes.write(claim, batch(product("9")))
    await replica.refreshes.finish(queued, more=True)
    assert len(await replica.refreshes.claim(limit=9)) == 1


async def test_variants_are_mapped_to_products_by_what_is_stored(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", items=2), product("2"))
    which = RefreshRequest(
        reason=RefreshReason.WEBHOOK, product_ids=("1-2", "5"), variant_ids=("1-2", "1-1", "unknown")
    )
    assert (await replica.requests.add(shop, which)).product_count == 2
    assert await waiting(stores, replica) == ("1", "5")
    unknown = RefreshRequest(reason=RefreshReason.WEBHOOK, variant_ids=("unknown",))
    assert (await replica.requests.add(shop, unknown)).product_count == 0


async def test_more_products_than_may_wait_are_left_to_a_sync(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, *(str(n) for n in range(MAX_REFRESHES)))
    too_many = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=("one more",))
    assert (await replica.requests.add(shop, too_many)).needs_sync
    queued, claim = await taken(stores, replica)
    assert (queued.wanted_sync, len(claim.product_ids)) == (SyncMode.INCREMENTAL, MAX_REFRESHES)
    # One that is requested meanwhile is still wanted.
    await replica.requests.add(shop, too_many)
    await replica.refreshes.sync_started(queued)
    await replica.refreshes.release(queued)
    again = await claim_due(stores, replica)
    assert again.wanted_sync is SyncMode.INCREMENTAL
    await replica.refreshes.sync_started(again)
    await replica.refreshes.release(again)
    assert (await claim_due(stores, replica)).wanted_sync is None


async def test_nothing_is_requested_for_a_shop_that_is_not_registered(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    stranger = replace(shop, shop_id=uuid4(), key=replace(shop.key, domain="stranger.myshopify.com"))
    with pytest.raises(ShopNotFound):
        await request(replica, stranger, "1")


# -- failures


async def test_after_a_failure_the_products_wait_and_requests_do_not_shorten_the_backoff(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, "1")
    queued, _ = await taken(stores, replica)
    await replica.refreshes.fail(queued, delay=timedelta(minutes=5))
    await request(replica, shop, "2")
    assert await replica.refreshes.claim(limit=9) == []
    again, claim = await taken(stores, replica)
    assert (again.failure_count, claim.product_ids) == (1, ("1", "2"))
    await replica.refreshes.write(claim, batch(product("1"), product("2")))
    await replica.refreshes.finish(again)
    await request(replica, shop, "1")
    assert (await claim_due(stores, replica)).failure_count == 0


async def test_a_product_about_which_the_platform_says_nothing_is_given_up_after_three_reads(
    stores: Stores,
) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="kept"))
    await request(replica, shop, "1")
    for _ in range(3):
        queued, claim = await taken(stores, replica)
        assert claim.product_ids == ("1",)
        await replica.refreshes.finish(queued)
    assert await waiting(stores, replica) == ()
    assert await titles(stores) == {"1": "kept"}


async def test_a_product_that_cannot_be_stored_keeps_what_is_stored_and_is_not_read_again(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="kept"))
    await request(replica, shop, "1")
    queued, claim = await taken(stores, replica)
    issue = pb.RecordIssue(
        reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="1", product_rejected=True
    )
    await replica.refreshes.write(claim, batch(issues=[issue]))
    await replica.refreshes.finish(queued)
    assert await titles(stores) == {"1": "kept"}
    assert await waiting(stores, replica) == ()


async def test_products_that_are_left_to_a_sync_do_not_wait_any_more(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    await request(replica, shop, "1", "2")
    queued, _ = await taken(stores, replica)
    await request(replica, shop, "2")
    await replica.refreshes.leave_to_sync(queued, SyncMode.FULL)
    again, claim = await taken(stores, replica)
    assert (again.wanted_sync, claim.product_ids) == (SyncMode.FULL, ("2",))


async def test_a_product_that_the_open_pass_leaves_to_its_refresh_waits_although_the_others_are_left_to_a_sync(
    stores: Stores,
) -> None:
    """The batch of the pass has newer data of product 1 and does not store it: a refresh must."""
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"), product("2"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="second"))
    await apply(replica, running, batch(product("1", title="third")))
    await request(replica, shop, "2")
    queued, claim = await taken(stores, replica)
    assert claim.product_ids == ("1", "2")
    await replica.refreshes.leave_to_sync(queued, SyncMode.FULL)
    assert await titles(stores) == {"1": "second", "2": "Shirt"}
    assert await waiting(stores, replica) == ("1",)


# -- deletions


async def test_a_product_that_the_platform_does_not_have_becomes_a_tombstone(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"), product("2"), product("3"))
    await request(replica, shop, "2", "unknown")
    await refresh(stores, replica, deleted=("2", "unknown"))
    assert await live_products(stores) == {"1", "3"}
    assert (await stores.products())["2"] == ("Shirt", False)


async def test_many_small_refreshes_together_delete_no_more_than_the_deletion_guard_allows(
    stores: Stores,
) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, *(product(str(n)) for n in range(10)))
    for n in range(5):
        await request(replica, shop, str(n))
        await refresh(stores, replica, deleted=(str(n),))
    await request(replica, shop, "5")
    queued, claim = await taken(stores, replica)
    with pytest.raises(MassDeleteBlocked):
        await replica.refreshes.write(claim, batch(product("9", title="new"), deleted_product_ids=["5"]))
    await replica.refreshes.leave_to_sync(queued, SyncMode.FULL)
    assert await live_products(stores) == {"5", "6", "7", "8", "9"}


# -- beside a sync


async def test_a_failed_second_read_does_not_let_an_older_page_overwrite_the_first_one(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="new"))
    await request(replica, shop, "1")
    queued, _ = await taken(stores, replica)
    await replica.refreshes.fail(queued, delay=timedelta())
    await apply(replica, running, batch(product("1", title="old")))
    assert await titles(stores) == {"1": "new"}


async def test_a_page_that_was_read_before_a_refresh_does_not_overwrite_it(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"), product("2", title="first"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="new"))
    page = batch(product("1", title="old"), product("2", title="changed"))
    lease = await apply(replica, running, page)
    assert await titles(stores) == {"1": "new", "2": "changed"}
    # Which of the two reads was later is unknown: the product is read again.
    assert await waiting(stores, replica) == ("1",)
    progress = (await replica.syncs.get(running.sync.sync_id)).progress
    assert (progress.products.seen, progress.products.unchanged, progress.products.updated) == (2, 1, 1)
    assert (await sweep_and_succeed(replica, running, lease)).state is SyncState.SUCCEEDED


async def test_a_refreshed_product_stays_protected_while_others_are_refreshed(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"), product("2", title="first"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="new"))
    await request(replica, shop, "2")
    await refresh(stores, replica, product("2", title="new"))
    await apply(replica, running, batch(product("1", title="old"), product("2", title="old")))
    assert await titles(stores) == {"1": "new", "2": "new"}


async def test_a_refresh_that_found_nothing_new_protects_the_product_as_well(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="new"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    # The platform had "old" when the page was read, and has "new" again.
    await refresh(stores, replica, product("1", title="new"))
    await apply(replica, running, batch(product("1", title="old")))
    assert await titles(stores) == {"1": "new"}


async def test_a_refresh_whose_read_began_before_a_sync_wrote_the_product_stores_nothing(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    queued, claim = await taken(stores, replica)
    await apply(replica, running, batch(product("1", title="new")))
    result = await replica.refreshes.write(claim, batch(product("1", title="old")))
    assert (result.stored, result.dropped) == (0, 1)
    await replica.refreshes.finish(queued)
    assert await titles(stores) == {"1": "new"}
    assert await waiting(stores, replica) == ("1",)


async def test_a_sync_that_finds_a_product_unchanged_stops_a_refresh_as_well(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="new"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    _, claim = await taken(stores, replica)
    # The platform had "old" when the refresh read it, and has "new" again.
    await apply(replica, running, batch(product("1", title="new")))
    assert (await replica.refreshes.write(claim, batch(product("1", title="old")))).dropped == 1
    assert await titles(stores) == {"1": "new"}


async def test_a_sync_writes_a_product_that_waits_and_was_not_refreshed(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="old"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await apply(replica, running, batch(product("1", title="new")))
    assert await titles(stores) == {"1": "new"}
    assert await waiting(stores, replica) == ("1",)


async def test_a_product_that_a_refresh_created_is_not_swept_as_unlisted(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"))
    running = await started_sync(replica)
    await request(replica, shop, "2")
    await refresh(stores, replica, product("2"))
    # The pass listed the shop before the product was created.
    lease = await apply(replica, running, batch(product("1")))
    assert await replica.sweeps.missing(lease, after="", limit=9) == []
    assert (await sweep_and_succeed(replica, running, lease)).progress.products.deleted == 0
    assert await live_products(stores) == {"1", "2"}


async def test_a_product_that_a_refresh_deleted_is_not_restored_by_an_older_page(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"), product("2"), product("3"))
    running = await started_sync(replica)
    await request(replica, shop, "2")
    await refresh(stores, replica, deleted=("2",))
    lease = await apply(replica, running, batch(product("1"), product("2"), product("3")))
    assert await live_products(stores) == {"1", "3"}
    await sweep_and_succeed(replica, running, lease)
    assert await live_products(stores) == {"1", "3"}


async def test_a_product_that_a_refresh_stored_is_not_deleted_by_an_older_report(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"), product("2"))
    running = await started_sync(replica, SyncMode.INCREMENTAL)
    await request(replica, shop, "2")
    await refresh(stores, replica, product("2", title="restored"))
    await apply(replica, running, batch(deleted_product_ids=["2"]))
    assert await titles(stores) == {"1": "Shirt", "2": "restored"}
    assert await waiting(stores, replica) == ("2",)


async def test_a_read_that_began_before_a_sweep_deleted_the_product_does_not_restore_it(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1"), product("2"))
    running = await started_sync(replica, allow_mass_delete=True)
    await request(replica, shop, "2")
    _, claim = await taken(stores, replica)
    lease = await apply(replica, running, batch(product("1")))
    await replica.sweeps.step(lease, running.sync.shop)
    assert (await replica.refreshes.write(claim, batch(product("2")))).dropped == 1
    assert await live_products(stores) == {"1"}


async def test_older_stock_does_not_overwrite_a_refreshed_product(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", stock_quantity=9), product("2", stock_quantity=9))
    running = await started_sync(replica, SyncMode.INCREMENTAL)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", stock_quantity=3))
    levels = tuple(StockLevel(item_id=i, stock_quantity=7, available=True) for i in ("1-1", "2-1"))
    await apply(replica, running, replace(batch(), stock_levels=levels))
    assert await stores.stock() == {"1-1": (3, True), "2-1": (7, True)}
    assert await waiting(stores, replica) == ("1",)


async def test_newer_stock_of_a_sync_stops_a_refresh_that_was_read_before(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", stock_quantity=9))
    running = await started_sync(replica, SyncMode.INCREMENTAL)
    await request(replica, shop, "1")
    _, claim = await taken(stores, replica)
    level = StockLevel(item_id="1-1", stock_quantity=7, available=True)
    await apply(replica, running, replace(batch(), stock_levels=(level,)))
    assert (await replica.refreshes.write(claim, batch(product("1", stock_quantity=8)))).dropped == 1
    assert await stores.stock() == {"1-1": (7, True)}


async def test_a_resumed_pass_may_hold_older_pages_and_does_not_overwrite_a_refresh(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"), product("2"))
    running = await started_sync(replica)
    lease = await apply(replica, running, batch(product("2"), checkpoint=b"1"))
    failed = await replica.leases.end(lease, SyncState.FAILED, REVOKED)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="new"))
    await replica.commands.resume(failed.sync_id, request_id="", correlation_id="")
    resumed = await replica.claim()
    await apply(replica, resumed, batch(product("1", title="old"), checkpoint=b"2"))
    assert await titles(stores) == {"1": "new", "2": "Shirt"}


async def test_after_the_pass_the_next_sync_writes_a_refreshed_product_again(stores: Stores) -> None:
    replica = stores.replica()
    shop = await loaded_shop(replica, product("1", title="first"))
    running = await started_sync(replica)
    await request(replica, shop, "1")
    await refresh(stores, replica, product("1", title="old"))
    await sweep_and_succeed(replica, running, running.lease)
    assert await waiting(stores, replica) == ()
    await full_sync(replica, product("1", title="new"))
    assert await titles(stores) == {"1": "new"}
    assert await waiting(stores, replica) == ()
