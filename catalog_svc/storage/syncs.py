"""Stored syncs and their issues: reading them, and converting their rows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import SyncNotFound
from catalog_svc.domain.records import RecordIssue, SyncIssue
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import LatestSyncs
from catalog_svc.domain.sync import (
    ACTIVE_STATES,
    ENDED_STATES,
    Progress,
    RecordCounts,
    Sync,
    SyncError,
    SyncMode,
    SyncState,
    SyncTrigger,
    Waiting,
    WaitReason,
)
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import SHOP_COLUMNS, Row, ShopScope, to_shop
from catalog_svc.storage.tables import sync

_log = logging.getLogger(__name__)

E = TypeVar("E", bound=Enum)

SYNC_COLUMNS: Final = ", ".join(f"sync.{column.name}" for column in sync.columns)
"""The columns that `to_sync` reads; by name, so that a column that a newer release adds disturbs no prepared
statement."""

_MAX_NOTES: Final = 20

_SELECT = f"""
    SELECT {SYNC_COLUMNS}, {SHOP_COLUMNS} FROM sync
    JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id"""

_SELECT_BY_IDS = text(f"{_SELECT} WHERE sync.sync_id = ANY(:sync_ids)")

_SELECT_REVISIONS = text("SELECT sync_id, revision FROM sync WHERE sync_id = ANY(:sync_ids)")

_SELECT_CHECKPOINT = text("SELECT checkpoint FROM sync WHERE sync_id = :sync_id")

# Sync ids are UUIDs of version 7: their order is the order of creation.
_PAGE = f"""{_SELECT}
    WHERE (CAST(:before AS uuid) IS NULL OR sync.sync_id < :before)
      AND (CAST(:states AS text[]) IS NULL OR sync.state = ANY(CAST(:states AS text[])))"""
_PAGE_END = " ORDER BY sync.sync_id DESC LIMIT :limit"
_PAGE_OF_ALL = text(_PAGE + _PAGE_END)
_PAGE_OF_SHOP = text(f"{_PAGE} AND sync.merchant_id = :merchant_id AND sync.shop_id = :shop_id {_PAGE_END}")

_PAGE_OF_ISSUES = text("""
    SELECT issue.* FROM sync_issue AS issue
    JOIN sync ON sync.merchant_id = issue.merchant_id AND sync.sync_id = issue.sync_id
    WHERE sync.sync_id = :sync_id AND issue.number > :after
    ORDER BY issue.number LIMIT :limit""")


class SyncStore:
    """Syncs as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, sync_id: UUID) -> Sync:
        """Return the sync. Raises SyncNotFound."""
        return await self._database.read(lambda connection: find_sync(connection, sync_id))

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        """Return those syncs that exist and can be decoded, in any order, by one query."""

        async def read(connection: AsyncConnection) -> list[Sync]:
            rows = (await connection.execute(_SELECT_BY_IDS, {"sync_ids": list(sync_ids)})).mappings()
            return _decodable(rows)

        return await self._database.read(read)

    async def revisions(self, sync_ids: Collection[UUID]) -> dict[UUID, int]:
        """Return the revisions of those that exist, by one query."""

        async def read(connection: AsyncConnection) -> dict[UUID, int]:
            rows = await connection.execute(_SELECT_REVISIONS, {"sync_ids": list(sync_ids)})
            return {row.sync_id: row.revision for row in rows}

        return await self._database.read(read)

    async def checkpoint(self, sync_id: UUID) -> bytes:
        """Return the checkpoint of the last stored batch; empty when none was stored. Raises SyncNotFound."""

        async def read(connection: AsyncConnection) -> bytes:
            found: bytes | None = (await connection.execute(_SELECT_CHECKPOINT, {"sync_id": sync_id})).scalar()
            if found is None:
                raise SyncNotFound(sync_id)
            return found

        return await self._database.read(read)

    async def latest(self, shop: Shop) -> LatestSyncs:
        """Return the shop's active and its last finished sync, both as of one moment."""
        values = {**ShopScope.of(shop).values, "before": None, "limit": 1}

        async def newest(connection: AsyncConnection, states: Collection[SyncState]) -> Sync | None:
            bound = {**values, "states": [state.value for state in states]}
            row = (await connection.execute(_PAGE_OF_SHOP, bound)).mappings().first()
            return to_sync(row, to_shop(row)) if row is not None else None

        async def read(connection: AsyncConnection) -> LatestSyncs:
            return LatestSyncs(
                active=await newest(connection, ACTIVE_STATES),
                last_finished=await newest(connection, ENDED_STATES),
            )

        return await self._database.read(read)

    async def page(
        self, *, shop: Shop | None, states: Sequence[SyncState], before: UUID | None, limit: int
    ) -> list[Sync]:
        """Return a page of syncs, the newest first.

        Args:
            shop: Only syncs of this shop; None: of all shops.
            states: Only syncs in one of these states; empty: in any state.
            before: Only syncs older than this one; None: from the newest.
            limit: Maximum number of syncs.
        """
        values: dict[str, object] = {
            "before": before,
            "states": [state.value for state in states] or None,
            "limit": limit,
        }
        if shop is not None:
            values |= ShopScope.of(shop).values

        async def read(connection: AsyncConnection) -> list[Sync]:
            rows = (await connection.execute(_PAGE_OF_ALL if shop is None else _PAGE_OF_SHOP, values)).mappings()
            return [to_sync(row, to_shop(row)) for row in rows]

        return await self._database.read(read)


class IssueStore:
    """Issues of syncs: rejected records, and faults within stored ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, sync_id: UUID, *, after: int, limit: int) -> list[SyncIssue]:
        """Return up to `limit` issues with a number above `after`, in order. Raises SyncNotFound."""

        async def read(connection: AsyncConnection) -> list[SyncIssue]:
            await find_sync(connection, sync_id)
            values = {"sync_id": sync_id, "after": after, "limit": limit}
            rows = (await connection.execute(_PAGE_OF_ISSUES, values)).mappings()
            return [_to_issue(row) for row in rows]

        return await self._database.read(read)


async def find_sync(connection: AsyncConnection, sync_id: UUID) -> Sync:
    """Return the sync. Raises SyncNotFound."""
    row = (await connection.execute(_SELECT_BY_IDS, {"sync_ids": [sync_id]})).mappings().first()
    if row is None:
        raise SyncNotFound(sync_id)
    return to_sync(row, to_shop(row))


def merged_notes(column: str) -> str:
    """Return the SQL that appends to `column` those distinct notes of the parameter `:notes` that are not in it.

    The result has at most 20 notes.
    """
    return f"""({column} || ARRAY(
        SELECT note FROM unnest(CAST(:notes AS text[])) WITH ORDINALITY AS more (note, place)
        WHERE note <> ALL({column}) ORDER BY place
    ))[1 : {_MAX_NOTES}]"""


def _decodable(rows: Iterable[Row]) -> list[Sync]:
    """Convert rows. A row that this release cannot decode must not hide the others from a replica's watchers."""
    found: list[Sync] = []
    for row in rows:
        try:
            found.append(to_sync(row, to_shop(row)))
        except (ValueError, KeyError, TypeError):
            _log.exception("cannot decode a sync", extra={"sync_id": str(row["sync_id"])})
    return found


def to_sync(row: Row, shop: Shop) -> Sync:
    """Convert a row of `SYNC_COLUMNS`.

    Raises:
        ValueError, TypeError, KeyError: No release has written such a row.
    """
    return Sync(
        sync_id=row["sync_id"],
        shop=shop,
        state=_known(SyncState, row["state"]),
        mode=_known(SyncMode, row["mode"]),
        trigger=_known(SyncTrigger, row["trigger"]),
        revision=row["revision"],
        progress=_to_progress(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        attempt_count=row["attempt_count"],
        waiting=_to_waiting(row),
        error=_to_error(row),
        parent_sync_id=row["parent_sync_id"],
        updated_after=row["updated_after"],
        strategy=row["strategy"],
        served_api_version=row["served_api_version"],
        correlation_id=row["correlation_id"],
        notes=tuple(row["notes"]),
    )


def _known(kind: type[E], value: str) -> E:
    """Return the member of that value; UNSPECIFIED for one that a newer release has stored."""
    try:
        return kind(value)
    except ValueError:
        return kind["UNSPECIFIED"]


def _to_progress(row: Row) -> Progress:
    return Progress(
        products=_to_counts(row, "products"),
        items=_to_counts(row, "items"),
        estimated_product_count=row["estimated_product_count"],
        estimated_item_count=row["estimated_item_count"],
        items_per_second=row["items_per_second"],
        issue_count=row["issue_count"],
        checked_products=row["products_checked"],
    )


def _to_counts(row: Row, kind: str) -> RecordCounts:
    return RecordCounts(
        seen=row[f"{kind}_seen"],
        created=row[f"{kind}_created"],
        updated=row[f"{kind}_updated"],
        unchanged=row[f"{kind}_unchanged"],
        deleted=row[f"{kind}_deleted"],
        rejected=row[f"{kind}_set_aside"],
    )


def _to_waiting(row: Row) -> Waiting | None:
    if row["waiting_reason"] is None:
        return None
    return Waiting(
        reason=_known(WaitReason, row["waiting_reason"]),
        until=row["waiting_until"],
        message=row["waiting_message"],
        done_count=row["waiting_done_count"],
        total_count=row["waiting_total_count"],
    )


def _to_error(row: Row) -> SyncError | None:
    if row["error_reason"] is None:
        return None
    return SyncError(
        reason=row["error_reason"], message=row["error_message"], metadata=dict(row["error_metadata"])
    )


def _to_issue(row: Row) -> SyncIssue:
    return SyncIssue(
        number=row["number"],
        issue=RecordIssue(
            reason=row["reason"],
            product_id=row["product_id"],
            item_id=row["item_id"],
            field=row["field"],
            message=row["message"],
            sample=row["sample"],
            product_rejected=row["product_set_aside"],
        ),
        created_at=row["created_at"],
    )
