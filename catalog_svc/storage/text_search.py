"""Text search: trigram indexes on the titles of products and items, where the database has the extensions.

An index has the shop and the title: `gin (shop_id, title gin_trgm_ops)`. GIN intersects the rows of the shop with
those of each trigram and skips in the longer lists, so that a search reads neither the matches of other shops nor
the other rows of its shop. The operator class for the shop is in `btree_gin`, that for the title in `pg_trgm`.

The indexes are no part of the migrations, since a database may have the extensions or not: each `migrate` creates
what is missing as soon as it can.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import TextSearchUnavailable

_log = logging.getLogger(__name__)

EXTENSIONS: Final = ("pg_trgm", "btree_gin")
INDEXES: Final = {
    "product_title_trgm": "product USING gin (shop_id, title gin_trgm_ops)",
    "item_title_trgm": "item USING gin (shop_id, title gin_trgm_ops)",
}
"""By name, what is indexed."""

_SELECT_INSTALLED = text("SELECT extname FROM pg_extension WHERE extname = ANY(:names)")

_SELECT_AVAILABLE = text("SELECT name FROM pg_available_extensions WHERE name = ANY(:names)")

_SELECT_INDEXES = text("""
    SELECT pg_class.relname AS name, pg_index.indisvalid AS valid FROM pg_class
    JOIN pg_index ON pg_index.indexrelid = pg_class.oid
    WHERE pg_class.relname = ANY(:names) AND pg_class.relnamespace = CAST(current_schema() AS regnamespace)""")


def like_pattern(part: str) -> str:
    """Return the pattern of LIKE for texts that contain `part`."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", part) + "%"


async def require_text_search(connection: AsyncConnection) -> None:
    """Raise TextSearchUnavailable, which names what is missing, unless both indexes can be used."""
    indexes = await _indexes(connection)
    if all(indexes.get(name) for name in INDEXES):
        return
    missing = await _not_installed(connection)
    incomplete = "its trigram indexes are missing or not complete"
    problem = f"it lacks {' and '.join(missing)}" if missing else incomplete
    raise TextSearchUnavailable(f"{problem}, run `migrate` with CATALOG_TEXT_SEARCH=1")


async def create_text_indexes(connection: AsyncConnection) -> None:
    """Create the missing indexes, and the extensions if that is possible; log what is missing otherwise.

    Tables may be read and written meanwhile. An index whose creation was interrupted is created anew.

    Args:
        connection: In autocommit mode, since CREATE INDEX CONCURRENTLY needs it; without timeouts.
    """
    if not await _create_extensions(connection):
        return
    indexes = await _indexes(connection)
    try:
        for name, columns in INDEXES.items():
            if not indexes.get(name):
                if name in indexes:
                    await connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
                _log.info("creating the index %s for text search", name)
                await connection.execute(text(f"CREATE INDEX CONCURRENTLY {name} ON {columns}"))
    except DBAPIError as error:
        _log.warning("no text search: cannot create an index: %s", error.orig)


async def drop_text_indexes(connection: AsyncConnection) -> None:
    """Drop the indexes, if there are any.

    Args:
        connection: In autocommit mode; without timeouts.
    """
    for name in await _indexes(connection):
        _log.info("dropping the index %s for text search", name)
        await connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))


async def _create_extensions(connection: AsyncConnection) -> bool:
    """Create the missing extensions; return whether all exist."""
    missing = await _not_installed(connection)
    available = set((await connection.execute(_SELECT_AVAILABLE, {"names": list(EXTENSIONS)})).scalars())
    for name in missing:
        if name not in available:
            _log.warning("no text search: the database server does not have the extension %s", name)
            return False
        try:
            await connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {name}"))
        except DBAPIError as error:
            _log.warning("no text search: cannot create the extension %s: %s", name, error.orig)
            return False
    return True


async def _not_installed(connection: AsyncConnection) -> list[str]:
    found = set((await connection.execute(_SELECT_INSTALLED, {"names": list(EXTENSIONS)})).scalars())
    return [name for name in EXTENSIONS if name not in found]


async def _indexes(connection: AsyncConnection) -> dict[str, bool]:
    """Return which of the indexes exist, and whether each can be used."""
    rows = (await connection.execute(_SELECT_INDEXES, {"names": list(INDEXES)})).mappings()
    return {row["name"]: row["valid"] for row in rows}
