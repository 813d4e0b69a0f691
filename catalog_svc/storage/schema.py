"""Brings the database's schema to this release, and tells whether this release can run on it.

Releases differ by the schema that they need, the head of their migrations: "0004". A release runs on that schema
and on newer ones that are compatible with it, so that replicas of two releases run side by side while one replaces
the other, and an older release can be started again. The database itself says which those are: `min_compatible`
is the schema of the oldest release that may run on it. Migrations only add (expand), and leave it as it is. One
that takes away what an older release reads or writes (contract) raises it, and comes at least one release later.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from catalogsync_common.settings import SettingsError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import StorageCause
from catalog_svc.storage.database import cause_of

_log = logging.getLogger(__name__)

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 5_021_977
"""Any number of ours: two `migrate` commands at once take turns. The one advisory lock of the project; no sync
depends on it."""
_LOCK_PATIENCE: Final = timedelta(minutes=10)
_TABLE_PATIENCE: Final = timedelta(seconds=10)
_LOCK_POLL_SECONDS: Final = 0.5
_VARIABLE: Final = "CATALOG_DATABASE_URL"


class SchemaOutdated(SettingsError):
    """The database's schema is older than this release needs."""

    def __init__(self, *, found: str | None, needed: str) -> None:
        there = f"the schema is {found}" if found else "there is no schema yet"
        super().__init__(
            (f"{_VARIABLE}: {there}, this release needs {needed}: run `python -m catalog_svc migrate`",)
        )


class SchemaTooNew(SettingsError):
    """The database was migrated to a schema on which this release cannot run any more."""

    def __init__(self, *, found: str, min_compatible: str, needed: str) -> None:
        super().__init__(
            (
                f"{_VARIABLE}: the schema is {found} and needs a release for schema {min_compatible} or newer, "
                f"this one is for {needed}: start a newer release (migrations are not undone; the way back is a "
                "backup from before the migration)",
            )
        )


class MigrationBlocked(SettingsError):
    """Something else holds what the migration needs."""

    def __init__(self, what: str) -> None:
        super().__init__((f"{_VARIABLE}: {what}; run `python -m catalog_svc migrate` again",))


async def migrate(
    engine: AsyncEngine, *, lock_patience: timedelta = _LOCK_PATIENCE, table_patience: timedelta = _TABLE_PATIENCE
) -> str:
    """Apply what is missing and return the schema's version; several may call it at once, and take turns.

    Raises:
        MigrationBlocked: Another migration did not end within `lock_patience`, or a table that must be changed
            stayed locked for `table_patience`: whoever waits for longer holds up all that comes after.
        SchemaTooNew: A newer release has migrated the database already, and left this one behind.
    """
    async with engine.connect() as connection:
        await _lock(connection, lock_patience)
        try:
            milliseconds = round(table_patience.total_seconds() * 1000)
            await connection.execute(text(f"SET lock_timeout = {milliseconds}"))
            await connection.execute(text("SET statement_timeout = 0"))
            await connection.commit()
            await connection.run_sync(_upgrade)
            await connection.commit()
        except DBAPIError as error:
            if cause_of(error) is StorageCause.LOCKED:
                raise MigrationBlocked("a table that must be changed is in use") from error
            raise
        finally:
            # Ends the session, and with it the lock and settings that the pool must not hand to somebody else.
            await connection.invalidate()
    await check_schema(engine)
    return await _version(engine) or ""


async def check_schema(engine: AsyncEngine) -> None:
    """Return when this release can run on the database's schema.

    Raises:
        SchemaOutdated: It lacks migrations of this release.
        SchemaTooNew: It has migrations of a newer release that leave this one behind.
    """
    found, needed = await _version(engine), _head()
    if found is None or found < needed:
        raise SchemaOutdated(found=found, needed=needed)
    if found == needed:
        return
    min_compatible = await _min_compatible(engine)
    if min_compatible > needed:
        raise SchemaTooNew(found=found, min_compatible=min_compatible, needed=needed)
    _log.info("the schema is newer than this release, and compatible", extra={"schema": found, "release": needed})


async def _lock(connection: AsyncConnection, patience: timedelta) -> None:
    """Take the advisory lock.

    By polling: a session that waits in one statement holds a snapshot all the while, for which CREATE INDEX
    CONCURRENTLY in the other migration would wait in turn.
    """
    query = text("SELECT pg_try_advisory_lock(:id)")
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while not (await connection.execute(query, {"id": _LOCK})).scalar_one():
                await connection.commit()
                await asyncio.sleep(_LOCK_POLL_SECONDS)
        await connection.commit()
    except TimeoutError:
        minutes = patience.total_seconds() / 60
        raise MigrationBlocked(f"another migration has been running for {minutes:.0f} minutes") from None


async def _version(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def _min_compatible(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT max(min_compatible) FROM schema_compatibility"))
        return str(found.scalar_one())


def _upgrade(connection: Connection) -> None:
    found = _current(connection)
    # Alembic does not know the migrations of a newer release.
    if found is None or found < _head():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
