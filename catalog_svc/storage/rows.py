"""Rows to domain objects."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from catalog_svc.domain.progress import Progress, RecordCounts, Waiting, WaitReason
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.sync import Sync, SyncError, SyncMode, SyncState, SyncTrigger
from catalog_svc.storage.tables import sync

Row = Mapping[Any, Any]
E = TypeVar("E", bound=Enum)

SHOP_COLUMNS = """shop.platform, shop.domain, shop.platform_shop_id, shop.currency_code, shop.display_name,
    shop.watermark AS shop_watermark, shop.full_watermark AS shop_full_watermark, shop.notes AS shop_notes"""
"""With merchant_id and shop_id, what `to_shop` reads."""

SYNC_COLUMNS = ", ".join(f"sync.{column.name}" for column in sync.columns)
"""What `to_sync` reads; by name, so that a column added by a newer version disturbs no prepared statement."""


_MAX_NOTES = 20


def merged_notes(column: str) -> str:
    """The SQL of `column` with those distinct notes of the parameter `:notes` that it lacks; at most 20 in all."""
    return f"""({column} || ARRAY(
        SELECT note FROM unnest(CAST(:notes AS text[])) WITH ORDINALITY AS more (note, place)
        WHERE note <> ALL({column}) ORDER BY place
    ))[1 : {_MAX_NOTES}]"""


def to_shop(row: Row) -> Shop:
    """From `SHOP_COLUMNS` with the ids."""
    return Shop(
        merchant_id=row["merchant_id"],
        shop_id=row["shop_id"],
        key=ShopKey(row["platform"], row["domain"]),
        platform_shop_id=row["platform_shop_id"],
        currency_code=row["currency_code"],
        display_name=row["display_name"],
        watermark=row["shop_watermark"],
        full_watermark=row["shop_full_watermark"],
        notes=tuple(row["shop_notes"]),
    )


def to_sync(row: Row, shop: Shop) -> Sync:
    """From `SYNC_COLUMNS`. Raises ValueError, TypeError or KeyError for a row that no release has written."""
    return Sync(
        sync_id=row["sync_id"],
        shop=shop,
        state=known(SyncState, row["state"]),
        mode=known(SyncMode, row["mode"]),
        trigger=known(SyncTrigger, row["trigger"]),
        revision=row["revision"],
        progress=_progress(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        attempt_count=row["attempt_count"],
        waiting=_waiting(row),
        error=_error(row),
        parent_sync_id=row["parent_sync_id"],
        updated_after=row["updated_after"],
        strategy=row["strategy"],
        served_api_version=row["served_api_version"],
        correlation_id=row["correlation_id"],
        notes=tuple(row["notes"]),
    )


def known(kind: type[E], value: str) -> E:
    """Return the member of that value; UNSPECIFIED for one that a newer release has stored."""
    try:
        return kind(value)
    except ValueError:
        return kind["UNSPECIFIED"]


def _progress(row: Row) -> Progress:
    return Progress(
        products=_counts(row, "products"),
        items=_counts(row, "items"),
        estimated_product_count=row["estimated_product_count"],
        estimated_item_count=row["estimated_item_count"],
        items_per_second=row["items_per_second"],
        issue_count=row["issue_count"],
        checked_products=row["products_checked"],
    )


def _counts(row: Row, what: str) -> RecordCounts:
    return RecordCounts(
        seen=row[f"{what}_seen"],
        created=row[f"{what}_created"],
        updated=row[f"{what}_updated"],
        unchanged=row[f"{what}_unchanged"],
        deleted=row[f"{what}_deleted"],
        rejected=row[f"{what}_set_aside"],
    )


def _waiting(row: Row) -> Waiting | None:
    if row["waiting_reason"] is None:
        return None
    return Waiting(
        reason=known(WaitReason, row["waiting_reason"]),
        until=row["waiting_until"],
        message=row["waiting_message"],
        done_count=row["waiting_done_count"],
        total_count=row["waiting_total_count"],
    )


def _error(row: Row) -> SyncError | None:
    if row["error_reason"] is None:
        return None
    return SyncError(
        reason=row["error_reason"], message=row["error_message"], metadata=dict(row["error_metadata"])
    )
