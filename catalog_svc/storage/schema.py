"""Brings the database's schema to this version, and tells whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.settings import SettingsError

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 5_021_977
"""Any number of ours: two `migrate` commands at once take turns. The one advisory lock of the project; no sync
depends on it."""


class SchemaOutdated(SettingsError):
    """The database has another schema than this version needs."""

    def __init__(self, *, found: str | None, needed: str | None) -> None:
        super().__init__(
            (
                f"CATALOG_DATABASE_URL: the schema there is at {found or 'nothing'}, this version needs {needed}: "
                "run `python -m catalog_svc migrate`",
            )
        )


async def migrate(engine: AsyncEngine) -> str:
    """Applies what is missing and returns the schema's version; several may call it at once."""
    async with engine.connect() as connection:
        await connection.execute(text("SET lock_timeout = '10s'"))
        await connection.execute(text("SET statement_timeout = 0"))
        await connection.execute(text("SELECT pg_advisory_lock(:id)"), {"id": _LOCK})
        await connection.commit()
        try:
            await connection.run_sync(_upgrade)
            await connection.commit()
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:id)"), {"id": _LOCK})
            await connection.commit()
            # The pool must not hand these settings to somebody else.
            await connection.invalidate()
    return await _found(engine) or ""


async def check_schema(engine: AsyncEngine) -> None:
    """Raises SchemaOutdated unless the schema is the one that this version needs."""
    found, needed = await _found(engine), ScriptDirectory.from_config(_config()).get_current_head()
    if found != needed:
        raise SchemaOutdated(found=found, needed=needed)


async def _found(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
