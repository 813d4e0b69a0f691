"""Commands for syncs: start, cancel, resume. One active sync per shop, and one sync per request_id.

A repeated request, one with a request_id that was used before, answers with the sync that the first one created
(idempotency key). The key is saved in the transaction that creates the sync.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.errors import (
    RequestIdReused,
    StorageCause,
    StorageUnavailable,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotResumable,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import ShopScope, register_shop
from catalog_svc.storage.syncs import SYNC_COLUMNS, find_sync, to_sync

_MAX_ATTEMPTS: Final = 10
"""Attempts that find an active sync which has ended a moment later: one is rare, so many are a fault."""

_COUNTS: Final = ("seen", "created", "updated", "unchanged", "deleted", "set_aside")
_INHERITED_COLUMNS: Final = (
    *(f"{kind}_{count}" for kind in ("products", "items") for count in _COUNTS),
    "issue_count",
    "estimated_product_count",
    "estimated_item_count",
)
"""Columns whose values a resumed sync takes over from its parent."""

# The partial unique index decides the race between two starts, not a SELECT.
_INSERT = text(f"""
    INSERT INTO sync (merchant_id, sync_id, shop_id, state, mode, trigger, allow_mass_delete, correlation_id,
                      updated_after, pass_id)
    VALUES (:merchant_id, :sync_id, :shop_id, 'PENDING', :mode, :trigger, :allow_mass_delete, :correlation_id,
            :updated_after, :sync_id)
    ON CONFLICT (merchant_id, shop_id) WHERE state IN ('PENDING', 'RUNNING') DO NOTHING
    RETURNING {SYNC_COLUMNS}""")

_SELECT_ACTIVE = text("""
    SELECT sync_id FROM sync
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND state IN ('PENDING', 'RUNNING')""")

_CANCEL = text(f"""
    UPDATE sync SET state = 'CANCELLED', epoch = epoch + 1, revision = revision + 1, lease_until = NULL,
        owner = NULL, updated_at = clock_timestamp(), ended_at = clock_timestamp(), waiting_reason = NULL,
        items_per_second = NULL
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND state IN ('PENDING', 'RUNNING')
    RETURNING {SYNC_COLUMNS}""")

# Continues where the parent stopped: with its checkpoint, its counts and its pass.
_RESUME = text(f"""
    INSERT INTO sync (merchant_id, sync_id, shop_id, state, mode, trigger, allow_mass_delete, correlation_id,
        updated_after, pass_id, parent_sync_id, checkpoint, watermark, {", ".join(_INHERITED_COLUMNS)})
    SELECT merchant_id, :new_id, shop_id, 'PENDING', mode, 'RESUME', allow_mass_delete, :correlation_id,
        updated_after, pass_id, sync_id, checkpoint, watermark, {", ".join(_INHERITED_COLUMNS)}
    FROM sync WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND state IN ('FAILED', 'CANCELLED')
    ON CONFLICT (merchant_id, shop_id) WHERE state IN ('PENDING', 'RUNNING') DO NOTHING
    RETURNING {SYNC_COLUMNS}""")

_SELECT_RESUMABILITY = text("""
    SELECT parent.checkpoint = '' AS empty, EXISTS (
        SELECT FROM sync AS later WHERE later.merchant_id = parent.merchant_id AND later.shop_id = parent.shop_id
            AND later.sync_id <> parent.sync_id AND later.created_at >= parent.created_at) AS superseded
    FROM sync AS parent WHERE parent.merchant_id = :merchant_id AND parent.sync_id = :sync_id""")

_SELECT_KEY = text("""
    SELECT sync_id, request_hash FROM idempotency_key WHERE request_id = :request_id AND method = :method""")

_INSERT_KEY = text("""
    INSERT INTO idempotency_key (merchant_id, method, request_id, request_hash, sync_id)
    VALUES (:merchant_id, :method, :request_id, :request_hash, :sync_id)""")


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """Identifies a request that may be repeated."""

    method: str
    request_id: str
    """Empty: the request cannot be repeated."""
    parameters: tuple[str, ...]
    """Parameters that a repeated request must have in common with the first one."""

    @property
    def request_hash(self) -> bytes:
        """Hash of the parameters, 16 bytes."""
        return hashlib.blake2b("\n".join(self.parameters).encode(), digest_size=16).digest()


class SyncCommandStore:
    """Starts, cancels and resumes syncs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, command: StartSyncCommand) -> Sync:
        """Return the new PENDING sync, or the one that the same request_id started before.

        Raises:
            SyncAlreadyRunning: The shop has an active sync.
            RequestIdReused: The request_id was used with other parameters.
        """
        key = IdempotencyKey(
            method="StartSync",
            request_id=command.request_id,
            parameters=(str(command.shop), command.mode.value, str(command.allow_mass_delete)),
        )
        return await self._get_or_create(key, lambda connection: _start(connection, command, key))

    async def cancel(self, sync_id: UUID) -> Sync:
        """End the sync on whatever replica it runs: its lease is void from now on. Repeating the call changes
        nothing.

        Raises:
            SyncNotFound: There is no such sync.
            SyncNotCancellable: The sync has succeeded or failed.
        """
        return await self._database.write(lambda connection: _cancel(connection, sync_id))

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """Return a new PENDING sync that continues where this one stopped.

        Raises:
            SyncNotFound: There is no such sync.
            SyncNotResumable: There is nothing to continue from, or continuing would be wrong.
            SyncAlreadyRunning: The shop has an active sync.
            RequestIdReused: The request_id was used with other parameters.
        """
        key = IdempotencyKey(method="ResumeSync", request_id=request_id, parameters=(str(sync_id),))
        return await self._get_or_create(key, lambda connection: _resume(connection, sync_id, key, correlation_id))

    async def _get_or_create(
        self, key: IdempotencyKey, create: Callable[[AsyncConnection], Awaitable[Sync | None]]
    ) -> Sync:
        """Return the sync of the key, or what `create` returns; retry while that is None.

        Raises StorageUnavailable when it stays None.
        """
        for _ in range(_MAX_ATTEMPTS):
            sync = await self._database.write(
                lambda connection: _get_or_create(connection, key, lambda: create(connection))
            )
            if sync is not None:
                return sync
        raise StorageUnavailable(cause=StorageCause.CONFLICT)


async def _get_or_create(
    connection: AsyncConnection, key: IdempotencyKey, create: Callable[[], Awaitable[Sync | None]]
) -> Sync | None:
    """Return the sync that the same request created before, or else what `create` returns.

    Raises RequestIdReused.
    """
    earlier = await _find_by_key(connection, key)
    if earlier is not None:
        return earlier
    try:
        return await create()
    except (SyncAlreadyRunning, SyncNotResumable):
        # The active sync may be that of this very request, sent twice at once: it is committed by now.
        earlier = await _find_by_key(connection, key)
        if earlier is None:
            raise
        return earlier


async def _find_by_key(connection: AsyncConnection, key: IdempotencyKey) -> Sync | None:
    """Return the sync that the same request created before. Raises RequestIdReused when it was another request."""
    if not key.request_id:
        return None
    values = {"request_id": key.request_id, "method": key.method}
    row = (await connection.execute(_SELECT_KEY, values)).first()
    if row is None:
        return None
    if row.request_hash != key.request_hash:
        raise RequestIdReused(key.request_id)
    sync_id: UUID = row.sync_id
    return await find_sync(connection, sync_id)


async def _save_key(connection: AsyncConnection, key: IdempotencyKey, *, merchant_id: UUID, sync_id: UUID) -> None:
    """Save which sync the request created, in the transaction that creates it."""
    if key.request_id:
        values = {"method": key.method, "request_id": key.request_id, "request_hash": key.request_hash}
        await connection.execute(_INSERT_KEY, {**values, "merchant_id": merchant_id, "sync_id": sync_id})


async def _start(connection: AsyncConnection, command: StartSyncCommand, key: IdempotencyKey) -> Sync | None:
    """Create the sync; None when the sync that prevented it has ended since: try again."""
    shop = await register_shop(connection, command.shop)
    row = (await connection.execute(_INSERT, _start_values(command, shop))).mappings().first()
    if row is None:
        await _check_no_active_sync(connection, shop)
        return None
    await _save_key(connection, key, merchant_id=shop.merchant_id, sync_id=row["sync_id"])
    return to_sync(row, shop)


def _start_values(command: StartSyncCommand, shop: Shop) -> dict[str, object]:
    incremental = command.mode is SyncMode.INCREMENTAL and shop.watermark is not None
    return {
        **ShopScope.of(shop).values,
        "sync_id": uuid7(),
        "mode": (SyncMode.INCREMENTAL if incremental else SyncMode.FULL).value,
        "trigger": command.trigger.value,
        "allow_mass_delete": command.allow_mass_delete,
        "correlation_id": command.correlation_id,
        "updated_after": shop.watermark - command.overlap if incremental and shop.watermark else None,
    }


async def _check_no_active_sync(connection: AsyncConnection, shop: Shop) -> None:
    """Raise SyncAlreadyRunning if the shop has an active sync."""
    active = (await connection.execute(_SELECT_ACTIVE, ShopScope.of(shop).values)).scalar()
    if active is not None:
        raise SyncAlreadyRunning(shop.key, active)


async def _cancel(connection: AsyncConnection, sync_id: UUID) -> Sync:
    sync = await find_sync(connection, sync_id)
    values = {"merchant_id": sync.shop.merchant_id, "sync_id": sync_id}
    row = (await connection.execute(_CANCEL, values)).mappings().first()
    if row is not None:
        return to_sync(row, sync.shop)
    # The sync has ended, perhaps a moment ago.
    sync = await find_sync(connection, sync_id)
    if sync.state is SyncState.CANCELLED:
        return sync
    raise SyncNotCancellable(sync_id, sync.state.value)


async def _resume(
    connection: AsyncConnection, sync_id: UUID, key: IdempotencyKey, correlation_id: str
) -> Sync | None:
    """Create the resuming sync; None when the sync that prevented it has ended since: try again."""
    parent = await find_sync(connection, sync_id)
    parent_key = {"merchant_id": parent.shop.merchant_id, "sync_id": sync_id}
    await _check_resumable(connection, parent, parent_key)
    values = {**parent_key, "new_id": uuid7(), "correlation_id": correlation_id}
    row = (await connection.execute(_RESUME, values)).mappings().first()
    if row is None:
        await _check_no_active_sync(connection, parent.shop)
        return None
    await _save_key(connection, key, merchant_id=parent.shop.merchant_id, sync_id=row["sync_id"])
    return to_sync(row, parent.shop)


async def _check_resumable(connection: AsyncConnection, parent: Sync, parent_key: Mapping[str, object]) -> None:
    """Raise SyncAlreadyRunning or SyncNotResumable unless the sync can be resumed."""
    state = parent.state.value
    if not parent.state.ended:
        raise SyncAlreadyRunning(parent.shop.key, parent.sync_id)
    if parent.state is SyncState.SUCCEEDED:
        raise SyncNotResumable(parent.sync_id, state, "it has succeeded", shop=parent.shop.key)
    found = (await connection.execute(_SELECT_RESUMABILITY, dict(parent_key))).one()
    if found.empty:
        raise SyncNotResumable(parent.sync_id, state, "it stored nothing", shop=parent.shop.key)
    if found.superseded:
        # The end of its pass would take products for missing that a later sync has found.
        raise SyncNotResumable(parent.sync_id, state, "a later sync of the shop was started", shop=parent.shop.key)
