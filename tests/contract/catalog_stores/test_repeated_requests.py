"""A client whose first attempt hangs retries on another replica: both attempts return the same sync."""

from __future__ import annotations

import asyncio

from catalog_svc.domain.sync import SyncError, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Stores, batch
from tests.fakes.product_source import product


async def test_a_start_that_is_repeated_concurrently_creates_one_sync(stores: Stores) -> None:
    syncs = await asyncio.gather(*(stores.replica().create_sync(request_id="r") for _ in range(6)))
    assert len({sync.sync_id for sync in syncs}) == 1


async def test_a_resume_that_is_repeated_concurrently_creates_one_sync(stores: Stores) -> None:
    replica = stores.replica()
    await replica.create_sync()
    claimed = await replica.claim()
    await replica.leases.begin(claimed.lease, HEADER)
    stored = batch(product("1"))
    lease, _ = await replica.batches.apply(
        claimed.lease, claimed.sync.shop, stored, full=True, items_per_second=None
    )
    error = SyncError(reason="SOURCE_UNAUTHORIZED", message="connect the shop again")
    parent = await replica.leases.end(lease, SyncState.FAILED, error)
    replicas = [stores.replica() for _ in range(6)]
    syncs = await asyncio.gather(
        *(each.commands.resume(parent.sync_id, request_id="r", correlation_id="") for each in replicas)
    )
    assert len({sync.sync_id for sync in syncs}) == 1
