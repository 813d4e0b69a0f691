"""The key that authenticates page tokens. The migration that creates its table draws it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.storage.database import Database

_SELECT: Final = text("SELECT key FROM page_token_key")


async def load_page_token_key(database: Database) -> bytes:
    """Return the key, 32 bytes. Raises StorageUnavailable."""

    async def read(connection: AsyncConnection) -> bytes:
        key: bytes = (await connection.execute(_SELECT)).scalar_one()
        return key

    return await database.read(read)
