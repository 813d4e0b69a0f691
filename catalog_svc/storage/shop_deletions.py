"""Deletion of shops: marks a shop as being deleted in one transaction, then purges its rows in chunks.

The marking transaction holds the shop's write lock (see `fence`). It sets `shop_state.deleting`, raises the
epoch, deletes the active sync and the last ended ones, and moves the shop's entry of the directory to
`shop_deletion`: from its commit on nothing of the shop is found, started, claimed or written.

The purge deletes from one table after the other, in the order of the table's key, so that no chunk passes the
dead rows of the chunks before it. Each chunk is a transaction that holds the write lock and adds what it deletes
to the counters of `shop_state`, on the same node: the counts are exact, whatever replica continues, and if two do.
The last transaction moves the counters to `shop_deletion` and deletes `shop_state`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.shop import Shop, ShopDeletion, ShopKey, ShopRef
from catalog_svc.domain.sync import CancelledSync, SyncState
from catalog_svc.storage.change_events import with_event
from catalog_svc.storage.database import Database
from catalog_svc.storage.loop_leases import LoopLease
from catalog_svc.storage.shops import Row, find_deletion
from catalog_svc.storage.syncs import SYNC_COLUMNS, to_sync
from catalog_svc.storage.tenant import enter_shops

_log = logging.getLogger(__name__)

_LOOP: Final = "shop_purge"

_COLUMNS: Final = """shop_id, platform, domain, merchant_id, product_count, item_count, sync_count, issue_count,
    started_at, ended_at"""

_SELECT_BY_ID = text(f"SELECT {_COLUMNS} FROM shop_deletion WHERE shop_id = :shop_id")

_SELECT_ACTIVE = text("SELECT * FROM active_deletions(CAST(:limit AS integer)) AS shop_id")

_LOCK = text("SELECT deleting FROM shop_state WHERE shop_id = :shop_id FOR UPDATE")

# Without `oldest_tombstone_at` retention, which counts nothing, leaves the rows to the purge.
_MARK = with_event("""
        deleting = true, epoch = epoch + 1, active_sync_id = NULL, open_pass_id = NULL,
        oldest_tombstone_at = NULL, purged_sync_count = :sync_count, updated_at = statement_timestamp()""")

_DELETE_SYNCS = text(f"DELETE FROM sync WHERE shop_id = :shop_id RETURNING {SYNC_COLUMNS}")

_DELETE_QUEUED = text("DELETE FROM sync_queue WHERE shop_id = :shop_id")

_DELETE_REFRESHES = text("DELETE FROM refresh_queue WHERE shop_id = :shop_id")

_DELETE_AUDIT = text("DELETE FROM shop_audit WHERE shop_id = :shop_id")

_DELETE_WEBHOOKS = text("DELETE FROM shop_webhooks WHERE shop_id = :shop_id")

_DELETE_ANALYZERS = text("DELETE FROM analysis_queue WHERE shop_id = :shop_id")

# The entry before the schedule: in the order in which a change of the shop locks them.
_DELETE_ENTRY = text("DELETE FROM shop WHERE shop_id = :shop_id RETURNING platform, domain, merchant_id")

_DELETE_SCHEDULE = text("DELETE FROM shop_schedule WHERE shop_id = :shop_id")

_INSERT = text(f"""
    INSERT INTO shop_deletion (shop_id, platform, domain, merchant_id)
    VALUES (:shop_id, :platform, :domain, :merchant_id)
    RETURNING {_COLUMNS}""")

_COUNTERS: Final = """purged_product_count AS product_count, purged_item_count AS item_count,
    purged_sync_count AS sync_count, purged_issue_count AS issue_count"""

_SELECT_COUNTERS = text(f"SELECT {_COUNTERS} FROM shop_state WHERE shop_id = :shop_id")

_DELETE_KEYS = text("""
    DELETE FROM idempotency_key WHERE (principal, method, request_id) IN (
        SELECT principal, method, request_id FROM idempotency_key WHERE shop_id = :shop_id LIMIT :limit)""")

# The event of the deletion itself was purged with the others: followers that have not read it read this one.
_RECORD_DELETION = with_event("updated_at = statement_timestamp()")

_DELETE_STATE = text("DELETE FROM shop_state WHERE shop_id = :shop_id")

_END = text("""
    UPDATE shop_deletion SET product_count = :product_count, item_count = :item_count, sync_count = :sync_count,
        issue_count = :issue_count, ended_at = clock_timestamp()
    WHERE shop_id = :shop_id""")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    """A column by which the rows of a shop are ordered, and a value below all others."""

    column: str
    type: str
    first: object

    def parameter(self, prefix: str) -> str:
        return f"CAST(:{prefix}_{self.column} AS {self.type})"


@dataclass(frozen=True, slots=True)
class _PurgedTable:
    """A table with rows of a shop: the statements that delete a chunk of them."""

    name: str
    keys: tuple[_Key, ...]
    select_last: TextClause
    """The key of the last row of the next chunk."""
    delete: TextClause
    count: TextClause | None
    """Adds the number of deleted rows to its counter; None: they are not counted."""

    @classmethod
    def of(cls, name: str, *keys: _Key, counter: str = "") -> _PurgedTable:
        columns = ", ".join(key.column for key in keys)
        descending = ", ".join(f"{key.column} DESC" for key in keys)
        after, last = (", ".join(key.parameter(prefix) for key in keys) for prefix in ("after", "last"))
        # `>=`, though the row at `after` is deleted already: the first position is then below the first row.
        remaining = f"shop_id = :shop_id AND ({columns}) >= ({after})"
        return cls(
            name,
            keys,
            text(f"""
            SELECT {columns} FROM (
                SELECT {columns} FROM {name} WHERE {remaining} ORDER BY {columns} LIMIT :limit) AS chunk
            ORDER BY {descending} LIMIT 1"""),
            text(f"DELETE FROM {name} WHERE {remaining} AND ({columns}) <= ({last})"),
            text(f"UPDATE shop_state SET {counter} = {counter} + :deleted WHERE shop_id = :shop_id")
            if counter
            else None,
        )

    @property
    def first(self) -> tuple[object, ...]:
        """The position before the first row."""
        return tuple(key.first for key in self.keys)

    def values(self, prefix: str, position: Sequence[object]) -> dict[str, object]:
        """Return a position as statement parameters."""
        return {f"{prefix}_{key.column}": value for key, value in zip(self.keys, position, strict=True)}


def _text_key(column: str) -> _Key:
    return _Key(column=column, type="text", first="")


def _id_key(column: str) -> _Key:
    return _Key(column=column, type="uuid", first=UUID(int=0))


_NUMBER: Final = _Key(column="number", type="bigint", first=0)
_IMAGE: Final = _Key(column="image_hash", type="bytea", first=b"")

PURGED_TABLES: Final = (
    _PurgedTable.of("item", _text_key("item_id"), counter="purged_item_count"),
    _PurgedTable.of("product", _text_key("product_id"), counter="purged_product_count"),
    _PurgedTable.of("sync_seen", _id_key("pass_id"), _text_key("product_id")),
    _PurgedTable.of("obsolete_pass", _id_key("pass_id")),
    _PurgedTable.of("product_refresh", _text_key("product_id")),
    _PurgedTable.of("analysis_task", _text_key("analyzer"), _IMAGE),
    _PurgedTable.of("analysis_result", _text_key("analyzer"), _IMAGE),
    _PurgedTable.of("sync_issue", _id_key("sync_id"), _NUMBER, counter="purged_issue_count"),
    _PurgedTable.of("sync_history", _id_key("sync_id"), counter="purged_sync_count"),
    _PurgedTable.of("change_event", _NUMBER),
)
"""The tables that a shop may have many rows in; the marking transaction deletes those of the others."""


@dataclass(frozen=True, slots=True)
class _Position:
    """How far the purge of a shop is: nothing is left in earlier tables, nor below `after` in this one."""

    table: int = 0
    after: tuple[object, ...] = PURGED_TABLES[0].first

    def at_next_table(self) -> _Position:
        following = self.table + 1
        return _Position(following, PURGED_TABLES[following].first if following < len(PURGED_TABLES) else ())


class ShopDeletionStore:
    """Deletions of shops; their purge is the work of one replica at a time, the `owner` of a lease."""

    def __init__(self, database: Database, *, owner: UUID, rows_per_chunk: int = 5_000) -> None:
        self._database = database
        self._rows_per_chunk = rows_per_chunk
        self._lease = LoopLease(database, name=_LOOP, owner=owner)
        self._positions: dict[UUID, _Position] = {}

    async def find(self, ref: ShopRef) -> ShopDeletion | None:
        """Return the latest deletion of the shop, running or ended; None when there is none."""

        async def read(connection: AsyncConnection) -> ShopDeletion | None:
            shop_id = await find_deletion(connection, ref, only_active=False)
            if shop_id is None:
                return None
            await enter_shops(connection, [shop_id])
            row = (await connection.execute(_SELECT_BY_ID, {"shop_id": shop_id})).mappings().first()
            return None if row is None else await _with_counters(connection, row)

        return await self._database.read(read)

    async def begin(self, shop: Shop) -> tuple[ShopDeletion, CancelledSync | None]:
        """Mark the shop as being deleted and cancel its active sync.

        Returns:
            The deletion, also if it has begun before, and the sync that this call has cancelled.

        Raises:
            ShopNotFound: There is neither the shop nor a deletion of it.
        """
        return await self._database.write(lambda connection: _begin(connection, shop), shops=[shop.shop_id])

    async def active(self, *, limit: int) -> list[UUID]:
        """Return the ids of up to `limit` shops whose deletion has not ended, the oldest first."""

        async def read(connection: AsyncConnection) -> list[UUID]:
            return list((await connection.execute(_SELECT_ACTIVE, {"limit": limit})).scalars())

        return await self._database.read(read)

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend the right to purge, for `ttl`; return whether this replica has it, and no other one."""
        return await self._lease.acquire(ttl=ttl)

    async def release(self) -> None:
        """Let another replica purge at once."""
        await self._lease.release()

    async def purge(self, shop_id: UUID) -> bool:
        """Delete a chunk of the shop's rows; return whether the deletion goes on, False after its end."""
        position = self._positions.get(shop_id, _Position())
        following = await self._database.write(
            lambda connection: self._purge(connection, shop_id, position), shops=[shop_id]
        )
        if following is None:
            self._positions.pop(shop_id, None)
            return False
        self._positions[shop_id] = following
        return True

    async def _purge(self, connection: AsyncConnection, shop_id: UUID, position: _Position) -> _Position | None:
        values = {"shop_id": shop_id, "limit": self._rows_per_chunk}
        if (await connection.execute(_LOCK, values)).first() is None:
            # Another replica has deleted the last row.
            return None
        if position.table < len(PURGED_TABLES):
            return await _purge_chunk(connection, values, position)
        if (await connection.execute(_DELETE_KEYS, values)).rowcount >= self._rows_per_chunk:
            return position
        counters = (await connection.execute(_SELECT_COUNTERS, values)).mappings().one()
        await connection.execute(_RECORD_DELETION, values)
        await connection.execute(_DELETE_STATE, values)
        await connection.execute(_END, {**values, **counters})
        return None


async def _begin(connection: AsyncConnection, shop: Shop) -> tuple[ShopDeletion, CancelledSync | None]:
    values = {"shop_id": shop.shop_id}
    state = (await connection.execute(_LOCK, values)).first()
    if state is None or state.deleting:
        row = (await connection.execute(_SELECT_BY_ID, values)).mappings().first()
        if row is None:
            raise ShopNotFound(shop.key)
        return await _with_counters(connection, row), None
    syncs = (await connection.execute(_DELETE_SYNCS, values)).mappings().all()
    await connection.execute(_MARK, {**values, "sync_count": len(syncs)})
    await connection.execute(_DELETE_QUEUED, values)
    await connection.execute(_DELETE_REFRESHES, values)
    entry = (await connection.execute(_DELETE_ENTRY, values)).mappings().one()
    await connection.execute(_DELETE_SCHEDULE, values)
    await connection.execute(_DELETE_AUDIT, values)
    await connection.execute(_DELETE_WEBHOOKS, values)
    await connection.execute(_DELETE_ANALYZERS, values)
    inserted = (await connection.execute(_INSERT, {**values, **entry})).mappings().one()
    deletion = await _with_counters(connection, inserted)
    active = next((row for row in syncs if row["ended_at"] is None), None)
    return deletion, None if active is None else _to_cancelled(active, shop, deletion)


async def _with_counters(connection: AsyncConnection, row: Row) -> ShopDeletion:
    """Convert a row of `_COLUMNS`; while the deletion runs, its counters are those of the shop's state."""
    if row["ended_at"] is None:
        counters = (await connection.execute(_SELECT_COUNTERS, {"shop_id": row["shop_id"]})).mappings().first()
        return _to_deletion({**row, **(counters or {})})
    return _to_deletion(row)


async def _purge_chunk(connection: AsyncConnection, values: Mapping[str, Any], position: _Position) -> _Position:
    """Delete the next rows of the position's table and return the position after them."""
    table = PURGED_TABLES[position.table]
    values = {**values, **table.values("after", position.after)}
    last = (await connection.execute(table.select_last, values)).first()
    if last is None:
        return position.at_next_table()
    deleted = (await connection.execute(table.delete, {**values, **table.values("last", last)})).rowcount
    if table.count is not None:
        await connection.execute(table.count, {"shop_id": values["shop_id"], "deleted": deleted})
    return replace(position, after=tuple(last))


def _to_cancelled(row: Row, shop: Shop, deletion: ShopDeletion) -> CancelledSync | None:
    """Return the deleted sync, CANCELLED; None when its row cannot be decoded."""
    try:
        sync = to_sync(row, shop)
    except (ValueError, KeyError, TypeError):
        _log.exception("cannot decode a cancelled sync", extra={"sync_id": str(row["sync_id"])})
        return None
    ended = replace(sync, state=SyncState.CANCELLED, ended_at=deletion.started_at, waiting=None)
    return CancelledSync(sync=ended, checkpoint=row["checkpoint"])


def _to_deletion(row: Row) -> ShopDeletion:
    return ShopDeletion(
        shop=Shop(
            shop_id=row["shop_id"],
            key=ShopKey(row["platform"], row["domain"]),
            merchant_id=row["merchant_id"],
        ),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        products=row["product_count"],
        items=row["item_count"],
        syncs=row["sync_count"],
        issues=row["issue_count"],
    )
