"""Stored syncs and their issues: reading them, and converting their rows."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import SyncNotFound
from catalog_svc.domain.ids import shop_id_of
from catalog_svc.domain.records import RecordIssue, SyncIssue
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import ANY_SHOP, LatestSyncs, ShopFilter
from catalog_svc.domain.sync import (
    Progress,
    RecordCounts,
    Sync,
    SyncError,
    SyncMode,
    SyncPosition,
    SyncState,
    SyncTrigger,
    Waiting,
    WaitReason,
)
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import STATE_COLUMNS, Row, ShopScope, load_shops, with_state
from catalog_svc.storage.sync_queue import queue_positions, with_queue_positions
from catalog_svc.storage.tables import sync
from catalog_svc.storage.tenant import each_visible

_log = logging.getLogger(__name__)

E = TypeVar("E", bound=Enum)

SYNC_COLUMNS: Final = ", ".join(f"sync.{column.name}" for column in sync.columns)
"""The columns that `to_sync` reads; by name, so that a column that a newer release adds disturbs no prepared
statement."""

_MAX_NOTES: Final = 20

# The syncs of a shop that is being deleted do not exist for readers.
_JOIN_STATE = "JOIN shop_state ON shop_state.shop_id = sync.shop_id AND NOT shop_state.deleting"

_SELECT_ACTIVE = f"SELECT {SYNC_COLUMNS}, {STATE_COLUMNS} FROM sync {_JOIN_STATE}"
_SELECT_ENDED = f"SELECT {SYNC_COLUMNS}, {STATE_COLUMNS} FROM sync_history AS sync {_JOIN_STATE}"

_OF_ID = "sync.shop_id = :shop_id AND sync.sync_id = :sync_id"

# One shop: on Citus a condition on several shops costs all shards.
_SELECT_BY_ID = (text(f"{_SELECT_ACTIVE} WHERE {_OF_ID}"), text(f"{_SELECT_ENDED} WHERE {_OF_ID}"))

_IN_IDS = """(sync.shop_id, sync.sync_id) IN (
        SELECT shop_id, sync_id FROM unnest(CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[]))
            AS wanted (shop_id, sync_id))"""

_SELECT_BY_IDS = (text(f"{_SELECT_ACTIVE} WHERE {_IN_IDS}"), text(f"{_SELECT_ENDED} WHERE {_IN_IDS}"))

# Revisions of thousands of shops' syncs, three times a second: numbers, without naming the shops as visible.
_SELECT_REVISIONS = tuple(
    text(f"""
    SELECT sync_id, revision
    FROM stored_revisions(CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[]), {of_history})""")
    for of_history in ("false", "true")
)

# One row, whatever the number of watched syncs.
_SELECT_CHANGED = text("""
    SELECT found_count, changed_ids, changed_revisions FROM changed_revisions(
        CAST(:shop_ids AS uuid[]), CAST(:sync_ids AS uuid[]), CAST(:revisions AS bigint[]))""")

_FIND_PAGE = text("""
    SELECT shop_id, sync_id, created_at FROM sync_page(
        CAST(:states AS text[]), CAST(:before_time AS timestamptz), CAST(:before_id AS uuid),
        CAST(:limit AS integer), CAST(:merchant_id AS text), CAST(:domain AS text))
    ORDER BY created_at DESC, sync_id DESC LIMIT :limit""")
_NEWEST: Final = SyncPosition(created_at=datetime.max.replace(tzinfo=UTC), sync_id=UUID(int=2**128 - 1))
"""Newer than every sync."""

_SELECT_CHECKPOINT = text("""
    SELECT checkpoint FROM sync WHERE shop_id = :shop_id AND sync_id = :sync_id
    UNION ALL
    SELECT checkpoint FROM sync_history WHERE shop_id = :shop_id AND sync_id = :sync_id""")

_SELECT_LATEST = text(f"""{_SELECT_ACTIVE}
    WHERE sync.shop_id = :shop_id AND shop_state.shop_id = :shop_id
      AND sync.sync_id IN (shop_state.active_sync_id, shop_state.last_ended_sync_id)""")

_PAGE_OF_ISSUES = text("""
    SELECT * FROM sync_issue
    WHERE shop_id = :shop_id AND sync_id = :sync_id AND number > :after
    ORDER BY number LIMIT :limit""")


class SyncStore:
    """Syncs as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, sync_id: UUID) -> Sync:
        """Return the sync. Raises SyncNotFound."""
        return await self._database.read(
            lambda connection: find_sync(connection, sync_id), shops=[shop_id_of(sync_id)]
        )

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        """Return those syncs that exist and can be decoded, in any order."""
        return await self._database.read(
            lambda connection: find_syncs(connection, sync_ids, skip_undecodable=True)
        )

    async def changed_revisions(self, known: Mapping[UUID, int]) -> dict[UUID, int | None]:
        """Return the revisions that are not the known ones; None for a sync that does not exist.

        The deletion of a shop begins with its active sync: that one does not exist any more.
        """
        values = {
            "sync_ids": list(known),
            "shop_ids": [shop_id_of(sync_id) for sync_id in known],
            "revisions": list(known.values()),
        }

        async def read(connection: AsyncConnection) -> dict[UUID, int | None]:
            row = (await connection.execute(_SELECT_CHANGED, values)).one()
            if row.found_count == len(known):
                return dict(zip(row.changed_ids or (), row.changed_revisions or (), strict=True))
            # Some are in the history, or nowhere.
            rows = await _in_both_tables(connection, _SELECT_REVISIONS, known)
            found = {found["sync_id"]: found["revision"] for found in rows}
            return {key: found.get(key) for key, revision in known.items() if found.get(key) != revision}

        return await self._database.read(read)

    async def queue_positions(self, sync_ids: Collection[UUID]) -> dict[UUID, int]:
        """Return how many syncs are claimed before each of these; nothing for those that have ended."""
        return await self._database.read(lambda connection: queue_positions(connection, sync_ids))

    async def checkpoint(self, sync_id: UUID) -> bytes:
        """Return the checkpoint of the last stored batch; empty when none was stored. Raises SyncNotFound."""
        values = {"shop_id": shop_id_of(sync_id), "sync_id": sync_id}

        async def read(connection: AsyncConnection) -> bytes:
            found: bytes | None = (await connection.execute(_SELECT_CHECKPOINT, values)).scalar()
            if found is None:
                raise SyncNotFound(sync_id)
            return found

        return await self._database.read(read, shops=[shop_id_of(sync_id)])

    async def latest(self, shop: Shop) -> LatestSyncs:
        """Return the shop's active and its last finished sync, both as of one moment."""
        return await self._database.read(lambda connection: latest_syncs(connection, shop), shops=[shop.shop_id])

    async def page(
        self,
        *,
        shop: Shop | None,
        states: Sequence[SyncState],
        before: SyncPosition | None,
        limit: int,
        of: ShopFilter = ANY_SHOP,
    ) -> list[Sync]:
        """Return a page of syncs, the newest first.

        Args:
            shop: Only syncs of this shop; None: of all shops.
            states: Only syncs in one of these states; empty: in any state.
            before: Only syncs older than this one; None: from the newest.
            limit: Maximum number of syncs.
            of: Without a shop: only syncs of shops with this merchant and this domain.
        """
        if shop is None:
            return await self._page_of_all(states, before or _NEWEST, limit, of)
        values: dict[str, object] = {**ShopScope.of(shop).values, "limit": limit}
        values |= {f"state_{number}": state.value for number, state in enumerate(states)}
        if before is not None:
            values |= {"before_id": before.sync_id}
        query = _page(state_count=len(states), continued=before is not None)

        async def read(connection: AsyncConnection) -> list[Sync]:
            return await _with_shops(connection, (await connection.execute(query, values)).mappings().all())

        return await self._database.read(read, shops=[shop.shop_id])

    async def _page_of_all(
        self, states: Sequence[SyncState], before: SyncPosition, limit: int, of: ShopFilter
    ) -> list[Sync]:
        values = {
            "states": [state.value for state in states],
            "before_time": before.created_at,
            "before_id": before.sync_id,
            "limit": limit,
            "merchant_id": of.merchant_id,
            "domain": of.domain,
        }

        async def read(connection: AsyncConnection) -> list[Sync]:
            sync_ids = [row.sync_id for row in await connection.execute(_FIND_PAGE, values)]
            found = {sync.sync_id: sync for sync in await find_syncs(connection, sync_ids, skip_undecodable=False)}
            return [found[sync_id] for sync_id in sync_ids if sync_id in found]

        return await self._database.read(read)


@lru_cache
def _page(*, state_count: int, continued: bool) -> TextClause:
    """A page of a shop's active and its ended syncs together: the merge of a scan for each table and state.

    A scan of an index that has the order of the page reads no more rows than the page has, while one for several
    states would sort all of their syncs. The ids of a shop's syncs are in the order of their creation.
    """
    conditions = ["sync.shop_id = :shop_id", *(["sync.sync_id < :before_id"] if continued else [])]
    states = [f"sync.state = :state_{number}" for number in range(state_count)] or ["true"]
    scans = " UNION ALL ".join(
        f"""(SELECT {SYNC_COLUMNS} FROM {table} WHERE {" AND ".join([*conditions, state])}
             ORDER BY sync.sync_id DESC LIMIT :limit)"""
        for table in ("sync", "sync_history AS sync")
        for state in states
    )
    return text(f"""
    SELECT {SYNC_COLUMNS}, {STATE_COLUMNS}
    FROM (SELECT * FROM ({scans}) AS page ORDER BY page.sync_id DESC LIMIT :limit) AS sync
    JOIN shop_state ON shop_state.shop_id = :shop_id
    ORDER BY sync.sync_id DESC""")


class IssueStore:
    """Issues of syncs: rejected records, and faults within stored ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, sync_id: UUID, *, after: int, limit: int) -> list[SyncIssue]:
        """Return up to `limit` issues with a number above `after`, in order. Raises SyncNotFound."""
        values = {"shop_id": shop_id_of(sync_id), "sync_id": sync_id, "after": after, "limit": limit}

        async def read(connection: AsyncConnection) -> list[SyncIssue]:
            await find_sync(connection, sync_id)
            rows = (await connection.execute(_PAGE_OF_ISSUES, values)).mappings()
            return [_to_issue(row) for row in rows]

        return await self._database.read(read, shops=[shop_id_of(sync_id)])


async def find_sync(connection: AsyncConnection, sync_id: UUID) -> Sync:
    """Return the sync. Raises SyncNotFound."""
    values = {"shop_id": shop_id_of(sync_id), "sync_id": sync_id}
    for statement in _SELECT_BY_ID:
        rows = (await connection.execute(statement, values)).mappings().all()
        found = await _with_shops(connection, rows)
        if found:
            return found[0]
    raise SyncNotFound(sync_id)


async def latest_syncs(connection: AsyncConnection, shop: Shop) -> LatestSyncs:
    """Return the shop's active and its last finished sync."""
    rows = (await connection.execute(_SELECT_LATEST, ShopScope.of(shop).values)).mappings()
    syncs = await with_queue_positions(connection, [to_sync(row, with_state(shop, row)) for row in rows])
    return LatestSyncs(
        active=next((sync for sync in syncs if not sync.state.ended), None),
        last_finished=next((sync for sync in syncs if sync.state.ended), None),
    )


async def find_syncs(
    connection: AsyncConnection, sync_ids: Collection[UUID], *, skip_undecodable: bool
) -> list[Sync]:
    """Return those of these syncs, of any shops, that exist; see `_with_shops` for `skip_undecodable`."""
    by_shop: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for sync_id in sync_ids:
        by_shop[shop_id_of(sync_id)].append(sync_id)
    found: list[Sync] = []
    async for some in each_visible(connection, by_shop):
        rows = await _in_both_tables(
            connection, _SELECT_BY_IDS, [sync_id for shop_id in some for sync_id in by_shop[shop_id]]
        )
        found += await _with_shops(connection, rows, skip_undecodable=skip_undecodable)
    return found


async def _in_both_tables(
    connection: AsyncConnection, statements: Sequence[TextClause], sync_ids: Collection[UUID]
) -> list[Row]:
    """Return the rows of the first statement, and those of the second one for ids that the first did not find."""
    found: list[Row] = []
    missing = set(sync_ids)
    for statement in statements:
        ids = list(missing)
        if ids:
            values = {"sync_ids": ids, "shop_ids": [shop_id_of(sync_id) for sync_id in ids]}
            rows = (await connection.execute(statement, values)).mappings().all()
            found += rows
            missing -= {row["sync_id"] for row in rows}
    return found


async def _with_shops(
    connection: AsyncConnection, rows: Sequence[Row], *, skip_undecodable: bool = False
) -> list[Sync]:
    """Convert rows of `SYNC_COLUMNS` and `STATE_COLUMNS`, in their order, with positions in the queue.

    Those of deleted shops are left out.

    Args:
        connection: Where the shops are read.
        rows: The rows.
        skip_undecodable: Whether a row that this release cannot decode is logged and left out: it must not hide
            the others from a replica's watchers.
    """
    shops = await load_shops(connection, {row["shop_id"] for row in rows})
    found: list[Sync] = []
    for row in rows:
        # Outside of a snapshot, the shop may have been deleted since its syncs were read.
        shop = shops.get(row["shop_id"])
        if shop is None:
            continue
        try:
            found.append(to_sync(row, with_state(shop, row)))
        except (ValueError, KeyError, TypeError):
            if not skip_undecodable:
                raise
            _log.exception("cannot decode a sync", extra={"sync_id": str(row["sync_id"])})
    return await with_queue_positions(connection, found)


def merged_notes(column: str) -> str:
    """Return the SQL that appends to `column` those distinct notes of the parameter `:notes` that are not in it.

    The result has at most 20 notes.
    """
    return f"""({column} || ARRAY(
        SELECT note FROM unnest(CAST(:notes AS text[])) WITH ORDINALITY AS more (note, place)
        WHERE note <> ALL({column}) ORDER BY place
    ))[1 : {_MAX_NOTES}]"""


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
        rejected=row[f"{kind}_rejected"],
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
            product_rejected=row["product_rejected"],
        ),
        created_at=row["created_at"],
    )
