"""Migrations create exactly the tables that the code uses, and may be run by several processes at any time."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage import schema
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.lock_budget import lock_budget
from catalog_svc.storage.partitions import PARTITIONED_TABLES
from catalog_svc.storage.schema import (
    MigrationBlocked,
    SchemaNotMigratable,
    SchemaOutdated,
    SchemaTooNew,
    check_schema,
    migrate,
)
from catalog_svc.storage.tables import metadata
from catalog_svc.storage.text_search import INDEXES
from tests.waiting import until, until_found


@pytest.fixture
def database_url(owner_database_url: str) -> str:
    """Return the URL of a new database as its owner; `migrate` never goes through a pooler."""
    return owner_database_url


async def test_migrations_create_the_tables_that_the_code_declares(database_url: str) -> None:
    engine = open_engine(database_url)

    def differences(connection: Connection) -> list[object]:
        options = {"include_name": lambda name, kind, _parents: is_declared(name, kind)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def is_declared(name: str | None, kind: str) -> bool:
    """Return whether it is part of the schema, unlike partitions and the indexes that not every database has."""
    is_partition = any((name or "").startswith(f"{table}_") for table in PARTITIONED_TABLES)
    return name not in INDEXES and not (kind == "table" and is_partition)


async def test_two_replicas_may_migrate_concurrently(empty_database_url: str) -> None:
    engines = [open_engine(empty_database_url) for _ in range(2)]
    versions = await asyncio.gather(*(migrate(engine) for engine in engines))
    assert versions[0] == versions[1] != ""
    for engine in engines:
        await check_schema(engine)
        await engine.dispose()


async def test_a_second_migration_waits_for_the_first_beyond_any_lock_timeout(empty_database_url: str) -> None:
    """Longer than any lock timeout of a session."""
    engine = open_engine(empty_database_url)
    async with engine.connect() as first:
        await first.execute(text("SELECT pg_advisory_lock(5021977)"))
        await first.commit()
        second = asyncio.create_task(migrate(engine))
        # It neither fails nor holds a snapshot, for which CREATE INDEX CONCURRENTLY would wait.
        idle = text("""
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND state = 'idle' AND query LIKE 'COMMIT%' AND xact_start IS NULL AND backend_xmin IS NULL""")

        async def a_session_is_idle() -> bool | None:
            count = (await first.execute(idle)).scalar_one()
            await first.commit()
            return True if count else None

        await until_found(a_session_is_idle)
        await first.execute(text("SELECT pg_advisory_unlock(5021977)"))
        await first.commit()
        assert await second != ""
    await check_schema(engine)
    await engine.dispose()


async def test_a_migration_that_does_not_get_the_lock_says_why(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    async with engine.connect() as first:
        await first.execute(text("SELECT pg_advisory_lock(5021977)"))
        await first.commit()
        with pytest.raises(MigrationBlocked, match=r"another migration has been running"):
            await migrate(engine, advisory_lock_timeout=timedelta(milliseconds=50))
    await engine.dispose()


async def test_a_catalog_refuses_to_start_on_an_old_schema_and_says_what_to_run(
    empty_database_url: str, database_url: str
) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaOutdated, match=r"there is no schema yet.*python -m catalog_svc migrate"):
        await check_schema(engine)
    await engine.dispose()
    engine = open_engine(database_url)
    await set_schema(engine, version="0000")
    with pytest.raises(SchemaOutdated, match=r"the schema is 0000.*python -m catalog_svc migrate"):
        await check_schema(engine)
    await engine.dispose()


async def test_the_schema_of_a_preview_release_is_refused_with_what_to_do(database_url: str) -> None:
    engine = open_engine(database_url)
    await set_schema(engine, version="0004")
    with pytest.raises(SchemaNotMigratable, match=r"the schema 0004 is of a preview release.*new database"):
        await migrate(engine)
    await engine.dispose()


async def test_an_older_release_starts_on_a_newer_schema_that_is_compatible_with_it(database_url: str) -> None:
    """A replica that restarts while a newer release is rolled out, or a rollback to an older release."""
    engine = open_engine(database_url)
    await set_schema(engine, version="9998")
    await check_schema(engine)
    assert await migrate(engine) == "9998"
    await engine.dispose()


async def test_an_older_release_refuses_to_start_on_an_incompatible_newer_schema(database_url: str) -> None:
    engine = open_engine(database_url)
    await set_schema(engine, version="9999", min_compatible="9998")
    for run in (check_schema, migrate):
        with pytest.raises(SchemaTooNew, match=r"the schema is 9999.*schema 9998 or newer.*start a newer release"):
            await run(engine)
    await engine.dispose()


async def set_schema(engine: AsyncEngine, *, version: str, min_compatible: str | None = None) -> None:
    """Set the schema version, as migrations of another release do."""
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
        if min_compatible:
            await connection.execute(
                text("UPDATE schema_compatibility SET min_compatible = :version"), {"version": min_compatible}
            )


async def test_a_table_in_use_blocks_a_migration_with_an_error_that_says_what_to_do(
    empty_database_url: str,
) -> None:
    engine = open_engine(empty_database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
    async with engine.connect() as user:
        await user.execute(text("SET idle_in_transaction_session_timeout = 0"))
        await user.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))
        with pytest.raises(MigrationBlocked, match=r"is in use; run `python -m catalog_svc migrate` again"):
            await migrate(engine, table_lock_budget=timedelta(milliseconds=100), blocked_timeout=timedelta())
        await user.rollback()
    assert await migrate(engine) == "0021"
    await engine.dispose()


async def test_a_migration_that_cannot_lock_a_table_is_rolled_back_and_tried_again(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(empty_database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
    async with engine.connect() as user:
        await user.execute(text("SET idle_in_transaction_session_timeout = 0"))
        await user.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))
        migrating = asyncio.create_task(migrate(engine, table_lock_budget=timedelta(milliseconds=100)))
        await until(lambda: "migrating again" in caplog.text or migrating.done())
        await user.rollback()
    assert await migrating == "0021"
    await engine.dispose()


async def test_the_waits_of_one_transaction_share_a_budget(empty_database_url: str) -> None:
    """Otherwise a migration of ten tables could hold the first one for ten times as long."""
    now = 0.0

    def observe(connection: Connection) -> list[str]:
        nonlocal now
        found: list[str] = []
        with lock_budget(connection, timedelta(seconds=4), clock=lambda: now):
            for at in (0.0, 3.0, 9.0):
                now = at
                found.append(connection.execute(text("SHOW lock_timeout")).scalar_one())
            connection.rollback()
            found.append(connection.execute(text("SHOW lock_timeout")).scalar_one())
            found.append(connection.execute(text("SHOW lock_timeout /* concurrently */")).scalar_one())
        return found

    engine = open_engine(empty_database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(observe) == ["4s", "1s", "1ms", "4s", "0"]
    await engine.dispose()


_CONCURRENT_INDEX = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{head}"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("item_by_title", "item", ["title"], postgresql_concurrently=True, if_not_exists=True)
"""


async def test_a_migration_builds_an_index_without_blocking_writers(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE INDEX CONCURRENTLY runs outside of a transaction; `migrate` must leave its own."""
    engine = open_engine(database_url)
    directory = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, directory)
    (directory / "versions" / "9000_index.py").write_text(_CONCURRENT_INDEX.format(head=await migrate(engine)))
    monkeypatch.setattr(schema, "_MIGRATIONS", directory)
    assert await migrate(engine) == "9000"
    query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_by_title'::regclass")
    async with engine.connect() as connection:
        assert (await connection.execute(query)).scalar_one()
    await engine.dispose()


async def test_every_key_and_index_of_a_shops_rows_begins_with_the_shop(database_url: str) -> None:
    """So that the schema can be distributed by shop; what is asked across shops has the named exceptions."""
    engine = open_engine(database_url)
    tables = [
        *("shop_state", "sync", "sync_history", "sync_issue", "sync_seen", "obsolete_pass", "product", "item"),
        *("change_event", "analysis_task", "analysis_result"),
    ]
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
            SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid, 1, true) AS first
            FROM pg_index WHERE indrelid::regclass::text = ANY(:tables)"""),
            {"tables": tables},
        )
        others = {row.name for row in rows if row.first != "shop_id"}
    await engine.dispose()
    # The lists of all shops' syncs, the search for shops with old tombstones, the change feed of all shops, and a
    # worker's leases.
    assert others == {
        "sync_by_time",
        "sync_by_state",
        "sync_history_by_time",
        "sync_history_by_state",
        "shop_state_tombstones",
        "change_event_by_xid",
        "analysis_task_of_worker",
    }
