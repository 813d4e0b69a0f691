"""The write lock of a shop, and the fence of a sync's writes.

`shop_state` has one row per shop. Each transaction that writes products or items of the shop, whatever its cause,
first updates this row, and so waits for every other writer of the shop to commit:

* It hands out `feed_position`: the rows that a transaction changes get the position after the stored one, and the
  same transaction stores it. Positions are in the order of commits, without gaps.
* It counts the products and items of the shop, so that a status is one row.
* It numbers the change events of the shop (see `catalog_svc.storage.change_events`).

A sync adds the fence: the update takes effect only under the lease's `epoch` (the fencing token: each claim
installs a higher one) and `next_seq` (the number of the write: each fenced write adds one). It changes one row, or
the transaction has no right to write: no write of a worker that has lost its lease, and no write twice, not even
by its own writer after a commit whose answer got lost. No clock takes part in this: the epoch alone decides.

A write outside of any sync holds the lock alone. A running sync may hold an older state of what it changes:
`catalog_svc.storage.product_refresh` decides which of the two writes a product.

The lock is in the shard of the rows that it protects: were it elsewhere, a takeover could see the lock of a
transaction that was committed there only, and take unchanged products for missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import NO_ANALYSES, AnalysisCounts
from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.sync import BlockedDeletion, Lease
from catalog_svc.storage.change_events import with_event
from catalog_svc.storage.syncs import SYNC_COLUMNS
from catalog_svc.storage.tenant import driver_of

OWNED: Final = "shop_id = :shop_id AND sync_id = :sync_id AND epoch = :epoch AND state = 'RUNNING'"
"""Condition on the sync's row: the lease of `lease_values` is the current one."""

_HOLDS_LEASE: Final = "shop_id = :shop_id AND active_sync_id = :sync_id AND epoch = :epoch"
"""Condition on the shop's row: the same."""

# The snapshot of the sync's row may be older than the lock, but its columns change in fenced writes only: if there
# was one meanwhile, `next_seq` differs.
_FENCE = text(f"""
    WITH locked AS (
        UPDATE shop_state SET next_seq = next_seq + 1
        WHERE {_HOLDS_LEASE} AND next_seq = :next_seq
        RETURNING feed_position, item_count, analyzers, blocked_pass_id, blocked_digest, blocked_count)
    SELECT locked.*, sync.pass_id, sync.issue_count, sync.items_deleted, sync.allow_mass_delete
    FROM locked, sync WHERE sync.shop_id = :shop_id AND sync.sync_id = :sync_id""")

_SELECT_APPLIED = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE {OWNED} AND EXISTS (
        SELECT FROM shop_state AS shop
        WHERE shop.shop_id = :shop_id AND shop.epoch = :epoch AND shop.next_seq = :next_seq + 1)""")

_LOCK = text(f"SELECT shop_id FROM shop_state WHERE {_HOLDS_LEASE} FOR UPDATE")

# Weaker than FOR UPDATE: requests for refreshes, which lock FOR KEY SHARE, do not wait for a write of products.
_LOCK_OUTSIDE_SYNC = text("""
    SELECT feed_position, item_count, analyzers, open_pass_id FROM shop_state
    WHERE shop_id = :shop_id AND incarnation = :incarnation AND NOT deleting FOR NO KEY UPDATE""")

_LOCK_FOR_ANALYSIS = text("""
    SELECT feed_position, analyzers, analysis_backfill_after FROM shop_state
    WHERE shop_id = :shop_id AND NOT deleting FOR NO KEY UPDATE""")


def _update_counters(more: str = "") -> TextClause:
    return with_event(f"""
        feed_position = feed_position + 1, product_count = product_count + :products,
        item_count = item_count + :items, item_with_image_count = item_with_image_count + :items_with_image,
        analysis_pending_count = analysis_pending_count + :pending,
        analysis_analyzed_count = analysis_analyzed_count + :analyzed,
        analysis_failed_count = analysis_failed_count + :failed,
        updated_at = statement_timestamp(){more}""")


_UPDATE_COUNTERS: Final = _update_counters()
# Not later than the statements of this transaction that deleted.
_UPDATE_COUNTERS_AND_TOMBSTONES: Final = _update_counters(
    ", oldest_tombstone_at = least(oldest_tombstone_at, transaction_timestamp())"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FencedWrite:
    """A transaction that holds the write lock of its shop, and what the sync and the shop were before it."""

    feed_position: int
    """Position of the rows that this transaction changes."""
    item_count: int
    """Items of the shop that are not deleted."""
    analyzers: tuple[str, ...]
    """The analyzers of the shop."""
    pass_id: UUID
    issue_count: int
    items_deleted: int
    """Items that the sync has deleted."""
    allow_mass_delete: bool
    blocked: BlockedDeletion | None
    """The deletion that this pass may agree with; None: there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnfencedWrite:
    """A transaction outside of any sync that holds the write lock of its shop, and what the shop was before it."""

    feed_position: int
    """Position of the rows that this transaction changes."""
    item_count: int
    """Items of the shop that are not deleted."""
    analyzers: tuple[str, ...]
    """The analyzers of the shop."""
    open_pass_id: UUID | None
    """The pass of the active sync, or of an ended one that can be resumed; None: there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisWrite:
    """A transaction that holds the write lock of its shop for a change of analyses."""

    feed_position: int
    """Position of the rows that this transaction changes."""
    analyzers: tuple[str, ...]
    """The analyzers of the shop."""
    backfill_after: str | None
    """The last item that the backfill has visited; None: no backfill is in progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogChange:
    """By how much a transaction changes the counters of its shop."""

    products: int = 0
    items: int = 0
    items_with_image: int = 0
    deleted: bool = False
    """Whether rows became tombstones."""
    changed: bool = False
    """Whether any row was written."""
    analysis: AnalysisCounts = NO_ANALYSES
    """By how much the numbers of items in each state of analysis change."""

    def __add__(self, other: CatalogChange) -> CatalogChange:
        return CatalogChange(
            products=self.products + other.products,
            items=self.items + other.items,
            items_with_image=self.items_with_image + other.items_with_image,
            deleted=self.deleted or other.deleted,
            changed=self.changed or other.changed,
            analysis=self.analysis + other.analysis,
        )


def lease_values(lease: Lease) -> dict[str, object]:
    """Return the parameters of `OWNED`."""
    return {"shop_id": lease.shop_id, "sync_id": lease.sync_id, "epoch": lease.epoch}


def fence_values(lease: Lease) -> dict[str, object]:
    """Return the parameters of a fence statement."""
    return {**lease_values(lease), "next_seq": lease.next_seq}


async def pass_fence(connection: AsyncConnection, lease: Lease, *, ttl: timedelta) -> FencedWrite | None:
    """Lock the shop for a write of the lease; None when this write must not take place, see `applied_row`.

    No later statement of the transaction may outlast the lease: while a process is frozen in the middle of a COPY,
    the server waits for more data and keeps the lock, for which the next owner waits.
    """
    row = (await connection.execute(_FENCE, fence_values(lease))).first()
    if row is None:
        return None
    await _limit_statements(connection, ttl)
    return FencedWrite(
        feed_position=row.feed_position + 1,
        item_count=row.item_count,
        analyzers=tuple(row.analyzers),
        pass_id=row.pass_id,
        issue_count=row.issue_count,
        items_deleted=row.items_deleted,
        allow_mass_delete=row.allow_mass_delete,
        blocked=agreeable_deletion(row, row.pass_id),
    )


async def lock_outside_sync(
    connection: AsyncConnection, shop_id: UUID, *, incarnation: UUID, ttl: timedelta
) -> UnfencedWrite | None:
    """Lock the shop for a write of products outside of any sync.

    Args:
        connection: The transaction; this is its first statement.
        shop_id: The shop.
        incarnation: Of the shop's positions, when the products were requested.
        ttl: How long one of the following statements may take, as for `pass_fence`.

    Returns:
        None if the shop is being deleted, or is another one by now.
    """
    values = {"shop_id": shop_id, "incarnation": incarnation}
    row = (await connection.execute(_LOCK_OUTSIDE_SYNC, values)).first()
    if row is None:
        return None
    await _limit_statements(connection, ttl)
    return UnfencedWrite(
        feed_position=row.feed_position + 1,
        item_count=row.item_count,
        analyzers=tuple(row.analyzers),
        open_pass_id=row.open_pass_id,
    )


async def lock_for_analysis(connection: AsyncConnection, shop_id: UUID, *, ttl: timedelta) -> AnalysisWrite | None:
    """Lock the shop for a change of analyses: the first statement of the transaction.

    Args:
        connection: The transaction.
        shop_id: The shop.
        ttl: How long one of the following statements may take, as for `pass_fence`.

    Returns:
        None if the shop is being deleted.
    """
    row = (await connection.execute(_LOCK_FOR_ANALYSIS, {"shop_id": shop_id})).first()
    if row is None:
        return None
    await _limit_statements(connection, ttl)
    return AnalysisWrite(
        feed_position=row.feed_position + 1,
        analyzers=tuple(row.analyzers),
        backfill_after=row.analysis_backfill_after,
    )


async def _limit_statements(connection: AsyncConnection, ttl: timedelta) -> None:
    # Through the driver: one simple query, without a round trip to prepare a statement.
    driver = await driver_of(connection)
    await driver.execute(f"SET LOCAL statement_timeout = {max(1, round(ttl.total_seconds() * 1000))}")


def agreeable_deletion(row: Row[Any], pass_id: UUID) -> BlockedDeletion | None:
    """Return the deletion of a row with the shop's `blocked_` columns, if another pass was stopped with it."""
    if row.blocked_pass_id is None or row.blocked_pass_id == pass_id:
        return None
    return BlockedDeletion(digest=row.blocked_digest, count=row.blocked_count)


async def lock_shop(connection: AsyncConnection, lease: Lease) -> None:
    """Lock the shop for a write that takes no part in the numbering of writes. Raises LeaseLost."""
    if (await connection.execute(_LOCK, lease_values(lease))).first() is None:
        raise LeaseLost


async def count_change(connection: AsyncConnection, shop_id: UUID, change: CatalogChange) -> None:
    """Store the position and counters of the shop after a write, with an event; nothing if nothing changed."""
    if not change.changed:
        return
    values = {
        "shop_id": shop_id,
        "products": change.products,
        "items": change.items,
        "items_with_image": change.items_with_image,
        "pending": change.analysis.pending,
        "analyzed": change.analysis.analyzed,
        "failed": change.analysis.failed,
    }
    await connection.execute(_UPDATE_COUNTERS_AND_TOMBSTONES if change.deleted else _UPDATE_COUNTERS, values)


async def applied_row(connection: AsyncConnection, lease: Lease) -> Mapping[Any, Any]:
    """Return the sync's row, of `SYNC_COLUMNS`, if this very write was committed before and its answer got lost.

    Raises:
        LeaseLost: It was not: another worker has the lease, or the sync has ended.
    """
    row = (await connection.execute(_SELECT_APPLIED, fence_values(lease))).mappings().first()
    if row is None:
        raise LeaseLost
    return row
