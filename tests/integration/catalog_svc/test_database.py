"""Units of work: retries of transient errors, cancellation, timeouts; no transaction is ever left open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import cast

import asyncpg
import pytest
from catalogsync_common.status import to_status
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import QueryTooExpensive, StorageCause, StorageUnavailable
from catalog_svc.storage.database import Database
from catalog_svc.storage.engine import connection_replacer, open_engine
from tests.conftest import open_test_engine, owner_url, with_database
from tests.waiting import until_found


@pytest.fixture
def database_url(request: pytest.FixtureRequest, owner_database_url: str) -> str:
    """Return the URL of a new database as its owner: some tests create tables, or change its settings."""
    if not request.config.getoption("pgbouncer"):
        return owner_database_url
    return with_database(
        owner_url(request.getfixturevalue("pgbouncer_url")), make_url(owner_database_url).database or ""
    )


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to the shared database, for tests that change nothing in it."""
    engine = open_engine(postgres_url, pool_size=1)
    yield engine
    await engine.dispose()


async def kill_backend(engine: AsyncEngine, pid: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


async def test_a_transaction_whose_connection_is_lost_is_retried(engine: AsyncEngine) -> None:
    attempts: list[int] = []

    async def work(connection: AsyncConnection) -> int:
        pid: int = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        attempts.append(pid)
        if len(attempts) == 1:
            await kill_backend(engine, pid)
        await connection.execute(text("SELECT 1"))
        return pid

    assert await Database(engine, base_delay=0.01).write(work) == attempts[1]
    assert len(attempts) == 2


async def test_a_serialization_failure_is_retried(engine: AsyncEngine) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            await connection.execute(text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))
        return "done"

    assert await Database(engine, base_delay=0.01).write(work) == "done"
    assert attempts == 3


async def test_a_wrong_statement_is_not_retried(engine: AsyncEngine) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(ProgrammingError):
        await Database(engine).write(work)
    assert attempts == 1


async def test_a_database_that_stays_unreachable_raises_storage_unavailable() -> None:
    engine = open_engine("postgresql://postgres@127.0.0.1:1/postgres")

    async def work(connection: AsyncConnection) -> None:
        raise AssertionError("there is no connection")

    with pytest.raises(StorageUnavailable):
        await Database(engine, attempts=2, base_delay=0.01).write(work)
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

    task = asyncio.create_task(Database(engine).write(work))
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


async def test_the_server_ends_an_idle_transaction(engine: AsyncEngine) -> None:
    """Otherwise a frozen replica would keep the lock of the sync's row, and no other one could claim the sync."""
    async with engine.connect() as connection:
        shown = await connection.execute(
            text("SELECT name, setting::bigint FROM pg_settings WHERE name = ANY(:names)"),
            {"names": ["idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"]},
        )
        settings = {row.name: row.setting for row in shown}
    assert 0 < settings["idle_in_transaction_session_timeout"] <= 10_000
    assert 0 < settings["lock_timeout"] <= settings["statement_timeout"] <= 60_000


RAISED = {
    "08006": StorageCause.UNREACHABLE,
    "25006": StorageCause.READ_ONLY,
    "40001": StorageCause.CONFLICT,
    "40P01": StorageCause.CONFLICT,
    "53100": StorageCause.NO_RESOURCES,
    "53200": StorageCause.NO_RESOURCES,
    "53300": StorageCause.NO_RESOURCES,
    "55P03": StorageCause.LOCKED,
    "57014": StorageCause.TOO_SLOW,
    "57P01": StorageCause.UNREACHABLE,
    "57P03": StorageCause.UNREACHABLE,
    "58030": StorageCause.NO_RESOURCES,
}


@pytest.mark.parametrize(("state", "cause"), RAISED.items())
async def test_a_transient_error_shows_its_cause_to_operators_and_not_to_callers(
    server: AsyncEngine, caplog: pytest.LogCaptureFixture, state: str, cause: StorageCause
) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'from the server' USING ERRCODE = '{state}'; END $$")
        )

    with caplog.at_level(logging.WARNING), pytest.raises(StorageUnavailable) as caught:
        await Database(server, attempts=2, base_delay=0.001).write(work)
    assert caught.value.cause is cause
    shown = to_status(caught.value).SerializeToString()
    assert b"STORAGE_UNAVAILABLE" in shown
    assert b"from the server" not in shown
    assert state.encode() not in shown
    record = caplog.records[0]
    assert (record.__dict__["sqlstate"], record.__dict__["kind"]) == (state, cause.value)
    assert record.__dict__["detail"] == "from the server"


@pytest.mark.parametrize("state", ["22003", "23505", "42501", "42703", "XX000"])
async def test_a_permanent_error_is_raised_unchanged(server: AsyncEngine, state: str) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"))

    with pytest.raises(DBAPIError):
        await Database(server).write(work)
    assert attempts == 1


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
async def test_a_value_that_the_database_cannot_hold_is_not_treated_as_an_outage(
    server: AsyncEngine, value: str
) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SELECT CAST(:value AS text)"), {"value": value})

    with pytest.raises((DBAPIError, UnicodeEncodeError)):
        await Database(server).write(work)
    assert attempts == 1


async def test_a_copy_that_is_too_slow_is_classified_like_any_statement(server: AsyncEngine) -> None:
    """COPY runs on the driver's own connection, whose errors SQLAlchemy does not wrap."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SET LOCAL statement_timeout = '20ms'"))
        await connection.execute(text("CREATE TEMPORARY TABLE copied (id integer) ON COMMIT DROP"))
        await connection.execute(
            text("""
            CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$""")
        )
        await connection.execute(
            text("CREATE TRIGGER slow BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION pg_temp.slow()")
        )
        driver = cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)
        await driver.copy_records_to_table("copied", records=[(1,)])

    with pytest.raises(StorageUnavailable) as caught:
        await Database(server).write(work)
    assert caught.value.cause is StorageCause.TOO_SLOW


@pytest.mark.needs_session("it reports a failed login as its own error")
async def test_a_wrong_database_name_is_distinguished_from_an_unreachable_server(database_url: str) -> None:
    missing = make_url(database_url).set(database="no_such_database").render_as_string(hide_password=False)
    engine = open_test_engine(missing)

    async def work(connection: AsyncConnection) -> None:
        raise AssertionError("there is no connection")

    with pytest.raises(StorageUnavailable) as caught:
        await Database(engine, attempts=1).write(work)
    assert caught.value.cause is StorageCause.REFUSED
    await engine.dispose()


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_statement_that_is_too_slow_is_not_retried(server: AsyncEngine, kind: str) -> None:
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
        await connection.execute(text("SELECT pg_sleep(60)"))

    with pytest.raises(StorageUnavailable) as caught:
        await getattr(Database(server), kind)(work)
    assert (attempts, caught.value.cause) == (1, StorageCause.TOO_SLOW)
    assert isinstance(caught.value, QueryTooExpensive) is (kind == "read")


async def test_a_read_is_limited_to_the_remaining_time_of_its_caller(server: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> str:
        await connection.execute(text("SELECT pg_sleep(60)"))
        raise AssertionError("the query was not stopped")

    with pytest.raises(QueryTooExpensive) as caught:
        await Database(server, remaining=lambda: 0.2).read(work)
    shown = to_status(caught.value)
    assert shown.message == "QUERY_TOO_EXPENSIVE: the query takes too long; narrow its filter"


async def test_a_read_with_a_distant_deadline_has_the_session_timeout(server: AsyncEngine) -> None:
    async def limit(connection: AsyncConnection) -> str:
        return str((await connection.execute(text("SHOW statement_timeout"))).scalar_one())

    assert await Database(server, remaining=lambda: 3600.0).read(limit) == "30s"
    assert await Database(server).read(limit) == "30s"


async def test_a_cancelled_read_stops_its_query_on_the_server(engine: AsyncEngine, database_url: str) -> None:
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work(connection: AsyncConnection) -> None:
        begun.set_result((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
        await connection.execute(text("SELECT pg_sleep(600)"))

    task = asyncio.create_task(Database(engine).read(work))
    pid = await begun
    await _until_active(engine, pid, active=True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until_active(engine, pid, active=False)


async def _until_active(engine: AsyncEngine, pid: int, *, active: bool) -> None:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid AND query LIKE '%pg_sleep(600)%'")

    async def as_expected() -> bool | None:
        async with engine.connect() as connection:
            is_active = (await connection.execute(query, {"pid": pid})).scalar_one() == 1
        return True if is_active is active else None

    await until_found(as_expected)


async def test_the_queries_of_a_read_see_one_snapshot(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counted (id integer)"))

    async def work(connection: AsyncConnection) -> tuple[int, int]:
        query = text("SELECT count(*) FROM counted")
        before: int = (await connection.execute(query)).scalar_one()
        async with engine.begin() as other:
            await other.execute(text("INSERT INTO counted VALUES (1)"))
        after: int = (await connection.execute(query)).scalar_one()
        return before, after

    assert await Database(engine).read(work) == (0, 0)


async def test_writes_are_read_committed_whatever_the_default_of_the_database(
    engine: AsyncEngine, database_url: str
) -> None:
    name = make_url(database_url).database
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    await engine.dispose()

    async def level(connection: AsyncConnection) -> str:
        return str((await connection.execute(text("SHOW transaction_isolation"))).scalar_one())

    assert await Database(engine).write(level) == "read committed"
    assert await Database(engine).read(level) == "repeatable read"


@pytest.mark.needs_session("its server connections outlive those of the client")
async def test_a_write_succeeds_once_a_read_only_database_is_writable_again(
    engine: AsyncEngine, database_url: str
) -> None:
    """As in a failover: the open connections lead to a server that accepts no writes."""
    name = make_url(database_url).database
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE written (id integer)"))
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    await engine.dispose()
    attempts = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            async with engine.connect() as other:
                await other.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"))
                await other.commit()
                await other.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
                await other.commit()
        await connection.execute(text("INSERT INTO written VALUES (1)"))

    await Database(engine, base_delay=0.001).write(work)
    assert attempts == 3


@pytest.mark.needs_session("its server connections outlive those of the client")
async def test_replaced_connections_are_closed_even_if_they_are_in_use(database_url: str) -> None:
    """Engine.dispose lost connections in use: a replica kept them open to the old primary after a failover."""
    engine = open_test_engine(database_url, pool_size=2)
    replace_all = connection_replacer(engine)
    pid = text("SELECT pg_backend_pid()")
    async with engine.connect() as used, engine.connect() as other:
        old = {(await connection.execute(pid)).scalar_one() for connection in (used, other)}
        replace_all()
    async with engine.connect() as first, engine.connect() as second:
        new = {(await connection.execute(pid)).scalar_one() for connection in (first, second)}
        assert new.isdisjoint(old)

        async def old_ones_are_gone() -> bool | None:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:pids)")
            count = (await first.execute(query, {"pids": list(old)})).scalar_one()
            await first.commit()
            return True if count == 0 else None

        await until_found(old_ones_are_gone)
    await engine.dispose()
