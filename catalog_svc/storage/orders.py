"""Ordering syncs: one active sync per shop, one sync per request_id."""

from __future__ import annotations

import hashlib
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.errors import RequestIdReused, SyncAlreadyRunning
from catalog_svc.domain.order import SyncOrder
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import Sync, SyncMode
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SYNC_COLUMNS, to_sync
from catalog_svc.storage.shops import register_shop
from catalog_svc.storage.syncs import find_sync

_FIND_KEY = text("""
    SELECT sync_id, request_hash FROM idempotency_key WHERE request_id = :request_id AND method = 'StartSync'""")

_KEEP_KEY = text("""
    INSERT INTO idempotency_key (merchant_id, method, request_id, request_hash, sync_id)
    VALUES (:merchant_id, 'StartSync', :request_id, :request_hash, :sync_id)""")

# The partial unique index decides the race between two starts, not a SELECT.
_INSERT = text(f"""
    INSERT INTO sync (merchant_id, sync_id, shop_id, state, mode, trigger, allow_mass_delete, correlation_id,
                      updated_after)
    VALUES (:merchant_id, :sync_id, :shop_id, 'PENDING', :mode, :trigger, :allow_mass_delete, :correlation_id,
            :updated_after)
    ON CONFLICT (merchant_id, shop_id) WHERE state IN ('PENDING', 'RUNNING') DO NOTHING
    RETURNING {SYNC_COLUMNS}""")

_ACTIVE = text("""
    SELECT sync_id FROM sync
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND state IN ('PENDING', 'RUNNING')""")


class OrderStore:
    """Takes orders for syncs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, order: SyncOrder) -> Sync:
        """The new PENDING sync, or the one that the same request_id started before.

        Raises SyncAlreadyRunning, RequestIdReused.
        """
        while True:
            sync = await self._database.transaction(lambda connection: _start(connection, order))
            if sync is not None:
                return sync


async def _start(connection: AsyncConnection, order: SyncOrder) -> Sync | None:
    if order.request_id:
        repeated = await _repeated(connection, order)
        if repeated is not None:
            return repeated
    shop = await register_shop(connection, order.shop)
    values = _values(order, shop)
    row = (await connection.execute(_INSERT, values)).mappings().first()
    if row is None:
        active = (await connection.execute(_ACTIVE, values)).scalar()
        if active is None:
            # It ended between the two statements: try again.
            return None
        raise SyncAlreadyRunning(order.shop, active)
    if order.request_id:
        key = {**values, "request_id": order.request_id, "request_hash": _hash(order)}
        await connection.execute(_KEEP_KEY, key)
    return to_sync(row, shop)


def _values(order: SyncOrder, shop: Shop) -> dict[str, object]:
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


async def _repeated(connection: AsyncConnection, order: SyncOrder) -> Sync | None:
    row = (await connection.execute(_FIND_KEY, {"request_id": order.request_id})).first()
    if row is None:
        return None
    if row.request_hash != _hash(order):
        raise RequestIdReused(order.request_id)
    sync_id: UUID = row.sync_id
    return await find_sync(connection, sync_id)


def _hash(order: SyncOrder) -> bytes:
    parts = (str(order.shop), order.mode.value, str(order.allow_mass_delete))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()
