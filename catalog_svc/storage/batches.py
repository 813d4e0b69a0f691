"""Stores one batch in one transaction: write lock, products, items, issues, seen ids, checkpoint, progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.deletion_guard import DeletionDigest, PassDeletion
from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.records import IncomingProduct, RecordIssue, count_rejected_products
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import BlockedDeletion, Lease, RecordCounts, Sync
from catalog_svc.storage.analysis_queue import activate
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import (
    CatalogChange,
    FencedWrite,
    applied_row,
    count_change,
    fence_values,
    pass_fence,
)
from catalog_svc.storage.product_refresh import ContestedProducts, find_contested, request_again
from catalog_svc.storage.products import ProductWriter
from catalog_svc.storage.shops import ShopScope
from catalog_svc.storage.stock import write_stock
from catalog_svc.storage.syncs import SYNC_COLUMNS, to_sync

# A wait that has not ended stays: the source prefetches, and waits for its next page while this batch is stored.
_UPDATE_PROGRESS = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = statement_timestamp(), checkpoint = :checkpoint,
        progressed_at = statement_timestamp(), claims_without_progress = 0,
        waiting_reason = CASE WHEN waiting_until > :now THEN waiting_reason END,
        items_per_second = :items_per_second, issue_count = issue_count + :issue_count,
        products_seen = products_seen + :products_seen, products_created = products_created + :products_created,
        products_updated = products_updated + :products_updated,
        products_unchanged = products_unchanged + :products_unchanged,
        products_deleted = products_deleted + :products_deleted,
        products_rejected = products_rejected + :products_rejected,
        items_seen = items_seen + :items_seen, items_created = items_created + :items_created,
        items_updated = items_updated + :items_updated, items_unchanged = items_unchanged + :items_unchanged,
        items_deleted = items_deleted + :items_deleted, items_rejected = items_rejected + :items_rejected,
        products_checked = products_checked + :products_checked
    WHERE shop_id = :shop_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_INSERT_SEEN = text("""
    INSERT INTO sync_seen (shop_id, pass_id, product_id)
    SELECT CAST(:shop_id AS uuid), CAST(:pass_id AS uuid), unnest(CAST(:product_ids AS text[]))
    ON CONFLICT DO NOTHING""")

_INSERT_ISSUES = text("""
    INSERT INTO sync_issue (shop_id, sync_id, pass_id, number, reason, product_id, item_id, field, message, sample,
                            product_rejected)
    SELECT CAST(:shop_id AS uuid), CAST(:sync_id AS uuid), CAST(:pass_id AS uuid), :first + n - 1,
        reason, product_id, item_id, field, message, sample, rejected
    FROM unnest(CAST(:reasons AS text[]), CAST(:product_ids AS text[]), CAST(:item_ids AS text[]),
                CAST(:fields AS text[]), CAST(:messages AS text[]), CAST(:samples AS text[]),
                CAST(:rejected AS boolean[]))
         WITH ORDINALITY AS issue (reason, product_id, item_id, field, message, sample, rejected, n)""")

# The tombstones of this transaction.
_SELECT_DELETED_ITEMS = text("""
    SELECT item_id FROM item
    WHERE shop_id = :shop_id AND feed_position = :feed_position AND deleted_at IS NOT NULL ORDER BY item_id""")


@dataclass(frozen=True, kw_only=True, slots=True)
class _BatchWrite:
    lease: Lease
    shop: Shop
    batch: SourceBatch
    full: bool
    items_per_second: float | None


class BatchStore:
    """Stores batches, each exactly once."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        """Store a batch.

        The ids of the batch's products, of its rejected products and of those that are only listed are kept for
        the end of the pass.

        Args:
            lease: The lease under which the batch is stored.
            shop: The shop of the lease.
            batch: The batch after the last stored one.
            full: Whether the pass reads every product. If not, products that are only listed count as checked.
            items_per_second: The sync's present rate; None: unknown.

        Returns:
            The lease for the next batch, and the sync after this one.

        Raises:
            LeaseLost: Nothing was written.
            MassDeleteBlocked: The deletion guard stopped the batch; nothing was written.
        """
        write = _BatchWrite(lease=lease, shop=shop, batch=batch, full=full, items_per_second=items_per_second)
        sync = await self._database.write(lambda connection: self._apply(connection, write), shops=[lease.shop_id])
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def _apply(self, connection: AsyncConnection, write: _BatchWrite) -> Sync:
        fenced = await pass_fence(connection, write.lease, ttl=self._ttl)
        if fenced is None:
            return await _already_applied(connection, write)
        scope = ShopScope.of(write.lease)
        contested = await find_contested(connection, scope, write.batch)
        own = contested.without_refreshed(write.batch)
        writer = ProductWriter(connection, scope, feed_position=fenced.feed_position, analyzers=fenced.analyzers)
        written = await writer.write(_distinct(own.products), own.deleted_product_ids)
        stock = await write_stock(connection, scope, own.stock_levels, feed_position=fenced.feed_position)
        products = _distinct(write.batch.products)
        left = _count_left(products, contested)
        items = written.items + stock + left.items
        if not fenced.allow_mass_delete:
            await _check_deletions(connection, write, fenced, items)
        key = {**fence_values(write.lease), "pass_id": fenced.pass_id}
        seen = _seen_ids(products, write.batch)
        if seen:
            await connection.execute(_INSERT_SEEN, {**key, "product_ids": seen})
        issues = write.batch.issues + written.rejected
        await _store_issues(connection, key, issues, first=fenced.issue_count + 1)
        read = written.products + left.products
        values = {
            **key,
            **_count_values("products", read, rejected=count_rejected_products(issues)),
            **_count_values("items", items, rejected=_count_rejected_items(issues)),
            "now": datetime.now(UTC),
            "checkpoint": write.batch.checkpoint,
            "items_per_second": write.items_per_second,
            "products_checked": 0 if write.full else len(write.batch.listed_product_ids),
            "issue_count": len(issues),
        }
        await count_change(connection, write.lease.shop_id, written.change + CatalogChange(changed=stock.seen > 0))
        await request_again(connection, scope, contested.refreshed | contested.being_read)
        row = (await connection.execute(_UPDATE_PROGRESS, values)).mappings().one()
        if written.new_tasks:
            await activate(connection, scope, fenced.analyzers)
        return to_sync(row, write.shop)


async def _already_applied(connection: AsyncConnection, write: _BatchWrite) -> Sync:
    """Return the sync if an earlier attempt stored this batch. Raises LeaseLost if not."""
    row = await applied_row(connection, write.lease)
    if row["checkpoint"] != write.batch.checkpoint:
        raise LeaseLost
    return to_sync(row, write.shop)


async def _check_deletions(
    connection: AsyncConnection, write: _BatchWrite, fenced: FencedWrite, items: RecordCounts
) -> None:
    """Apply the deletion guard to what the pass has deleted before and what this batch has deleted.

    Raises:
        MassDeleteBlocked: It is too much, and the full pass before did not find the same items missing.
    """
    deletion = PassDeletion(
        would_delete=items.deleted,
        deleted=fenced.items_deleted,
        stored=fenced.item_count + items.created + fenced.items_deleted,
    )
    if deletion.is_allowed:
        return
    if deletion.needs_person:
        raise deletion.error(None)
    blocked = await _blocked_deletion(connection, write, fenced) if write.full else BlockedDeletion()
    if not write.full or blocked != fenced.blocked:
        raise deletion.error(blocked)


async def _blocked_deletion(
    connection: AsyncConnection, write: _BatchWrite, fenced: FencedWrite
) -> BlockedDeletion:
    values = {"shop_id": write.lease.shop_id, "feed_position": fenced.feed_position}
    digest = DeletionDigest("items")
    digest.add((await connection.execute(_SELECT_DELETED_ITEMS, values)).scalars())
    return digest.blocked()


@dataclass(frozen=True, slots=True)
class _LeftToRefresh:
    products: RecordCounts
    items: RecordCounts


def _count_left(products: Sequence[IncomingProduct], contested: ContestedProducts) -> _LeftToRefresh:
    """Count the products that were read and left to a refresh as unchanged: this sync does not change them."""
    left = [product for product in products if product.product_id in contested.refreshed]
    items = sum(product.item_count for product in left)
    return _LeftToRefresh(
        products=RecordCounts(seen=len(left), unchanged=len(left)), items=RecordCounts(seen=items, unchanged=items)
    )


def _distinct(products: Sequence[IncomingProduct]) -> list[IncomingProduct]:
    """The last product of each id: one statement cannot touch a row twice."""
    return list({product.product_id: product for product in products}.values())


def _seen_ids(products: Sequence[IncomingProduct], batch: SourceBatch) -> list[str]:
    """The ids that the platform has: a rejected product exists too, and must not be deleted as missing."""
    rejected = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
    return [*{product.product_id for product in products} | rejected | set(batch.listed_product_ids)]


async def _store_issues(
    connection: AsyncConnection, key: Mapping[str, object], issues: Sequence[RecordIssue], *, first: int
) -> None:
    """Store issues with the numbers from `first` on."""
    if not issues:
        return
    columns = {
        "reasons": [issue.reason for issue in issues],
        "product_ids": [issue.product_id for issue in issues],
        "item_ids": [issue.item_id for issue in issues],
        "fields": [issue.field for issue in issues],
        "messages": [issue.message for issue in issues],
        "samples": [issue.sample for issue in issues],
        "rejected": [issue.product_rejected for issue in issues],
    }
    await connection.execute(_INSERT_ISSUES, {**key, **columns, "first": first})


def _count_rejected_items(issues: Sequence[RecordIssue]) -> int:
    return len({issue.item_id for issue in issues if issue.item_id and not issue.product_rejected})


def _count_values(kind: str, counts: RecordCounts, *, rejected: int) -> dict[str, object]:
    return {
        f"{kind}_seen": counts.seen,
        f"{kind}_created": counts.created,
        f"{kind}_updated": counts.updated,
        f"{kind}_unchanged": counts.unchanged,
        f"{kind}_deleted": counts.deleted,
        f"{kind}_rejected": counts.rejected + rejected,
    }
