"""A unit of work survives what PostgreSQL and callers do to it, and never leaves a transaction open."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.storage.database import Database
from catalog_svc.storage.engine import open_engine


async def kill_backend(engine: AsyncEngine, pid: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


async def test_a_transaction_whose_connection_is_lost_is_run_again(engine: AsyncEngine) -> None:
    attempts: list[int] = []

    async def work(connection: AsyncConnection) -> int:
        pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        attempts.append(pid)
        if len(attempts) == 1:
            await kill_backend(engine, pid)
        await connection.execute(text("SELECT 1"))
        return pid

    assert await Database(engine, base_delay=0.01).transaction(work) == attempts[1]
    assert len(attempts) == 2


async def test_a_serialization_failure_is_tried_again(engine: AsyncEngine) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            await connection.execute(text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))
        return "done"

    assert await Database(engine, base_delay=0.01).transaction(work) == "done"
    assert attempts == 3


async def test_a_fault_of_ours_is_not_repeated(engine: AsyncEngine) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(ProgrammingError):
        await Database(engine).transaction(work)
    assert attempts == 1


async def test_a_database_that_stays_away_is_said_to_be_unavailable() -> None:
    engine = open_engine("postgresql://postgres@127.0.0.1:1/postgres")

    async def work(connection: AsyncConnection) -> None:
        raise AssertionError("there is no connection")

    with pytest.raises(StorageUnavailable):
        await Database(engine, attempts=2, base_delay=0.01).transaction(work)
    await engine.dispose()


async def test_a_cancelled_caller_leaves_no_transaction_behind(engine: AsyncEngine) -> None:
    """A connection dropped in the middle of a transaction would keep its row locks."""
    begun = asyncio.Event()
    finished = False

    async def work(connection: AsyncConnection) -> None:
        nonlocal finished
        begun.set()
        await connection.execute(text("SELECT pg_sleep(0.3)"))
        finished = True

    task = asyncio.create_task(Database(engine).transaction(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished
    async with engine.connect() as connection:
        open_ones = await connection.execute(
            text("""
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state LIKE 'idle in transaction%'
              AND pid <> pg_backend_pid()""")
        )
        assert open_ones.scalar_one() == 0


async def test_a_process_frozen_in_a_transaction_loses_it(engine: AsyncEngine) -> None:
    """Else a replica that is stopped there keeps the sync's row lock, and nobody can take over."""
    async with engine.connect() as connection:
        shown = await connection.execute(
            text("SELECT name, setting::bigint FROM pg_settings WHERE name = ANY(:names)"),
            {"names": ["idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"]},
        )
        settings = {row.name: row.setting for row in shown}
    assert 0 < settings["idle_in_transaction_session_timeout"] <= 10_000
    assert 0 < settings["lock_timeout"] <= settings["statement_timeout"] <= 60_000
