"""Reading syncs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import SyncNotFound
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import LatestSyncs
from catalog_svc.domain.sync import ACTIVE_STATES, ENDED_STATES, Sync, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SHOP_COLUMNS, SYNC_COLUMNS, Row, to_shop, to_sync

_log = logging.getLogger(__name__)

_SELECT = f"""
    SELECT {SYNC_COLUMNS}, {SHOP_COLUMNS} FROM sync
    JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id"""

_BY_IDS = text(f"{_SELECT} WHERE sync.sync_id = ANY(:sync_ids)")

_REVISIONS = text("SELECT sync_id, revision FROM sync WHERE sync_id = ANY(:sync_ids)")

_CHECKPOINT = text("SELECT checkpoint FROM sync WHERE sync_id = :sync_id")

# Sync ids are uuid v7: their order is the order of creation.
_LIST = f"""{_SELECT}
    WHERE (CAST(:before AS uuid) IS NULL OR sync.sync_id < :before)
      AND (CAST(:states AS text[]) IS NULL OR sync.state = ANY(CAST(:states AS text[])))"""
_LIST_END = " ORDER BY sync.sync_id DESC LIMIT :limit"
_LIST_ALL = text(_LIST + _LIST_END)
_LIST_SHOP = text(f"{_LIST} AND sync.merchant_id = :merchant_id AND sync.shop_id = :shop_id {_LIST_END}")


class SyncStore:
    """Syncs as they are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, sync_id: UUID) -> Sync:
        """The sync. Raises SyncNotFound."""
        return await self._database.read(lambda connection: find_sync(connection, sync_id))

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        """Those that exist and can be decoded, in any order, by one query."""

        async def read(connection: AsyncConnection) -> list[Sync]:
            rows = (await connection.execute(_BY_IDS, {"sync_ids": list(sync_ids)})).mappings()
            return _readable(rows)

        return await self._database.read(read)

    async def revisions(self, sync_ids: Collection[UUID]) -> dict[UUID, int]:
        """Return the revisions of those that exist, by one query."""

        async def read(connection: AsyncConnection) -> dict[UUID, int]:
            rows = await connection.execute(_REVISIONS, {"sync_ids": list(sync_ids)})
            return {row.sync_id: row.revision for row in rows}

        return await self._database.read(read)

    async def checkpoint(self, sync_id: UUID) -> bytes:
        """Of its last stored batch; empty: none. Raises SyncNotFound."""

        async def read(connection: AsyncConnection) -> bytes:
            found: bytes | None = (await connection.execute(_CHECKPOINT, {"sync_id": sync_id})).scalar()
            if found is None:
                raise SyncNotFound(sync_id)
            return found

        return await self._database.read(read)

    async def latest(self, shop: Shop) -> LatestSyncs:
        """The shop's active and its last finished sync, both as of one moment."""
        values = {"merchant_id": shop.merchant_id, "shop_id": shop.shop_id, "before": None, "limit": 1}

        async def newest(connection: AsyncConnection, states: Collection[SyncState]) -> Sync | None:
            bound = {**values, "states": [state.value for state in states]}
            row = (await connection.execute(_LIST_SHOP, bound)).mappings().first()
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
        """Newest first, older than `before`; of all shops when `shop` is None."""
        values: dict[str, object] = {
            "before": before,
            "states": [state.value for state in states] or None,
            "limit": limit,
        }
        if shop is not None:
            values |= {"merchant_id": shop.merchant_id, "shop_id": shop.shop_id}

        async def read(connection: AsyncConnection) -> list[Sync]:
            rows = (await connection.execute(_LIST_ALL if shop is None else _LIST_SHOP, values)).mappings()
            return [to_sync(row, to_shop(row)) for row in rows]

        return await self._database.read(read)


def _readable(rows: Iterable[Row]) -> list[Sync]:
    """One row that this version cannot decode must not hide the others from a replica's watchers."""
    found: list[Sync] = []
    for row in rows:
        try:
            found.append(to_sync(row, to_shop(row)))
        except (ValueError, KeyError, TypeError):
            _log.exception("cannot decode a sync", extra={"sync_id": str(row["sync_id"])})
    return found


async def find_sync(connection: AsyncConnection, sync_id: UUID) -> Sync:
    """The sync. Raises SyncNotFound."""
    row = (await connection.execute(_BY_IDS, {"sync_ids": [sync_id]})).mappings().first()
    if row is None:
        raise SyncNotFound(sync_id)
    return to_sync(row, to_shop(row))
