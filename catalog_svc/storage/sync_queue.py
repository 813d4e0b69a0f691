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
from catalog_svc.domain.sync import MAX_QUEUE_POSITION, Lease, PendingSyncs, Sync, SyncState, SyncTrigger
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import SHOP_COLUMNS, to_shop

_SCHEDULED: Final = 1
"""Priority of scheduled syncs: syncs that people started come before them."""
_CANDIDATES_PER_CLAIM: Final = 4
"""Candidates per wanted sync: other replicas may have locked some of them."""

_CLAIMABLE = "(lease_until IS NULL OR lease_until < clock_timestamp())"

# A loose index scan: one index lookup per platform.
_PLATFORMS = """
    WITH RECURSIVE queued (platform) AS (
        SELECT min(platform) FROM sync_queue
        UNION ALL
        SELECT (SELECT min(platform) FROM sync_queue WHERE platform > queued.platform)
        FROM queued WHERE queued.platform IS NOT NULL)"""

# The best candidates of each platform by one index scan each, then the best of them that are not locked: a claim
# waits neither for another replica's claim nor for a renewal.
_CLAIM = text(f"""{_PLATFORMS},
    candidate AS (
        SELECT best.shop_id FROM queued CROSS JOIN LATERAL (
            SELECT shop_id, priority, queue_number FROM sync_queue
            WHERE platform = queued.platform AND {_CLAIMABLE} AND mode = ANY(CAST(:modes AS text[]))
            ORDER BY priority, queue_number LIMIT :candidates) AS best
        WHERE queued.platform IS NOT NULL AND queued.platform <> ALL(CAST(:without_platforms AS text[]))
        ORDER BY best.priority, best.queue_number LIMIT :candidates),
    claimed AS (
        SELECT shop_id FROM sync_queue
        WHERE shop_id IN (SELECT shop_id FROM candidate) AND {_CLAIMABLE}
        ORDER BY priority, queue_number LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE sync_queue SET epoch = epoch + 1, owner = :owner, lease_until = clock_timestamp() + :ttl
    FROM claimed JOIN shop ON shop.shop_id = claimed.shop_id
    WHERE sync_queue.shop_id = claimed.shop_id
    RETURNING sync_queue.sync_id, sync_queue.epoch, sync_queue.priority, sync_queue.queue_number,
        {SHOP_COLUMNS}""")

_INSERT = text("""
    INSERT INTO sync_queue (shop_id, sync_id, platform, mode, priority, epoch)
    VALUES (:shop_id, :sync_id, :platform, :mode, :priority, :epoch)""")

_OWNED = "shop_id = :shop_id AND sync_id = :sync_id AND epoch = :epoch"

_RENEW = text(f"UPDATE sync_queue SET lease_until = clock_timestamp() + :ttl WHERE {_OWNED}")

_RELEASE = text(f"""
    UPDATE sync_queue SET lease_until = clock_timestamp() + :delay, owner = NULL WHERE {_OWNED}""")

_DELETE = text("DELETE FROM sync_queue WHERE shop_id = :shop_id AND sync_id = :sync_id")

# The front of each platform's queue by one index scan, however many positions of that platform are wanted. A sync
# that is not claimable has a worker already, or was found by one that tries again in a moment.
_SELECT_POSITIONS = text(f"""
    WITH wanted AS MATERIALIZED (
        SELECT sync_queue.sync_id, sync_queue.platform, {_CLAIMABLE} AS claimable
        FROM unnest(CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[])) AS ids (shop_id, sync_id)
        JOIN sync_queue ON sync_queue.shop_id = ids.shop_id AND sync_queue.sync_id = ids.sync_id),
    front AS MATERIALIZED (
        SELECT first.sync_id, first.position
        FROM (SELECT DISTINCT platform FROM wanted) AS platforms CROSS JOIN LATERAL (
            SELECT sync_id, row_number() OVER (ORDER BY priority, queue_number) - 1 AS position FROM sync_queue
            WHERE platform = platforms.platform AND {_CLAIMABLE}
            ORDER BY priority, queue_number LIMIT :max_position) AS first)
    SELECT wanted.sync_id, CASE WHEN wanted.claimable THEN coalesce(front.position, :max_position) ELSE 0 END
        AS position
    FROM wanted LEFT JOIN front ON front.sync_id = wanted.sync_id""")


# One scan of the whole table, which has a row per active sync: 8 ms for 20,000 pending and 5,000 running ones.
_SELECT_PENDING = text("""
    SELECT platform, count(*) AS pending_count, statement_timestamp() - min(created_at) AS oldest_age
    FROM sync_queue WHERE lease_until IS NULL GROUP BY platform""")


class QueueStore:
    """The queue as a whole, for metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self) -> list[PendingSyncs]:
        """Return how many syncs no worker has claimed yet, by platform; nothing for platforms without any."""

        async def read(connection: AsyncConnection) -> list[PendingSyncs]:
            return [
                PendingSyncs(
                    platform=row.platform, count=row.pending_count, oldest_age=max(timedelta(), row.oldest_age)
                )
                for row in await connection.execute(_SELECT_PENDING)
            ]

        return await self._database.read(read)


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
    rows = (await connection.execute(_CLAIM, values)).mappings().all()
    ordered = sorted(rows, key=lambda row: (row["priority"], row["queue_number"]))
    return [QueuedClaim(shop=to_shop(row), sync_id=row["sync_id"], epoch=row["epoch"]) for row in ordered]


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
    return {row.sync_id: row.position for row in rows}


async def with_queue_positions(connection: AsyncConnection, syncs: Sequence[Sync]) -> list[Sync]:
    """Return the syncs, those that are PENDING with their positions in the queue; without a query if none is."""
    pending = [sync.sync_id for sync in syncs if sync.state is SyncState.PENDING]
    if not pending:
        return list(syncs)
    positions = await queue_positions(connection, pending)
    return [replace(sync, queue_position=positions.get(sync.sync_id)) for sync in syncs]


def _lease_values(lease: Lease) -> dict[str, object]:
    return {"shop_id": lease.shop_id, "sync_id": lease.sync_id, "epoch": lease.epoch}
