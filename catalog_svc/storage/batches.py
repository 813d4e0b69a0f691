"""Stores one batch: fence, products, items, issues, seen ids, checkpoint and progress in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.deletion_guard import ALWAYS_ALLOWED, check_deletion_guard, min_stored_for
from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.progress import RecordCounts
from catalog_svc.domain.records import IncomingProduct, RecordIssue, count_rejected_products
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import Lease, Sync
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import count_items
from catalog_svc.storage.products import ProductWriter
from catalog_svc.storage.rows import SYNC_COLUMNS, to_sync
from catalog_svc.storage.scope import ShopScope
from catalog_svc.storage.stock import write_stock

# The first statement of every batch transaction. It takes the row's lock, so that a takeover is strictly before or
# after a batch, and next_seq makes a batch unrepeatable even for its own writer after a commit unheard. No later
# statement may outlive the lease: of a process frozen in the middle of a COPY the server waits for more.
_FENCE = text("""
    UPDATE sync SET next_seq = next_seq + 1
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq
      AND state = 'RUNNING'
    RETURNING issue_count, pass_id, items_deleted, allow_mass_delete,
        set_config('statement_timeout', :statement_bound, true)""")

# A wait that is not over stays: the source reads ahead, and waits for its next page while this one is stored.
_PROGRESS = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = clock_timestamp(), checkpoint = :checkpoint,
        progressed_at = clock_timestamp(),
        lease_until = clock_timestamp() + :ttl, claims_without_progress = 0,
        waiting_reason = CASE WHEN waiting_until > clock_timestamp() THEN waiting_reason END,
        items_per_second = :items_per_second, issue_count = issue_count + :issue_count,
        products_seen = products_seen + :products_seen, products_created = products_created + :products_created,
        products_updated = products_updated + :products_updated,
        products_unchanged = products_unchanged + :products_unchanged,
        products_deleted = products_deleted + :products_deleted,
        products_set_aside = products_set_aside + :products_set_aside,
        items_seen = items_seen + :items_seen, items_created = items_created + :items_created,
        items_updated = items_updated + :items_updated, items_unchanged = items_unchanged + :items_unchanged,
        items_deleted = items_deleted + :items_deleted, items_set_aside = items_set_aside + :items_set_aside,
        products_checked = products_checked + :products_checked
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_APPLIED = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq + 1
      AND state = 'RUNNING'""")

_SEEN = text("""
    INSERT INTO sync_seen (merchant_id, pass_id, product_id)
    SELECT CAST(:merchant_id AS uuid), CAST(:pass_id AS uuid), unnest(CAST(:product_ids AS text[]))
    ON CONFLICT DO NOTHING""")

_ISSUES = text("""
    INSERT INTO sync_issue (merchant_id, sync_id, number, reason, product_id, item_id, field, message, sample,
                            product_set_aside)
    SELECT CAST(:merchant_id AS uuid), CAST(:sync_id AS uuid), :first + n - 1,
        reason, product_id, item_id, field, message, sample, set_aside
    FROM unnest(CAST(:reasons AS text[]), CAST(:product_ids AS text[]), CAST(:item_ids AS text[]),
                CAST(:fields AS text[]), CAST(:messages AS text[]), CAST(:samples AS text[]),
                CAST(:set_asides AS boolean[]))
         WITH ORDINALITY AS issue (reason, product_id, item_id, field, message, sample, set_aside, n)""")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    lease: Lease
    shop: Shop
    batch: SourceBatch
    full: bool
    items_per_second: float | None


class BatchStore:
    """Applies batches, each exactly once."""

    def __init__(self, database: Database, *, ttl: timedelta) -> None:
        self._database = database
        self._ttl = ttl

    async def apply(
        self, lease: Lease, shop: Shop, batch: SourceBatch, *, full: bool, items_per_second: float | None
    ) -> tuple[Lease, Sync]:
        """The lease for the next batch and the sync after this one. Raises LeaseLost: nothing was written.

        The ids of its products, of those set aside and of those only listed are kept for the end of the pass. Of a
        pass that is not `full` those only listed count as checked.
        """
        order = _Order(lease=lease, shop=shop, batch=batch, full=full, items_per_second=items_per_second)
        sync = await self._database.write(lambda connection: self._apply(connection, order))
        return replace(lease, next_seq=lease.next_seq + 1), sync

    async def _apply(self, connection: AsyncConnection, order: _Order) -> Sync:
        key = _key(order.lease)
        bound = f"{max(1, round(self._ttl.total_seconds() * 1000))}ms"
        fenced = (await connection.execute(_FENCE, {**key, "statement_bound": bound})).first()
        if fenced is None:
            return await self._already_applied(connection, order, key)
        products = _distinct(order.batch.products)
        scope = ShopScope(merchant_id=order.lease.merchant_id, shop_id=order.lease.shop_id)
        written = await ProductWriter(connection, scope).write(products, order.batch.deleted_product_ids)
        items = written.items + await write_stock(connection, scope, order.batch.stock_levels)
        deleted, would_delete = fenced.items_deleted, written.items.deleted
        if would_delete and deleted + would_delete > ALWAYS_ALLOWED and not fenced.allow_mass_delete:
            together = deleted + would_delete
            live = await count_items(connection, scope, at_most=min_stored_for(together))
            check_deletion_guard(would_delete=would_delete, deleted=deleted, stored=live + together)
        seen = _seen(products, order.batch)
        if seen:
            await connection.execute(_SEEN, {**key, "pass_id": fenced.pass_id, "product_ids": seen})
        issues = order.batch.issues + written.rejected
        await _store_issues(connection, key, issues, first=fenced.issue_count + 1)
        counts = _count_values("products", _with_issues(written.products, issues, products=True))
        counts |= _count_values("items", _with_issues(items, issues, products=False))
        values = {**self._progress_values(order), "issue_count": len(issues)}
        row = await connection.execute(_PROGRESS, {**key, **counts, **values})
        return to_sync(row.mappings().one(), order.shop)

    async def _already_applied(
        self, connection: AsyncConnection, order: _Order, key: Mapping[str, object]
    ) -> Sync:
        """An earlier attempt of ours was committed though its answer got lost, or the lease is gone."""
        row: Mapping[Any, Any] | None = (await connection.execute(_APPLIED, dict(key))).mappings().first()
        if row is None or row["checkpoint"] != order.batch.checkpoint:
            raise LeaseLost
        return to_sync(row, order.shop)

    def _progress_values(self, order: _Order) -> dict[str, object]:
        return {
            "ttl": self._ttl,
            "checkpoint": order.batch.checkpoint,
            "items_per_second": order.items_per_second,
            "products_checked": 0 if order.full else len(order.batch.listed_product_ids),
        }


def _key(lease: Lease) -> dict[str, object]:
    return {
        "merchant_id": lease.merchant_id,
        "sync_id": lease.sync_id,
        "epoch": lease.epoch,
        "next_seq": lease.next_seq,
    }


def _distinct(products: Sequence[IncomingProduct]) -> list[IncomingProduct]:
    """The last of each id: one statement cannot touch a row twice."""
    return list({product.product_id: product for product in products}.values())


def _seen(products: Sequence[IncomingProduct], batch: SourceBatch) -> list[str]:
    """What the platform has: also what was set aside is there, and must not be taken for gone."""
    rejected = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
    return [*{product.product_id for product in products} | rejected | set(batch.listed_product_ids)]


async def _store_issues(
    connection: AsyncConnection, key: Mapping[str, object], issues: Sequence[RecordIssue], *, first: int
) -> None:
    if not issues:
        return
    columns = {
        "reasons": [issue.reason for issue in issues],
        "product_ids": [issue.product_id for issue in issues],
        "item_ids": [issue.item_id for issue in issues],
        "fields": [issue.field for issue in issues],
        "messages": [issue.message for issue in issues],
        "samples": [issue.sample for issue in issues],
        "set_asides": [issue.product_rejected for issue in issues],
    }
    await connection.execute(_ISSUES, {**key, **columns, "first": first})


def _with_issues(counts: RecordCounts, issues: Sequence[RecordIssue], *, products: bool) -> RecordCounts:
    if products:
        rejected = count_rejected_products(issues)
    else:
        rejected = len({issue.item_id for issue in issues if issue.item_id and not issue.product_rejected})
    return replace(counts, rejected=counts.rejected + rejected)


def _count_values(what: str, counts: RecordCounts) -> dict[str, object]:
    return {
        f"{what}_seen": counts.seen,
        f"{what}_created": counts.created,
        f"{what}_updated": counts.updated,
        f"{what}_unchanged": counts.unchanged,
        f"{what}_deleted": counts.deleted,
        f"{what}_set_aside": counts.rejected,
    }
