"""Requests that may be repeated: the same request_id gives the same sync."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import RequestIdReused, SyncAlreadyRunning, SyncNotResumable
from catalog_svc.domain.sync import Sync
from catalog_svc.storage.syncs import find_sync

_FIND_KEY = text("""
    SELECT sync_id, request_hash FROM idempotency_key WHERE request_id = :request_id AND method = :method""")

_KEEP_KEY = text("""
    INSERT INTO idempotency_key (merchant_id, method, request_id, request_hash, sync_id)
    VALUES (:merchant_id, :method, :request_id, :request_hash, :sync_id)""")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """What makes a request repeatable."""

    method: str
    request_id: str
    """Empty: it is not."""
    parts: tuple[str, ...]
    """What must be the same."""

    @property
    def hash(self) -> bytes:
        """Of the parts."""
        return hashlib.blake2b("\n".join(self.parts).encode(), digest_size=16).digest()


async def once(
    connection: AsyncConnection, key: RequestKey, make: Callable[[], Awaitable[Sync | None]]
) -> Sync | None:
    """The sync that the same request made before, or else what `make` gives. Raises RequestIdReused."""
    earlier = await _repeated(connection, key)
    if earlier is not None:
        return earlier
    try:
        return await make()
    except (SyncAlreadyRunning, SyncNotResumable):
        # What stands in the way may be this very request, sent twice at once: it is committed by now.
        earlier = await _repeated(connection, key)
        if earlier is None:
            raise
        return earlier


async def _repeated(connection: AsyncConnection, key: RequestKey) -> Sync | None:
    """The sync that the same request made before. Raises RequestIdReused when it was another request."""
    if not key.request_id:
        return None
    row = (await connection.execute(_FIND_KEY, {"request_id": key.request_id, "method": key.method})).first()
    if row is None:
        return None
    if row.request_hash != key.hash:
        raise RequestIdReused(key.request_id)
    sync_id: UUID = row.sync_id
    return await find_sync(connection, sync_id)


async def keep(connection: AsyncConnection, key: RequestKey, *, merchant_id: UUID, sync_id: UUID) -> None:
    """Remembers which sync the request made, in the transaction that makes it."""
    if key.request_id:
        values = {"method": key.method, "request_id": key.request_id, "request_hash": key.hash}
        await connection.execute(_KEEP_KEY, {**values, "merchant_id": merchant_id, "sync_id": sync_id})
