"""Schema of the database: migrates it to this release, and checks whether this release can run on it.

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
from catalog_svc.storage.database import cause_of, describe
from catalog_svc.storage.lock_budget import lock_budget
from catalog_svc.storage.partitions import create_partitions
from catalog_svc.storage.pooler import MigrationThroughPooler, goes_through_pooler
from catalog_svc.storage.roles import grant_service_role
from catalog_svc.storage.text_search import create_text_indexes, drop_text_indexes

_log = logging.getLogger(__name__)

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_ID: Final = 5_021_977
"""An arbitrary number. With this advisory lock, the only one of the project, two `migrate` commands run one after
the
other; no sync depends on it."""
_LOCK_TIMEOUT: Final = timedelta(minutes=10)
_TABLE_LOCK_BUDGET: Final = timedelta(milliseconds=500)
"""For the lock waits of one transaction: later users of the table wait behind it."""
_BLOCKED_TIMEOUT: Final = timedelta(minutes=2)
_BLOCKED_PAUSE_SECONDS: Final = 1.0
"""Before the next attempt: those who waited behind the last one go first."""
_LOCK_POLL_INTERVAL_SECONDS: Final = 0.5
_SETTING: Final = "CATALOG_DATABASE_URL"


class SchemaOutdated(SettingsError):
    """The database's schema is older than this release needs."""

    def __init__(self, *, found: str | None, needed: str) -> None:
        present = f"the schema is {found}" if found else "there is no schema yet"
        super().__init__(
            (f"{_SETTING}: {present}, this release needs {needed}: run `python -m catalog_svc migrate`",)
        )


class SchemaNotMigratable(SettingsError):
    """The database has a schema from before the baseline."""

    def __init__(self, found: str) -> None:
        super().__init__(
            (
                f"{_SETTING}: the schema {found} is of a preview release, and cannot be migrated: create a new "
                "database, run `python -m catalog_svc migrate` and sync the shops again",
            )
        )


class SchemaTooNew(SettingsError):
    """The database was migrated to a schema on which this release cannot run any more."""

    def __init__(self, *, found: str, min_compatible: str, needed: str) -> None:
        super().__init__(
            (
                f"{_SETTING}: the schema is {found} and needs a release for schema {min_compatible} or newer, "
                f"this one is for {needed}: start a newer release (migrations are not undone; the way back is a "
                "backup from before the migration)",
            )
        )


class MigrationBlocked(SettingsError):
    """The migration needs a lock that another session holds."""

    def __init__(self, problem: str) -> None:
        super().__init__((f"{_SETTING}: {problem}; run `python -m catalog_svc migrate` again",))


async def migrate(
    engine: AsyncEngine,
    *,
    advisory_lock_timeout: timedelta = _LOCK_TIMEOUT,
    table_lock_budget: timedelta = _TABLE_LOCK_BUDGET,
    blocked_timeout: timedelta = _BLOCKED_TIMEOUT,
    text_search: bool = False,
    service_role: str = "",
) -> str:
    """Apply missing migrations and return the schema's version. Concurrent calls run one after the other.

    Args:
        engine: Connections to the database, of the role that owns the tables or shall own them.
        advisory_lock_timeout: How long to wait for another migration.
        table_lock_budget: How long one transaction waits for tables that must be changed, until it is rolled back.
        blocked_timeout: How long such transactions are repeated.
        text_search: Whether the database shall have the indexes for text search: they are created if it has or can
            have their extensions. False: they are dropped.
        service_role: The role with which the service connects; it gets the rights that it needs. Empty: the
            service connects as the owner, and nothing keeps the rows of shops apart.

    Raises:
        MigrationBlocked: Another migration did not end within `advisory_lock_timeout`, or a table that must be
            changed was in use for all of `blocked_timeout`.
        SchemaTooNew: A newer release has migrated the database to a schema that this one cannot run on.
        MigrationThroughPooler: The engine's connections are not sessions of their own.
        ServiceRoleUnusable: The service role does not exist, or lacks what cannot be granted.
    """
    async with engine.connect() as connection:
        if await goes_through_pooler(connection):
            raise MigrationThroughPooler
        await _lock(connection, advisory_lock_timeout)
        try:
            await connection.execute(text("SET statement_timeout = 0"))
            await connection.commit()
            assert connection.sync_connection is not None
            with lock_budget(connection.sync_connection, table_lock_budget):
                await _change_schema(connection, service_role, blocked_timeout)
            await _set_text_search(connection, enabled=text_search)
        finally:
            # Ends the session, and with it the lock and the settings: no other user of the pool may get them.
            await connection.invalidate()
    await check_schema(engine)
    return await schema_version(engine) or ""


async def _change_schema(connection: AsyncConnection, service_role: str, blocked_timeout: timedelta) -> None:
    """Apply what is missing; repeat it while tables are in use. Raises MigrationBlocked."""
    deadline = asyncio.get_running_loop().time() + blocked_timeout.total_seconds()
    while True:
        try:
            # Each migration is committed on its own: a repetition continues with the one that was blocked.
            await connection.run_sync(_upgrade)
            await create_partitions(connection)
            await connection.commit()
            await _grant(connection, service_role)
            await connection.commit()
            return
        except DBAPIError as error:
            await connection.rollback()
            if cause_of(error) is not StorageCause.LOCKED:
                raise
            if asyncio.get_running_loop().time() >= deadline:
                raise MigrationBlocked("a table that must be changed is in use") from error
            _log.warning("a table that must be changed is in use: migrating again", extra=describe(error))
        await asyncio.sleep(_BLOCKED_PAUSE_SECONDS)


async def _grant(connection: AsyncConnection, service_role: str) -> None:
    if service_role:
        await grant_service_role(connection, service_role)
    else:
        _log.warning("CATALOG_SERVICE_ROLE is not set: no other role than the owner of the tables can use them")


async def _set_text_search(connection: AsyncConnection, *, enabled: bool) -> None:
    """Create or drop the indexes for text search, while tables are read and written."""
    # These statements block no reader and no writer while they wait for all older transactions.
    await connection.execute(text("SET lock_timeout = 0"))
    await connection.commit()
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    await (create_text_indexes if enabled else drop_text_indexes)(connection)


async def check_schema(engine: AsyncEngine) -> None:
    """Raise unless this release can run on the database's schema.

    Raises:
        SchemaOutdated: The database lacks migrations of this release.
        SchemaTooNew: A newer release has migrated the database to a schema that this one cannot run on.
    """
    found, needed = await schema_version(engine), _head()
    if found is None or found < needed:
        raise SchemaOutdated(found=found, needed=needed)
    if found == needed:
        return
    min_compatible = await _min_compatible(engine)
    if min_compatible > needed:
        raise SchemaTooNew(found=found, min_compatible=min_compatible, needed=needed)
    _log.info("the schema is newer than this release, and compatible", extra={"schema": found, "release": needed})


async def _lock(connection: AsyncConnection, wait: timedelta) -> None:
    """Take the advisory lock by polling, for up to `wait`. Raises MigrationBlocked.

    A session that waited in one statement would hold a snapshot all the time, and CREATE INDEX CONCURRENTLY in the
    other migration would wait for that snapshot.
    """
    query = text("SELECT pg_try_advisory_lock(:id)")
    try:
        async with asyncio.timeout(wait.total_seconds()):
            while not (await connection.execute(query, {"id": _LOCK_ID})).scalar_one():
                await connection.commit()
                await asyncio.sleep(_LOCK_POLL_INTERVAL_SECONDS)
        await connection.commit()
    except TimeoutError:
        minutes = wait.total_seconds() / 60
        raise MigrationBlocked(f"another migration has been running for {minutes:.0f} minutes") from None


async def schema_version(engine: AsyncEngine) -> str | None:
    """Return the version of the database's schema; None: there is none."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def _min_compatible(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT max(min_compatible) FROM schema_compatibility"))
        return str(found.scalar_one())


def _upgrade(connection: Connection) -> None:
    found = _current(connection)
    # Alembic can leave its transactions, for CREATE INDEX CONCURRENTLY, but not one that was begun outside.
    connection.commit()
    # With the migrations of a newer release, which Alembic does not know, there is nothing to do.
    if found is None or found < _head():
        config = _alembic_config()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise SchemaNotMigratable(found)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str:
    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    assert head is not None
    return head


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
