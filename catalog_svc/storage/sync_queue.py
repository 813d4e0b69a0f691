"""The queue of syncs that wait for a worker or run: one row per active sync, claimed in order.

The queue decides who may try to run a sync, `shop_state` who does: a claim takes rows of the queue with SKIP
LOCKED and then installs its epoch as the shop's fencing token. Renewals of the lease write the queue only, and so
never wait for a batch of the same sync.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.ids import shop_id_of
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import MAX_QUEUE_POSITION, Lease, Sync, SyncState, SyncTrigger
from catalog_svc.storage.shops import load_shops
from catalog_svc.storage.tenant import each_visible

_SCHEDULED: Final = 1
"""Priority of scheduled syncs: syncs that people started come before them."""
_CANDIDATES_PER_CLAIM: Final = 4
"""Candidates per wanted sync: other replicas may have locked some of them."""

# Across shops, and so by a function, which returns ids; also those of the queue's order.
_CLAIM = text("""
    SELECT shop_id, sync_id, epoch, priority, queue_number FROM claim_syncs(
        CAST(:limit AS integer), CAST(:candidates AS integer), CAST(:without_platforms AS text[]),
        CAST(:modes AS text[]), CAST(:owner AS uuid), CAST(:ttl AS interval))""")

_INSERT = text("""
    INSERT INTO sync_queue (shop_id, sync_id, platform, mode, priority, epoch)
    VALUES (:shop_id, :sync_id, :platform, :mode, :priority, :epoch)""")

_OWNED = "shop_id = :shop_id AND sync_id = :sync_id AND epoch = :epoch"

_RENEW = text(f"UPDATE sync_queue SET lease_until = clock_timestamp() + :ttl WHERE {_OWNED}")

_RELEASE = text(f"""
    UPDATE sync_queue SET lease_until = clock_timestamp() + :delay, owner = NULL WHERE {_OWNED}""")

_DELETE = text("DELETE FROM sync_queue WHERE shop_id = :shop_id AND sync_id = :sync_id")

_SELECT_POSITIONS = text("""
    SELECT sync_id, queue_position FROM queue_positions(
        CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[]), CAST(:max_position AS bigint))""")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedClaim:
    """A claimed row of the queue."""

    shop: Shop
    """The directory's entry."""
    sync_id: UUID
    epoch: int

    @property
    def values(self) -> dict[str, object]:
        """The ids and the epoch as statement parameters."""
        return {"shop_id": self.shop.shop_id, "sync_id": self.sync_id, "epoch": self.epoch}


async def enqueue(connection: AsyncConnection, sync: Sync, *, epoch: int) -> None:
    """Add a new sync; its first claim gets the epoch after `epoch`."""
    values = {
        "shop_id": sync.shop.shop_id,
        "sync_id": sync.sync_id,
        "platform": sync.shop.key.platform,
        "mode": sync.mode.value,
        "priority": _SCHEDULED if sync.trigger is SyncTrigger.SCHEDULE else 0,
        "epoch": epoch,
    }
    await connection.execute(_INSERT, values)


async def dequeue(connection: AsyncConnection, *, shop_id: UUID, sync_id: UUID) -> None:
    """Remove a sync that has ended."""
    await connection.execute(_DELETE, {"shop_id": shop_id, "sync_id": sync_id})


async def claim_queued(
    connection: AsyncConnection,
    *,
    limit: int,
    without_platforms: Collection[str],
    modes: Sequence[str],
    owner: UUID,
    ttl: timedelta,
) -> list[QueuedClaim]:
    """Take the leases of up to `limit` claimable syncs, of other platforms than these, in the queue's order."""
    values = {
        "limit": limit,
        "candidates": _CANDIDATES_PER_CLAIM * limit,
        "without_platforms": list(without_platforms),
        "modes": list(modes),
        "owner": owner,
        "ttl": ttl,
    }
    rows = (await connection.execute(_CLAIM, values)).all()
    shops: dict[UUID, Shop] = {}
    async for some in each_visible(connection, [row.shop_id for row in rows]):
        shops |= await load_shops(connection, some)
    return [
        QueuedClaim(shop=shops[row.shop_id], sync_id=row.sync_id, epoch=row.epoch)
        for row in sorted(rows, key=lambda row: (row.priority, row.queue_number))
        if row.shop_id in shops
    ]


async def renew_lease(connection: AsyncConnection, lease: Lease, *, ttl: timedelta) -> bool:
    """Extend the lease by `ttl` from now; return whether it was still the current one."""
    result = await connection.execute(_RENEW, {**_lease_values(lease), "ttl": ttl})
    return result.rowcount == 1


async def release_lease(
    connection: AsyncConnection, owner: Lease | QueuedClaim, *, delay: timedelta = timedelta()
) -> None:
    """Make the sync claimable after `delay`; without effect when the lease is lost already."""
    values = owner.values if isinstance(owner, QueuedClaim) else _lease_values(owner)
    await connection.execute(_RELEASE, {**values, "delay": delay})


async def queue_positions(connection: AsyncConnection, sync_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return how many syncs of the same platform are claimed before each of these; nothing for ended ones."""
    ids = list(sync_ids)
    values = {
        "sync_ids": ids,
        "shop_ids": [shop_id_of(sync_id) for sync_id in ids],
        "max_position": MAX_QUEUE_POSITION,
    }
    rows = await connection.execute(_SELECT_POSITIONS, values)
    return {row.sync_id: row.queue_position for row in rows}


async def with_queue_positions(connection: AsyncConnection, syncs: Sequence[Sync]) -> list[Sync]:
    """Return the syncs, those that are PENDING with their positions in the queue; without a query if none is."""
    pending = [sync.sync_id for sync in syncs if sync.state is SyncState.PENDING]
    if not pending:
        return list(syncs)
    positions = await queue_positions(connection, pending)
    return [replace(sync, queue_position=positions.get(sync.sync_id)) for sync in syncs]


def _lease_values(lease: Lease) -> dict[str, object]:
    return {"shop_id": lease.shop_id, "sync_id": lease.sync_id, "epoch": lease.epoch}
