"""Leases: one replica at a time may write, and any other one can continue the sync of a dead replica."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.sync import SyncMode, SyncState, SyncTrigger, WaitReason
from catalog_svc.rpc import convert
from tests.conftest import as_owner
from tests.integration.catalog_svc.conftest import HEADER, CatalogWorld


async def test_an_owned_sync_is_not_claimed_again(world: CatalogWorld) -> None:
    await world.create_sync()
    await world.claim()
    assert await world.leases.claim() == []


async def test_one_of_many_replicas_claims_a_sync(world: CatalogWorld, engine: AsyncEngine) -> None:
    await world.create_sync()
    replicas = [CatalogWorld(engine) for _ in range(6)]
    claims = await asyncio.gather(*(replica.leases.claim() for replica in replicas))
    assert sum(map(len, claims)) == 1


async def test_an_owner_whose_lease_expired_is_replaced_and_gets_lease_lost(world: CatalogWorld) -> None:
    await world.create_sync()
    old = await world.claim()
    await world.expire_lease(old.sync.sync_id)
    new = await world.claim()
    assert new.lease.epoch == old.lease.epoch + 1
    for attempt in (world.leases.renew(old.lease), world.leases.end(old.lease, SyncState.SUCCEEDED)):
        with pytest.raises(LeaseLost):
            await attempt


async def test_renewing_keeps_a_lease_beyond_its_ttl(engine: AsyncEngine) -> None:
    world = CatalogWorld(engine, ttl=timedelta(minutes=5))
    created = await world.create_sync()
    claimed = await world.claim()
    await world.expire_lease(created.sync_id)
    await world.leases.renew(claimed.lease)
    assert await world.leases.claim() == []
    (left,) = await world.rows("SELECT lease_until - clock_timestamp() AS time FROM sync_queue")
    assert timedelta(minutes=4) < left["time"] <= timedelta(minutes=5)


async def test_a_released_sync_is_claimable_at_once_and_counts_as_no_failure(world: CatalogWorld) -> None:
    await world.create_sync()
    first = await world.claim()
    await world.leases.release(first.lease)
    second = await world.claim()
    assert second.claims_without_progress == first.claims_without_progress == 0


async def test_attempts_that_receive_a_header_and_store_nothing_are_counted_once_each(
    world: CatalogWorld,
) -> None:
    await world.create_sync()
    for expected in (0, 1, 2):
        claimed = await world.claim()
        assert claimed.claims_without_progress == expected
        for _ in range(2):
            await world.leases.begin(claimed.lease, HEADER)
        await world.expire_lease(claimed.sync.sync_id)


async def test_attempts_that_never_reach_their_source_are_not_counted(world: CatalogWorld) -> None:
    """Outages, kills and freezes end such attempts; a sync must not be given up because of them."""
    await world.create_sync()
    for _ in range(7):
        claimed = await world.claim()
        assert claimed.claims_without_progress == 0
        await world.expire_lease(claimed.sync.sync_id)


async def test_ending_twice_after_an_unacknowledged_commit_gives_the_same_end(world: CatalogWorld) -> None:
    await world.create_sync()
    claimed = await world.claim()
    first = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    again = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert again == first


async def test_every_change_raises_the_revision_by_one(world: CatalogWorld) -> None:
    created = await world.create_sync()
    claimed = await world.claim()
    ended = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert [created.revision, claimed.sync.revision, ended.revision] == [1, 2, 3]


async def test_renewals_are_hot_updates(world: CatalogWorld) -> None:
    """With an index on lease_until, every renewal would write all indexes of the table: 12 times the space."""
    await world.create_sync()
    claimed = await world.claim()
    for _ in range(50):
        await world.leases.renew(claimed.lease)
    await world.own_rows("SELECT pg_stat_force_next_flush()")
    (row,) = await world.rows(
        "SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'sync_queue'"
    )
    assert row["all"] >= 50
    assert row["hot"] >= row["all"] - 5


async def test_a_claim_skips_a_sync_whose_shop_is_locked(world: CatalogWorld, engine: AsyncEngine) -> None:
    """A batch that takes longer than the lease keeps its shop locked: a claim must not wait for that."""
    late = await world.create_sync()
    await world.claim()
    await world.expire_lease(late.sync_id)
    free = await world.create_sync(ShopKey("shopify", "free.myshopify.com"))
    async with as_owner(engine).connect() as batch:
        lock = text("UPDATE shop_state SET next_seq = next_seq WHERE active_sync_id = :id")
        await batch.execute(lock, {"id": late.sync_id})
        claimed = await world.leases.claim(limit=20)
        # A claim that waited would have waited for this transaction, which ends only now.
        assert (await batch.execute(text("SELECT 1"))).scalar_one() == 1
        await batch.rollback()
    assert [one.sync.sync_id for one in claimed] == [free.sync_id]
    await world.expire_lease(late.sync_id)
    assert [one.sync.sync_id for one in await world.leases.claim(limit=20)] == [late.sync_id]


async def test_one_claim_takes_up_to_its_limit_the_oldest_first(world: CatalogWorld) -> None:
    scheduled = await world.create_sync(ShopKey("shopify", "s.myshopify.com"), trigger=SyncTrigger.SCHEDULE)
    created = [await world.create_sync(ShopKey("shopify", f"o{n}.myshopify.com")) for n in range(3)]
    first = {claimed.sync.sync_id for claimed in await world.leases.claim(limit=2)}
    assert first == {sync.sync_id for sync in created[:2]}
    rest = {claimed.sync.sync_id for claimed in await world.leases.claim(limit=5)}
    assert rest == {created[2].sync_id, scheduled.sync_id}


async def test_replicas_that_claim_concurrently_share_the_syncs(world: CatalogWorld, engine: AsyncEngine) -> None:
    orders = {(await world.create_sync(ShopKey("shopify", f"o{n}.myshopify.com"))).sync_id for n in range(12)}
    replicas = [CatalogWorld(engine) for _ in range(4)]
    claims = await asyncio.gather(*(replica.leases.claim(limit=5) for replica in replicas))
    taken = [claimed.sync.sync_id for claim in claims for claimed in claim]
    assert len(taken) == len(set(taken))
    rest = await world.leases.claim(limit=20)
    assert {*taken, *(claimed.sync.sync_id for claimed in rest)} == orders


async def test_a_sync_that_a_newer_release_started_is_run_when_only_its_trigger_is_unknown(
    world: CatalogWorld,
) -> None:
    webhook = await world.create_sync()
    await world.execute("UPDATE sync SET trigger = 'WEBHOOK', waiting_reason = 'BACKLOG', waiting_until = now()")
    claimed = await world.claim()
    assert (claimed.sync.sync_id, claimed.sync.trigger) == (webhook.sync_id, SyncTrigger.UNSPECIFIED)
    assert claimed.sync.waiting is not None
    assert claimed.sync.waiting.reason is WaitReason.UNSPECIFIED
    shown = convert.sync(claimed.sync)
    assert shown.trigger == pb.Sync.TRIGGER_UNSPECIFIED
    assert shown.waiting.reason == pb.Waiting.REASON_UNSPECIFIED


async def test_a_sync_with_the_mode_of_a_newer_release_is_not_claimed(world: CatalogWorld) -> None:
    await world.create_sync()
    await world.execute("UPDATE sync_queue SET mode = 'DELTA'")
    assert await world.leases.claim() == []


async def test_a_state_that_only_a_newer_release_knows_is_shown_as_unspecified(world: CatalogWorld) -> None:
    created = await world.create_sync()
    await world.execute("UPDATE sync SET state = 'PAUSED', mode = 'DELTA'")
    sync = await world.syncs.get(created.sync_id)
    assert (sync.state, sync.mode) == (SyncState.UNSPECIFIED, SyncMode.UNSPECIFIED)
    assert not sync.state.ended
    shown = convert.sync(sync)
    assert (shown.state, shown.mode) == (pb.Sync.STATE_UNSPECIFIED, pb.Sync.MODE_UNSPECIFIED)


async def test_a_row_that_cannot_be_decoded_hides_no_other_sync(
    world: CatalogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    bad = await world.create_sync()
    good = await world.create_sync(ShopKey("shopify", "good.myshopify.com"))
    await world.execute(
        "UPDATE sync SET error_reason = 'X', error_metadata = '[1]' WHERE sync_id = :id", id=bad.sync_id
    )
    assert [claimed.sync.sync_id for claimed in await world.leases.claim(limit=2)] == [good.sync_id]
    assert str(bad.sync_id) in {record.__dict__.get("sync_id") for record in caplog.records}
    last = await world.create_sync(ShopKey("shopify", "last.myshopify.com"))
    assert [claimed.sync.sync_id for claimed in await world.leases.claim(limit=1)] == [last.sync_id]
