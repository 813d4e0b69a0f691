"""Who may write: one replica at a time, and a dead one's work is taken up by any other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.sync import SyncState
from tests.integration.catalog_svc.conftest import HEADER, CatalogWorld


async def test_a_held_sync_is_not_claimed_again(world: CatalogWorld) -> None:
    await world.order()
    await world.claim()
    assert await world.leases.claim() is None


async def test_of_many_replicas_one_claims(world: CatalogWorld, engine: AsyncEngine) -> None:
    await world.order()
    replicas = [CatalogWorld(engine) for _ in range(6)]
    claims = await asyncio.gather(*(replica.leases.claim() for replica in replicas))
    assert sum(claim is not None for claim in claims) == 1


async def test_a_silent_owner_is_replaced_and_finds_its_lease_lost(world: CatalogWorld) -> None:
    await world.order()
    old = await world.claim()
    await world.expire_lease(old.sync.sync_id)
    new = await world.claim()
    assert new.lease.epoch == old.lease.epoch + 1
    for attempt in (world.leases.renew(old.lease), world.leases.end(old.lease, SyncState.SUCCEEDED)):
        with pytest.raises(LeaseLost):
            await attempt


async def test_renewing_keeps_a_lease_beyond_its_ttl(engine: AsyncEngine) -> None:
    world = CatalogWorld(engine, ttl=timedelta(minutes=5))
    ordered = await world.order()
    claimed = await world.claim()
    await world.expire_lease(ordered.sync_id)
    await world.leases.renew(claimed.lease)
    assert await world.leases.claim() is None
    (left,) = await world.rows("SELECT lease_until - clock_timestamp() AS time FROM sync")
    assert timedelta(minutes=4) < left["time"] <= timedelta(minutes=5)


async def test_a_released_sync_is_free_at_once_and_the_hand_over_counts_as_no_failure(world: CatalogWorld) -> None:
    await world.order()
    first = await world.claim()
    await world.leases.release(first.lease)
    second = await world.claim()
    assert second.claims_without_progress == first.claims_without_progress == 0


async def test_attempts_that_hear_from_their_source_and_store_nothing_are_counted_once_each(
    world: CatalogWorld,
) -> None:
    await world.order()
    for expected in (0, 1, 2):
        claimed = await world.claim()
        assert claimed.claims_without_progress == expected
        for _ in range(2):
            await world.leases.begin(claimed.lease, HEADER)
        await world.expire_lease(claimed.sync.sync_id)


async def test_attempts_that_never_reach_their_source_are_nobodys_fault(world: CatalogWorld) -> None:
    """Outages, kills and freezes end them; a sync must not be given up for that."""
    await world.order()
    for _ in range(7):
        claimed = await world.claim()
        assert claimed.claims_without_progress == 0
        await world.expire_lease(claimed.sync.sync_id)


async def test_ending_twice_after_an_unheard_commit_gives_the_same_end(world: CatalogWorld) -> None:
    await world.order()
    claimed = await world.claim()
    first = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    again = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert again == first


async def test_every_change_raises_the_revision_by_one(world: CatalogWorld) -> None:
    ordered = await world.order()
    claimed = await world.claim()
    ended = await world.leases.end(claimed.lease, SyncState.SUCCEEDED)
    assert [ordered.revision, claimed.sync.revision, ended.revision] == [1, 2, 3]


async def test_renewals_are_hot_updates(world: CatalogWorld) -> None:
    """An index on lease_until would make every renewal write the table's indexes: 12 times the space."""
    await world.order()
    claimed = await world.claim()
    for _ in range(50):
        await world.leases.renew(claimed.lease)
    await world.execute("SELECT pg_stat_force_next_flush()")
    (row,) = await world.rows(
        "SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'sync'"
    )
    assert row["all"] >= 50
    assert row["hot"] >= row["all"] - 5
