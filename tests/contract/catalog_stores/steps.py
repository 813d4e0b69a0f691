"""Steps of a sync, for tests of the stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, Sync, SyncError, SyncMode, SyncState
from tests.contract.catalog_stores.conftest import HEADER, Replica, Stores, batch

DOLLARS = replace(HEADER, profile=replace(HEADER.profile, currency_code="USD"))
REVOKED = SyncError(reason="SOURCE_UNAUTHORIZED", message="connect the shop again")


async def started_sync(replica: Replica, mode: SyncMode = SyncMode.FULL, **more: Any) -> ClaimedSync:
    """Create and claim a sync, and store its source's header."""
    await replica.create_sync(mode, **more)
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


async def claimed_sync(replica: Replica, mode: SyncMode = SyncMode.FULL) -> ClaimedSync:
    await replica.create_sync(mode)
    return await replica.claim()


async def sweep_and_succeed(replica: Replica, claimed: ClaimedSync, lease: Lease) -> Sync:
    """Mark all missing products as deleted and end the sync as SUCCEEDED."""
    sync: Sync | None = claimed.sync
    while sync is not None:
        lease, sync = await replica.sweeps.step(lease, claimed.sync.shop)
    return await replica.leases.end(lease, SyncState.SUCCEEDED)


async def full_sync(replica: Replica, *products: pb.Product, **more: Any) -> Sync:
    """Run a full sync of these products to its end."""
    claimed = await started_sync(replica, **more)
    return await sweep_and_succeed(replica, claimed, await apply(replica, claimed, batch(*products)))


async def failed_sync(replica: Replica, *products: pb.Product) -> Sync:
    """Run a full sync that fails after these products."""
    claimed = await started_sync(replica)
    lease = await apply(replica, claimed, batch(*products, checkpoint=b"parent")) if products else claimed.lease
    return await replica.leases.end(lease, SyncState.FAILED, REVOKED)


async def live_products(stores: Stores) -> set[str]:
    return {pid for pid, (_, is_live) in (await stores.products()).items() if is_live}
