"""Connection poolers in transaction mode, such as PgBouncer: what differs, and how one is detected.

Each transaction may get another server connection, which other clients use as well. So nothing may stay on a
server connection after a transaction: no named statement, no session setting, no temporary table. `migrate` uses a
session (an advisory lock, timeouts of its own), and so needs a direct connection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from catalogsync_common.settings import SettingsError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.storage.tenant import driver_of

_log = logging.getLogger(__name__)

POOLER_SESSION_SETTINGS: Final = {"application_name": "catalog_svc", "timezone": "UTC"}
"""Session settings that a pooler applies to each server connection that it gives to a transaction."""
POOLER_ARGUMENTS: Final[Mapping[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}
"""Driver arguments behind a pooler: no statement is prepared by name."""
ROLE_SETTINGS: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}
"""Timeouts that the database role must have behind a pooler, which refuses them as start-up parameters; with the
values that docs/operations/database.md recommends."""
UNSUPPORTED_PARAMETER: Final = "unsupported startup parameter"
"""Part of PgBouncer's error message for a start-up parameter that it refuses."""

_POOLED_OPTION: Final = "catalog_pooled"
_SERVER_PID = text("SELECT pg_backend_pid()")
_MISSING_TIMEOUTS = text("SELECT name FROM pg_settings WHERE name = ANY(:names) AND setting = '0' ORDER BY name")


class PoolerFound(SettingsError):
    """There is a pooler between this process and the database, and the settings do not allow one."""

    def __init__(self) -> None:
        super().__init__(
            (
                "CATALOG_DATABASE_URL: leads to a connection pooler: set CATALOG_DATABASE_POOLED=1, and give "
                "`migrate` a direct connection to PostgreSQL in CATALOG_MIGRATE_DATABASE_URL",
            )
        )


class MigrationThroughPooler(SettingsError):
    """`migrate` was run through a pooler."""

    def __init__(self) -> None:
        super().__init__(
            (
                "CATALOG_MIGRATE_DATABASE_URL: `migrate` needs a direct connection to PostgreSQL, and there is a "
                "connection pooler in between: set this variable to the URL of PostgreSQL itself",
            )
        )


def pooled_options(pooled: bool) -> dict[str, Any]:
    """Return the execution options that mark the connections of an engine for `is_pooled`."""
    return {_POOLED_OPTION: pooled}


def is_pooled(connection: AsyncConnection) -> bool:
    """Return whether the engine of the connection was opened for a pooler."""
    return bool(connection.engine.get_execution_options().get(_POOLED_OPTION))


async def goes_through_pooler(connection: AsyncConnection) -> bool:
    """Return whether a pooler is in between: it gives its clients process ids that are not the server's."""
    driver = await driver_of(connection)
    server_pid: int = (await connection.execute(_SERVER_PID)).scalar_one()
    return driver.get_server_pid() != server_pid


async def check_pooler(engine: AsyncEngine, *, pooled: bool) -> None:
    """Check at startup that the settings fit the connection, and warn of timeouts that the role lacks.

    Raises:
        PoolerFound: There is a pooler in between, and `pooled` is false.
    """
    async with engine.connect() as connection:
        if not pooled:
            if await goes_through_pooler(connection):
                raise PoolerFound
            return
        missing = await connection.execute(_MISSING_TIMEOUTS, {"names": list(ROLE_SETTINGS)})
        for name in missing.scalars():
            _log.warning(
                "the database role has no %s: run ALTER ROLE ... SET %s = '%s'", name, name, ROLE_SETTINGS[name]
            )
