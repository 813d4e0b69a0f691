"""Ordering syncs: one active sync per shop, one sync per request_id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.errors import (
    StorageCause,
    StorageUnavailable,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotResumable,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import StartSyncCommand, Sync, SyncMode, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.idempotency import RequestKey, keep, once
from catalog_svc.storage.rows import SYNC_COLUMNS, to_sync
from catalog_svc.storage.shops import register_shop
from catalog_svc.storage.syncs import find_sync

_MAX_ENCOUNTERS = 10
"""With an active sync that has ended when it is looked at: one is rare, so many are a fault."""

_COUNTS = ("seen", "created", "updated", "unchanged", "deleted", "set_aside")


_CARRIED = (
    *(f"{kind}_{what}" for kind in ("products", "items") for what in _COUNTS),
    "issue_count",
    "estimated_product_count",
    "estimated_item_count",
)

# The partial unique index decides the race between two starts, not a SELECT.
_INSERT = text(f"""
    INSERT INTO sync (merchant_id, sync_id, shop_id, state, mode, trigger, allow_mass_delete, correlation_id,
                      updated_after, pass_id)
    VALUES (:merchant_id, :sync_id, :shop_id, 'PENDING', :mode, :trigger, :allow_mass_delete, :correlation_id,
            :updated_after, :sync_id)
    ON CONFLICT (merchant_id, shop_id) WHERE state IN ('PENDING', 'RUNNING') DO NOTHING
    RETURNING {SYNC_COLUMNS}""")

_ACTIVE = text("""
    SELECT sync_id FROM sync
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND state IN ('PENDING', 'RUNNING')""")


_CANCEL = text(f"""
    UPDATE sync SET state = 'CANCELLED', epoch = epoch + 1, revision = revision + 1, lease_until = NULL,
        owner = NULL, updated_at = clock_timestamp(), ended_at = clock_timestamp(), waiting_reason = NULL,
        items_per_second = NULL
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND state IN ('PENDING', 'RUNNING')
    RETURNING {SYNC_COLUMNS}""")

# Goes on where the parent stopped: its checkpoint, its counts, its pass.
_RESUME = text(f"""
    INSERT INTO sync (merchant_id, sync_id, shop_id, state, mode, trigger, allow_mass_delete, correlation_id,
        updated_after, pass_id, parent_sync_id, checkpoint, watermark, {", ".join(_CARRIED)})
    SELECT merchant_id, :new_id, shop_id, 'PENDING', mode, 'RESUME', allow_mass_delete, :correlation_id,
        updated_after, pass_id, sync_id, checkpoint, watermark, {", ".join(_CARRIED)}
    FROM sync WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND state IN ('FAILED', 'CANCELLED')
    ON CONFLICT (merchant_id, shop_id) WHERE state IN ('PENDING', 'RUNNING') DO NOTHING
    RETURNING {SYNC_COLUMNS}""")

_RESUMABILITY = text("""
    SELECT parent.checkpoint = '' AS empty, EXISTS (
        SELECT FROM sync AS later WHERE later.merchant_id = parent.merchant_id AND later.shop_id = parent.shop_id
            AND later.sync_id <> parent.sync_id AND later.created_at >= parent.created_at) AS overtaken
    FROM sync AS parent WHERE parent.merchant_id = :merchant_id AND parent.sync_id = :sync_id""")


class SyncCommandStore:
    """Takes orders for syncs: start, cancel, resume."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, order: StartSyncCommand) -> Sync:
        """The new PENDING sync, or the one that the same request_id started before.

        Raises SyncAlreadyRunning, RequestIdReused.
        """
        key = _key_of(order)
        return await self._make_once(key, lambda connection: _start(connection, order, key))

    async def cancel(self, sync_id: UUID) -> Sync:
        """Ends the sync for whoever runs it: its lease is void from now on. Once more is the same again.

        Raises SyncNotFound, SyncNotCancellable.
        """
        return await self._database.write(lambda connection: _cancel(connection, sync_id))

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """A new PENDING sync that goes on where this one stopped.

        Raises SyncNotFound, SyncNotResumable, SyncAlreadyRunning, RequestIdReused.
        """
        key = RequestKey(method="ResumeSync", request_id=request_id, parts=(str(sync_id),))
        return await self._make_once(key, lambda connection: _resume(connection, sync_id, key, correlation_id))

    async def _make_once(self, key: RequestKey, make: Callable[[AsyncConnection], Awaitable[Sync | None]]) -> Sync:
        """What `make` gives, again while it meets an active sync that ends in the same moment.

        Raises StorageUnavailable when that happens again and again.
        """
        for _ in range(_MAX_ENCOUNTERS):
            sync = await self._database.write(lambda connection: once(connection, key, lambda: make(connection)))
            if sync is not None:
                return sync
        raise StorageUnavailable(cause=StorageCause.CONFLICT)


async def _cancel(connection: AsyncConnection, sync_id: UUID) -> Sync:
    sync = await find_sync(connection, sync_id)
    values = {"merchant_id": sync.shop.merchant_id, "sync_id": sync_id}
    row = (await connection.execute(_CANCEL, values)).mappings().first()
    if row is not None:
        return to_sync(row, sync.shop)
    # It has ended, maybe just now.
    sync = await find_sync(connection, sync_id)
    if sync.state is SyncState.CANCELLED:
        return sync
    raise SyncNotCancellable(sync_id, sync.state.value)


async def _resume(connection: AsyncConnection, sync_id: UUID, key: RequestKey, correlation_id: str) -> Sync | None:
    parent = await find_sync(connection, sync_id)
    values: dict[str, object] = {
        "merchant_id": parent.shop.merchant_id,
        "shop_id": parent.shop.shop_id,
        "sync_id": sync_id,
    }
    await _check_resumable(connection, parent, values)
    fresh = {**values, "new_id": uuid7(), "correlation_id": correlation_id}
    row = (await connection.execute(_RESUME, fresh)).mappings().first()
    if row is None:
        await _refuse_second(connection, parent.shop, values)
        return None
    await keep(connection, key, merchant_id=parent.shop.merchant_id, sync_id=row["sync_id"])
    return to_sync(row, parent.shop)


async def _check_resumable(connection: AsyncConnection, parent: Sync, values: dict[str, object]) -> None:
    state = parent.state.value
    if not parent.state.ended:
        raise SyncAlreadyRunning(parent.shop.key, parent.sync_id)
    if parent.state is SyncState.SUCCEEDED:
        raise SyncNotResumable(parent.sync_id, state, "it has succeeded", shop=parent.shop.key)
    found = (await connection.execute(_RESUMABILITY, values)).one()
    if found.empty:
        raise SyncNotResumable(parent.sync_id, state, "it stored nothing", shop=parent.shop.key)
    if found.overtaken:
        # Its pass would take for gone what a later sync has found since.
        raise SyncNotResumable(parent.sync_id, state, "the shop was synced again since", shop=parent.shop.key)


async def _refuse_second(connection: AsyncConnection, shop: Shop, values: dict[str, object]) -> None:
    """Raises SyncAlreadyRunning; returns when the active sync has ended meanwhile: try again."""
    active = (await connection.execute(_ACTIVE, values)).scalar()
    if active is not None:
        raise SyncAlreadyRunning(shop.key, active)


async def _start(connection: AsyncConnection, order: StartSyncCommand, key: RequestKey) -> Sync | None:
    shop = await register_shop(connection, order.shop)
    values = _values(order, shop)
    row = (await connection.execute(_INSERT, values)).mappings().first()
    if row is None:
        await _refuse_second(connection, shop, values)
        return None
    await keep(connection, key, merchant_id=shop.merchant_id, sync_id=row["sync_id"])
    return to_sync(row, shop)


def _values(order: StartSyncCommand, shop: Shop) -> dict[str, object]:
    incremental = order.mode is SyncMode.INCREMENTAL and shop.watermark is not None
    return {
        "merchant_id": shop.merchant_id,
        "shop_id": shop.shop_id,
        "sync_id": uuid7(),
        "mode": (SyncMode.INCREMENTAL if incremental else SyncMode.FULL).value,
        "trigger": order.trigger.value,
        "allow_mass_delete": order.allow_mass_delete,
        "correlation_id": order.correlation_id,
        "updated_after": shop.watermark - order.overlap if incremental and shop.watermark else None,
    }


def _key_of(order: StartSyncCommand) -> RequestKey:
    parts = (str(order.shop), order.mode.value, str(order.allow_mass_delete))
    return RequestKey(method="StartSync", request_id=order.request_id, parts=parts)
