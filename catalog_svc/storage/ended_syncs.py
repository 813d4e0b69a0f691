"""What the end of a sync changes beside its own row: its shop, the queue, the schedule and the history.

The row of an ended sync stays in `sync` until a few later syncs of the shop have ended: clients ask for it most,
and only the latest one can be resumed. Then it moves to `sync_history`; a scheduled sync that changed nothing is
only counted: a hundred thousand shops would otherwise store ten million such rows a day.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.schedule import RETRY_BLOCKED_DELETION_INTERVAL, RETRY_BROKEN_INTERVAL
from catalog_svc.domain.status import ConnectionState, LatestSyncs
from catalog_svc.domain.sync import BlockedDeletion, Sync, SyncMode, SyncState
from catalog_svc.domain.webhook_health import unannounced_period
from catalog_svc.storage.change_events import with_event
from catalog_svc.storage.shop_webhooks import expire_silence, record_unannounced
from catalog_svc.storage.shops import Row
from catalog_svc.storage.sync_queue import dequeue
from catalog_svc.storage.tables import sync as sync_table

_KEPT_SYNCS: Final = 5
"""Ended syncs of each shop that stay in `sync`."""

_COLUMNS: Final = ", ".join(column.name for column in sync_table.columns)

_CHANGED_NOTHING: Final = """trigger = 'SCHEDULE' AND state = 'SUCCEEDED' AND issue_count = 0
        AND products_created + products_updated + products_deleted = 0
        AND items_created + items_updated + items_deleted = 0"""

_MOVE_OLD_SYNCS = text(f"""
    WITH old AS (
        DELETE FROM sync WHERE shop_id = :shop_id AND sync_id IN (
            SELECT sync_id FROM sync WHERE shop_id = :shop_id AND ended_at IS NOT NULL
            ORDER BY sync_id DESC OFFSET :kept)
        RETURNING {_COLUMNS}),
    moved AS (
        INSERT INTO sync_history ({_COLUMNS}) SELECT {_COLUMNS} FROM old WHERE NOT ({_CHANGED_NOTHING})
        RETURNING sync_id)
    SELECT (SELECT count(*) FROM old) - (SELECT count(*) FROM moved) AS unchanged""")


def _close(more: str = "") -> TextClause:
    return with_event(
        f"""
        active_sync_id = NULL, last_ended_sync_id = :sync_id,
        unchanged_sync_count = unchanged_sync_count + :unchanged, updated_at = statement_timestamp(){more}""",
        sync_id=":sync_id",
    )


_SET_BLOCKED: Final = """
        , blocked_pass_id = :blocked_pass_id, blocked_digest = :blocked_digest, blocked_count = :blocked_count"""

_CLOSE_UNREAD: Final = _close()
_CLOSE_READ: Final = _close(_SET_BLOCKED)
_CLOSE_SUCCEEDED: Final = _close(f"""{_SET_BLOCKED}
        , open_pass_id = NULL, watermark = greatest(watermark, :watermark), notes = CAST(:notes AS text[]),
        full_watermark = CASE WHEN :full THEN greatest(full_watermark, :watermark) ELSE full_watermark END""")

INSERT_OBSOLETE_PASS: Final = text("""
    INSERT INTO obsolete_pass (shop_id, pass_id) VALUES (:shop_id, :pass_id) ON CONFLICT DO NOTHING""")

_UPDATE_CONNECTION = text("""
    UPDATE shop SET connection_state = :state, connection_reason = :reason, connection_message = :message,
        updated_at = clock_timestamp()
    WHERE shop_id = :shop_id
      AND (connection_state, connection_reason, connection_message)
          IS DISTINCT FROM (:state, :reason, :message)""")

# A broken shop, which the merchant or an operator must repair first, is retried rarely.
_POSTPONE_BROKEN = text("""
    UPDATE shop_schedule SET not_before = clock_timestamp() + :delay WHERE shop_id = :shop_id""")
# Whichever sync is due then is a full one, see `sync_commands`. A sync that is never due stays so.
_ADVANCE_BLOCKED = text("""
    UPDATE shop_schedule SET not_before = clock_timestamp() + :delay,
        incremental_due_at = CASE WHEN incremental_due_at IS NOT NULL
            THEN least(incremental_due_at, clock_timestamp() + :delay) END,
        full_due_at = CASE WHEN full_due_at IS NOT NULL THEN least(full_due_at, clock_timestamp() + :delay) END
    WHERE shop_id = :shop_id""")
_RESET_NOT_BEFORE = text("""
    UPDATE shop_schedule SET not_before = NULL WHERE shop_id = :shop_id AND not_before IS NOT NULL""")


async def close_sync(
    connection: AsyncConnection, sync: Sync, row: Row, *, blocked: BlockedDeletion | None = None
) -> None:
    """Store what the end of a sync means for its shop, in the transaction that ends it and holds the write lock.

    Args:
        connection: The transaction.
        sync: The sync, which has ended.
        row: Its row, of `SYNC_COLUMNS`.
        blocked: The deletion because of which it failed, if the next full pass may agree with it.
    """
    key = {"shop_id": row["shop_id"], "sync_id": row["sync_id"], "pass_id": row["pass_id"]}
    moved = await connection.execute(_MOVE_OLD_SYNCS, {**key, "kept": _KEPT_SYNCS})
    values = {
        **key,
        "unchanged": moved.scalar_one(),
        "blocked_pass_id": row["pass_id"] if blocked else None,
        "blocked_digest": blocked.digest if blocked else None,
        "blocked_count": blocked.count if blocked else None,
    }
    if sync.state is SyncState.SUCCEEDED:
        await connection.execute(INSERT_OBSOLETE_PASS, key)
        values |= {
            "watermark": row["watermark"],
            "notes": list(sync.notes),
            "full": sync.mode is SyncMode.FULL,
        }
    await connection.execute(_close_statement(sync, blocked), values)
    await dequeue(connection, shop_id=row["shop_id"], sync_id=row["sync_id"])
    await _update_connection(connection, sync, blocked)
    await _update_silence(connection, sync, row)


def _close_statement(sync: Sync, blocked: BlockedDeletion | None) -> TextClause:
    if sync.state is SyncState.SUCCEEDED:
        return _CLOSE_SUCCEEDED
    # A sync that has read nothing has found nothing else: the next full pass may still agree.
    return _CLOSE_READ if blocked or sync.progress.has_read else _CLOSE_UNREAD


async def _update_connection(connection: AsyncConnection, sync: Sync, blocked: BlockedDeletion | None) -> None:
    health = LatestSyncs(last_finished=sync).connection
    values: dict[str, object] = {
        "shop_id": sync.shop.shop_id,
        "state": health.state.value,
        "reason": health.reason,
        "message": health.message,
    }
    await connection.execute(_UPDATE_CONNECTION, values)
    if blocked:
        await connection.execute(_ADVANCE_BLOCKED, {**values, "delay": RETRY_BLOCKED_DELETION_INTERVAL})
    elif health.state is ConnectionState.BROKEN:
        await connection.execute(_POSTPONE_BROKEN, {**values, "delay": RETRY_BROKEN_INTERVAL})
    else:
        await connection.execute(_RESET_NOT_BEFORE, values)


async def _update_silence(connection: AsyncConnection, sync: Sync, row: Row) -> None:
    """Store what the sync says about the webhooks of its shop."""
    if sync.state is not SyncState.SUCCEEDED or sync.started_at is None:
        return
    period = unannounced_period(sync, row["watermark"])
    if period is not None:
        await record_unannounced(connection, sync.shop.shop_id, since=sync.started_at - period)
    elif not sync.progress.has_changed:
        await expire_silence(connection, sync.shop.shop_id)
