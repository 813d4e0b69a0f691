"""The shops that a transaction may see: the tenants of row-level security.

The policies of the tables compare the shop_id of each row with the setting `catalog.shop_ids`. A transaction sets
it by SET LOCAL: it ends with the transaction, so that nothing of it stays on a connection that others use, and
Citus forwards it to its workers, unlike `set_config`. Without it no row is visible.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Final, cast
from uuid import UUID

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

SHOPS_PER_READ: Final = 100
"""Shops that one query reads. A policy reads the list of shops again for each look-up of a join, so that a query
for n shops costs n times n."""

_ALLOWED: Final = "catalog_allowed_shop"
_VISIBLE: Final = "catalog_visible_shops"


def visible_shops(connection: AsyncConnection | Connection) -> str:
    """Return the value of the setting in the connection's transaction."""
    return str(connection.info[_VISIBLE])


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return the driver's own connection. Its `execute` without arguments is a simple query: one round trip."""
    return cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)


def set_shops(connection: AsyncConnection, shops: Collection[UUID], *, allowed: UUID | None) -> str:
    """Return the statement that makes these shops visible, for the beginning of a transaction.

    Args:
        connection: The connection of the transaction.
        shops: The shops that the work asks for.
        allowed: The only shop that may be visible in this transaction, whatever the work asks for; None: any.
    """
    connection.info[_ALLOWED] = allowed
    return _statement(connection, shops)


async def enter_shops(connection: AsyncConnection, shops: Collection[UUID]) -> None:
    """Make these shops visible from now on, and no others, in the middle of a transaction of `Database`.

    Not within a savepoint, whose rollback would undo it.
    """
    if connection.info[_VISIBLE] != _visible(connection, shops):
        await (await driver_of(connection)).execute(_statement(connection, shops))


async def each_visible(connection: AsyncConnection, shops: Collection[UUID]) -> AsyncIterator[list[UUID]]:
    """Yield these shops, a hundred at a time, while they and no others are visible."""
    ids = list(shops)
    for start in range(0, len(ids), SHOPS_PER_READ):
        some = ids[start : start + SHOPS_PER_READ]
        await enter_shops(connection, some)
        yield some


def _statement(connection: AsyncConnection, shops: Collection[UUID]) -> str:
    visible = _visible(connection, shops)
    connection.info[_VISIBLE] = visible
    return f"SET LOCAL catalog.shop_ids = '{visible}'"


def _visible(connection: AsyncConnection, shops: Collection[UUID]) -> str:
    """Return the value of the setting. It is formatted from ids, never from a caller's text."""
    allowed: UUID | None = connection.info[_ALLOWED]
    return ",".join(str(UUID(int=shop.int)) for shop in (shops if allowed is None else (allowed,)))
