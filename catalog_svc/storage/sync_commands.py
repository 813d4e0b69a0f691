"""Commands for syncs: start, cancel, resume. One active sync per shop, and one sync per request_id.

Each command holds the write lock of its shop (see `catalog_svc.storage.fence`), so that commands, and the ends of
syncs, happen one after the other. A repeated request, one with a request_id that was used before, answers with the
sync that the first one created (idempotency key). The key is saved in the transaction that creates the sync.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import (
    RequestIdReused,
    ShopBeingDeleted,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotFound,
    SyncNotResumable,
)
from catalog_svc.domain.ids import shop_id_of, sync_id_of
from catalog_svc.domain.schedule import ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.storage.change_events import with_event
from catalog_svc.storage.database import Database
from catalog_svc.storage.ended_syncs import INSERT_OBSOLETE_PASS, close_sync
from catalog_svc.storage.shops import STATE_COLUMNS, Row, register_shop, with_state
from catalog_svc.storage.sync_queue import enqueue, with_queue_positions
from catalog_svc.storage.syncs import SYNC_COLUMNS, find_sync, to_sync
from catalog_svc.storage.tables import SYNC_COUNTS

_INHERITED_COLUMNS: Final = (
    *(f"{kind}_{count}" for kind in ("products", "items") for count in SYNC_COUNTS),
    "issue_count",
    "estimated_product_count",
    "estimated_item_count",
)
"""Columns whose values a resumed sync takes over from its parent."""

_SELECT_STATE = f"""
    SELECT deleting, epoch, active_sync_id, last_sync_number, open_pass_id, blocked_pass_id, {STATE_COLUMNS}
    FROM shop_state WHERE shop_id = :shop_id"""

_READ_SHOP = text(_SELECT_STATE)
_LOCK_SHOP = text(f"{_SELECT_STATE} FOR UPDATE")
_TRY_LOCK_SHOP = text(f"{_SELECT_STATE} FOR UPDATE SKIP LOCKED")

_OPEN = with_event(
    """
        last_sync_number = last_sync_number + 1, active_sync_id = :sync_id, open_pass_id = :pass_id,
        updated_at = statement_timestamp()""",
    sync_id=":sync_id",
)

# With a number, though `close_sync` writes the event: without one the trigger for older releases would write one.
_VOID_LEASE = text("""
    UPDATE shop_state SET epoch = epoch + 1, event_number = event_number + 1 WHERE shop_id = :shop_id""")

_INSERT = text(f"""
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, allow_mass_delete, correlation_id, traceparent,
                      updated_after, pass_id, epoch)
    VALUES (:shop_id, :sync_id, 'PENDING', :mode, :trigger, :allow_mass_delete, :correlation_id, :traceparent,
            :updated_after, :pass_id, :epoch)
    RETURNING {SYNC_COLUMNS}""")

_CANCEL = text(f"""
    UPDATE sync SET state = 'CANCELLED', epoch = epoch + 1, revision = revision + 1,
        updated_at = statement_timestamp(), ended_at = statement_timestamp(), waiting_reason = NULL,
        items_per_second = NULL
    WHERE shop_id = :shop_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

# Continues where the parent stopped: with its checkpoint, its counts and its pass.
_RESUME = text(f"""
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, allow_mass_delete, correlation_id, traceparent,
        updated_after, pass_id, epoch, parent_sync_id, checkpoint, watermark, {", ".join(_INHERITED_COLUMNS)})
    SELECT shop_id, :new_id, 'PENDING', mode, 'RESUME', allow_mass_delete, :correlation_id, :traceparent,
        updated_after, pass_id, :epoch, sync_id, checkpoint, watermark, {", ".join(_INHERITED_COLUMNS)}
    FROM sync WHERE shop_id = :shop_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_SELECT_PARENT = text(
    "SELECT pass_id, checkpoint = '' AS empty FROM sync WHERE shop_id = :shop_id AND sync_id = :sync_id"
)

# Also of another shop, which the transaction does not see.
_SELECT_KEY = text("""
    SELECT sync_id, is_same FROM find_request(
        CAST(:principal AS text), CAST(:method AS text), CAST(:request_id AS text),
        CAST(:request_hash AS bytea))""")

_INSERT_KEY = text("""
    INSERT INTO idempotency_key (principal, method, request_id, request_hash, shop_id, sync_id)
    VALUES (:principal, :method, :request_id, :request_hash, :shop_id, :sync_id)
    ON CONFLICT (principal, method, request_id) DO NOTHING""")

# Only if the schedule is still the one that was read: its due times may fit other intervals by now.
_TAKE_TURN = text("""
    UPDATE shop_schedule SET incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        not_before = NULL, updated_at = clock_timestamp()
    WHERE shop_id = :shop_id AND next_due_at = :due_at AND next_due_at <= clock_timestamp()
      AND (incremental_due_at, full_due_at, incremental_interval, full_interval) IS NOT DISTINCT FROM
          (CAST(:old_incremental_due_at AS timestamptz), CAST(:old_full_due_at AS timestamptz),
           CAST(:incremental_interval AS interval), CAST(:full_interval AS interval))""")


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """Identifies a request that may be repeated."""

    principal: str
    """The caller: the ids of different callers do not meet."""
    method: str
    request_id: str
    """Empty: the request cannot be repeated."""
    parameters: tuple[str, ...]
    """Parameters that a repeated request must have in common with the first one."""

    @property
    def request_hash(self) -> bytes:
        """Hash of the parameters, 16 bytes."""
        return hashlib.blake2b("\n".join(self.parameters).encode(), digest_size=16).digest()

    @property
    def values(self) -> dict[str, object]:
        """The key as statement parameters."""
        return {
            "principal": self.principal,
            "method": self.method,
            "request_id": self.request_id,
            "request_hash": self.request_hash,
        }


@dataclass(frozen=True, slots=True)
class _LockedShop:
    """A shop whose write lock the transaction holds: no other transaction starts or ends a sync of it."""

    shop: Shop
    epoch: int
    active_sync_id: UUID | None
    last_sync_number: int
    open_pass_id: UUID | None
    blocked_pass_id: UUID | None
    """Set: full passes decide about a deletion."""

    @property
    def next_sync_id(self) -> UUID:
        return sync_id_of(self.shop.shop_id, self.last_sync_number + 1)

    def mode_of(self, command: StartSyncCommand) -> SyncMode:
        """Return the mode of the sync that the command starts.

        All products are read without a watermark, and when full passes decide about a deletion.
        """
        possible = self.shop.watermark is not None and self.blocked_pass_id is None
        incremental = command.mode is SyncMode.INCREMENTAL and possible
        return SyncMode.INCREMENTAL if incremental else SyncMode.FULL

    def check_no_active_sync(self) -> None:
        """Raise SyncAlreadyRunning if the shop has an active sync."""
        if self.active_sync_id is not None:
            raise SyncAlreadyRunning(self.shop.key, self.active_sync_id)


class SyncCommandStore:
    """Starts, cancels and resumes syncs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, command: StartSyncCommand) -> Sync:
        """Return the new PENDING sync, or the one that the same request_id started before.

        Raises:
            ShopBeingDeleted: The shop is being deleted.
            SyncAlreadyRunning: The shop has an active sync.
            RequestIdReused: The request_id was used with other parameters.
        """
        key = IdempotencyKey(
            principal=command.principal,
            method="StartSync",
            request_id=command.request_id,
            parameters=(str(command.shop), command.mode.value, str(command.allow_mass_delete)),
        )

        async def work(connection: AsyncConnection) -> Sync:
            locked = await _lock_idle_shop(connection, await register_shop(connection, command.shop))
            earlier = await _find_by_key(connection, key)
            if earlier is not None:
                return earlier
            sync = await _create(connection, locked, command)
            await _save_key(connection, key, sync)
            return (await with_queue_positions(connection, [sync]))[0]

        return await self._database.write(work)

    async def start_due(
        self, due: ScheduledShop, command: StartSyncCommand, plan_next: Callable[[SyncMode], StoredSchedule]
    ) -> Sync | None:
        """Start the sync that is due and store the next due times, in one transaction.

        Args:
            due: The shop with its schedule as it was read.
            command: What to start.
            plan_next: Returns the schedule with the next due times, after a start of a sync of this mode.

        Returns:
            The new PENDING sync; None if another replica has started it, the schedule was changed or the shop
            was deleted.

        Raises:
            SyncAlreadyRunning: The shop has an active sync; its schedule is as it was.
        """

        async def work(connection: AsyncConnection) -> Sync | None:
            try:
                locked = await _lock_idle_shop(connection, due.shop)
            except ShopBeingDeleted:
                return None
            following = plan_next(locked.mode_of(command))
            values = {
                "shop_id": due.shop.shop_id,
                "due_at": due.schedule.next_due_at,
                "old_incremental_due_at": due.schedule.incremental_due_at,
                "old_full_due_at": due.schedule.full_due_at,
                "incremental_interval": due.schedule.incremental_every,
                "full_interval": due.schedule.full_every,
                "incremental_due_at": following.incremental_due_at,
                "full_due_at": following.full_due_at,
            }
            if (await connection.execute(_TAKE_TURN, values)).rowcount == 0:
                return None
            return await _create(connection, locked, command)

        return await self._database.write(work, shops=[due.shop.shop_id])

    async def cancel(self, sync_id: UUID) -> Sync:
        """End the sync on whatever replica it runs: its lease is void from now on. Repeating the call changes
        nothing.

        Raises:
            SyncNotFound: There is no such sync.
            SyncNotCancellable: The sync has succeeded or failed.
        """

        async def work(connection: AsyncConnection) -> Sync:
            locked = await _lock_shop_of(connection, sync_id)
            if locked.active_sync_id == sync_id:
                return await _cancel(connection, locked, sync_id)
            # The sync has ended, perhaps a moment ago.
            sync = await find_sync(connection, sync_id)
            if sync.state is SyncState.CANCELLED:
                return sync
            raise SyncNotCancellable(sync_id, sync.state.value)

        return await self._database.write(work, shops=[shop_id_of(sync_id)])

    async def resume(
        self, sync_id: UUID, *, request_id: str, correlation_id: str, traceparent: str = "", principal: str = ""
    ) -> Sync:
        """Return a new PENDING sync that continues where this one stopped.

        Raises:
            SyncNotFound: There is no such sync.
            SyncNotResumable: There is nothing to continue from, or continuing would be wrong.
            SyncAlreadyRunning: The shop has an active sync.
            RequestIdReused: The request_id was used with other parameters.
        """
        key = IdempotencyKey(
            principal=principal, method="ResumeSync", request_id=request_id, parameters=(str(sync_id),)
        )

        async def work(connection: AsyncConnection) -> Sync:
            locked = await _lock_shop_of(connection, sync_id)
            earlier = await _find_by_key(connection, key)
            if earlier is not None:
                return earlier
            parent = await find_sync(connection, sync_id)
            values = {"correlation_id": correlation_id, "traceparent": traceparent}
            sync = await _resume(connection, locked, parent, values)
            await _save_key(connection, key, sync)
            return (await with_queue_positions(connection, [sync]))[0]

        return await self._database.write(work, shops=[shop_id_of(sync_id)])


async def _lock_shop(connection: AsyncConnection, shop: Shop) -> _LockedShop:
    """Take the shop's write lock: starts, cancels and ends of its syncs happen one after the other.

    Raises ShopBeingDeleted.
    """
    row = (await connection.execute(_LOCK_SHOP, {"shop_id": shop.shop_id})).mappings().first()
    return _to_locked(shop, row)


async def _lock_shop_of(connection: AsyncConnection, sync_id: UUID) -> _LockedShop:
    """Take the write lock of the sync's shop. Raises SyncNotFound."""
    shop = (await find_sync(connection, sync_id)).shop
    try:
        return await _lock_shop(connection, shop)
    except ShopBeingDeleted:
        raise SyncNotFound(sync_id) from None


async def _lock_idle_shop(connection: AsyncConnection, shop: Shop) -> _LockedShop:
    """Take the shop's write lock if no sync is active; do not wait for the batch of one that is.

    The result of a shop with an active sync says so, without the lock. Raises ShopBeingDeleted.
    """
    values = {"shop_id": shop.shop_id}
    row = (await connection.execute(_TRY_LOCK_SHOP, values)).mappings().first()
    if row is None:
        row = (await connection.execute(_READ_SHOP, values)).mappings().first()
        if row is None or row["active_sync_id"] is None:
            return await _lock_shop(connection, shop)
    return _to_locked(shop, row)


def _to_locked(shop: Shop, row: Row | None) -> _LockedShop:
    """Convert a row of `_SELECT_STATE`; None is the row of a deleted shop. Raises ShopBeingDeleted."""
    if row is None or row["deleting"]:
        raise ShopBeingDeleted(shop.shop_id)
    return _LockedShop(
        with_state(shop, row),
        epoch=row["epoch"],
        active_sync_id=row["active_sync_id"],
        last_sync_number=row["last_sync_number"],
        open_pass_id=row["open_pass_id"],
        blocked_pass_id=row["blocked_pass_id"],
    )


async def _find_by_key(connection: AsyncConnection, key: IdempotencyKey) -> Sync | None:
    """Return the sync that the same request created before. Raises RequestIdReused when it was another request."""
    if not key.request_id:
        return None
    row = (await connection.execute(_SELECT_KEY, key.values)).first()
    if row is None:
        return None
    if not row.is_same:
        raise RequestIdReused(key.request_id)
    sync_id: UUID = row.sync_id
    return await find_sync(connection, sync_id)


async def _save_key(connection: AsyncConnection, key: IdempotencyKey, sync: Sync) -> None:
    """Save which sync the request created, in the transaction that creates it.

    Raises RequestIdReused when a request for another shop has used the id at the same time.
    """
    if key.request_id:
        values = {**key.values, "shop_id": sync.shop.shop_id, "sync_id": sync.sync_id}
        if (await connection.execute(_INSERT_KEY, values)).rowcount == 0:
            raise RequestIdReused(key.request_id)


async def _create(connection: AsyncConnection, locked: _LockedShop, command: StartSyncCommand) -> Sync:
    """Create a PENDING sync that begins a pass. Raises SyncAlreadyRunning."""
    locked.check_no_active_sync()
    shop, sync_id = locked.shop, locked.next_sync_id
    mode = locked.mode_of(command)
    incremental = mode is SyncMode.INCREMENTAL
    values = {
        "shop_id": shop.shop_id,
        "sync_id": sync_id,
        "pass_id": sync_id,
        "epoch": locked.epoch,
        "mode": mode.value,
        "trigger": command.trigger.value,
        "allow_mass_delete": command.allow_mass_delete,
        "correlation_id": command.correlation_id,
        "traceparent": command.traceparent,
        "updated_after": shop.watermark - command.overlap if incremental and shop.watermark else None,
    }
    if locked.open_pass_id is not None:
        # Only the latest sync can be resumed.
        await connection.execute(INSERT_OBSOLETE_PASS, {**values, "pass_id": locked.open_pass_id})
    sync = to_sync((await connection.execute(_INSERT, values)).mappings().one(), shop)
    await _open(connection, locked, sync, pass_id=sync_id)
    return sync


async def _open(connection: AsyncConnection, locked: _LockedShop, sync: Sync, *, pass_id: UUID) -> None:
    """Make a new sync the shop's active one, and queue it."""
    values = {"shop_id": sync.shop.shop_id, "sync_id": sync.sync_id, "pass_id": pass_id}
    await connection.execute(_OPEN, values)
    await enqueue(connection, sync, epoch=locked.epoch)


async def _cancel(connection: AsyncConnection, locked: _LockedShop, sync_id: UUID) -> Sync:
    values = {"shop_id": locked.shop.shop_id, "sync_id": sync_id}
    await connection.execute(_VOID_LEASE, values)
    row = (await connection.execute(_CANCEL, values)).mappings().one()
    sync = to_sync(row, locked.shop)
    await close_sync(connection, sync, row)
    return sync


async def _resume(
    connection: AsyncConnection, locked: _LockedShop, parent: Sync, origin: Mapping[str, str]
) -> Sync:
    """Create the resuming sync, with its correlation id and trace. Raises SyncAlreadyRunning, SyncNotResumable."""
    pass_id = await _check_resumable(connection, locked, parent)
    values = {
        "shop_id": locked.shop.shop_id,
        "sync_id": parent.sync_id,
        "new_id": locked.next_sync_id,
        "epoch": locked.epoch,
        **origin,
    }
    sync = to_sync((await connection.execute(_RESUME, values)).mappings().one(), locked.shop)
    await _open(connection, locked, sync, pass_id=pass_id)
    return sync


async def _check_resumable(connection: AsyncConnection, locked: _LockedShop, parent: Sync) -> UUID:
    """Return the id of the pass to continue. Raises SyncAlreadyRunning or SyncNotResumable."""
    state, shop = parent.state.value, locked.shop.key
    if not parent.state.ended:
        raise SyncAlreadyRunning(shop, parent.sync_id)
    if parent.state is SyncState.SUCCEEDED:
        raise SyncNotResumable(parent.sync_id, state, "it has succeeded", shop=shop)
    values = {"shop_id": locked.shop.shop_id, "sync_id": parent.sync_id}
    found = (await connection.execute(_SELECT_PARENT, values)).first()
    if found is not None and found.empty:
        raise SyncNotResumable(parent.sync_id, state, "it stored nothing", shop=shop)
    if found is None or parent.sync_id != sync_id_of(locked.shop.shop_id, locked.last_sync_number):
        # The end of its pass would take products for missing that a later sync has found.
        raise SyncNotResumable(parent.sync_id, state, "a later sync of the shop was started", shop=shop)
    pass_id: UUID = found.pass_id
    return pass_id
