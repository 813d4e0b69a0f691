"""Fixtures and helpers shared by all tests: a real PostgreSQL server and databases on it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from catalog_svc.storage.embedded import SERVICE_ROLE, embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.pooler import POOLER_ARGUMENTS, ROLE_SETTINGS
from catalog_svc.storage.schema import migrate
from tests.citus import OTHER_TESTS, citus_database
from tests.pgbouncer import find_pgbouncer, is_pooled, run_pgbouncer

SERVER_URL: Final = "CATALOGSYNC_TEST_SERVER_URL"
"""Environment variable: URL of a server that has the template database; see `tests.compatibility`."""
TEMPLATE: Final = "template_catalog"
"""Database with the current schema, of which each test gets a copy."""
OWNER: Final = "catalog_owner"
"""The role that owns the tables of the template: no superuser, as in production."""
_SHM: Final = Path("/dev/shm")
_MIN_FREE_BYTES: Final = 4 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pgbouncer",
        action="store_true",
        help="reach the databases of the tests through a PgBouncer (transaction mode)",
    )
    parser.addoption(
        "--citus",
        metavar="URL",
        help="create the databases of the tests on this Citus: a database of its coordinator, as a superuser",
    )


def pytest_configure() -> None:
    """Restore the default SIGINT handler.

    A shell makes its background jobs ignore SIGINT, and every program that a test starts would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests that are marked as long first; with --pgbouncer, skip those that need a session.

    With --citus, skip those of one PostgreSQL.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if config.getoption("citus"):
        for item in items:
            if any(name in item.nodeid for name in OTHER_TESTS):
                item.add_marker(pytest.mark.skip(reason="about one PostgreSQL, not Citus"))
    if not config.getoption("pgbouncer"):
        return
    installed = find_pgbouncer() is not None
    for item in items:
        if not installed:
            item.add_marker(pytest.mark.skip(reason="PgBouncer is not installed (apt-get install pgbouncer)"))
        elif marker := item.get_closest_marker("needs_session"):
            item.add_marker(pytest.mark.skip(reason=f"not behind PgBouncer: {marker.args[0]}"))


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """Yield the URL of a PostgreSQL server for this test run, with a migrated template database."""
    if given := os.environ.get(SERVER_URL):
        yield given
        return
    with open_directory("postgres", within=_tmpfs()) as directory:
        async with embedded_postgres(directory / "data") as url:
            # Each xdist worker has its own server.
            await make_unsafe_and_fast(url)
            await make_template(url)
            yield url


async def make_unsafe_and_fast(url: str) -> None:
    """Configure a server whose data need not survive a crash."""
    for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '128MB'"):
        await execute(url, f"ALTER SYSTEM SET {setting}")
    await execute(url, "SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
async def pgbouncer_url(postgres_url: str) -> AsyncIterator[str]:
    """Yield the URL of the server of `postgres_url` through a PgBouncer in transaction mode."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    for name, value in ROLE_SETTINGS.items():
        for role in ("postgres", OWNER, SERVICE_ROLE):
            await execute(postgres_url, f"ALTER ROLE {role} SET {name} = '{value}'")
    async with run_pgbouncer(program, postgres_url, [SERVICE_ROLE, OWNER]) as url:
        yield url.render_as_string(hide_password=False)


def _tmpfs() -> Path | None:
    """Return a writable tmpfs with 4 GiB free, where CREATE DATABASE takes a tenth of the time, or None."""
    try:
        has_space = shutil.disk_usage(_SHM).free >= _MIN_FREE_BYTES
    except FileNotFoundError:
        return None
    return _SHM if has_space and os.access(_SHM, os.W_OK) else None


@contextmanager
def open_directory(name: str, *, within: Path | None = None) -> Iterator[Path]:
    """Yield a temporary directory that PostgreSQL can use as well, unlike `tmp_path`.

    When the tests run as root, PostgreSQL runs as another user, and each pytest run that starts removes the
    access of all other users to pytest's temporary directories.
    """
    with TemporaryDirectory(prefix=f"catalogsync-{name}-", dir=within, ignore_cleanup_errors=True) as path:
        yield Path(path)


async def make_template(url: str) -> None:
    """Create the template database and migrate it, as a role that is no superuser."""
    # As an operator: it sees what sessions do.
    await execute(url, f"CREATE ROLE {OWNER} LOGIN IN ROLE pg_read_all_stats")
    await execute(url, f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
    engine = open_engine(owner_url(with_database(url, TEMPLATE)), pool_size=2)
    await migrate(engine, text_search=True, service_role=SERVICE_ROLE)
    await engine.dispose()


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """Yield the URL of a new database without tables, as its owner, the superuser."""
    async with _database(postgres_url, f"empty_{uuid4().hex}") as url:
        yield url


@pytest.fixture
async def copied_database_url(postgres_url: str) -> AsyncIterator[str]:
    """Yield the URL of a new database on the server of this test run, as the superuser."""
    async with copied_database(postgres_url) as url:
        yield url


@pytest.fixture
async def citus_database_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Yield the URL of a new database on the Citus of --citus, as the superuser."""
    async with citus_database(request.config.getoption("citus"), owner=OWNER, service_role=SERVICE_ROLE) as url:
        yield url


@pytest.fixture
def direct_database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a new database with the current schema, with the role of the service.

    It never leads through PgBouncer. With --citus it is on that cluster.
    """
    where = "citus_database_url" if request.config.getoption("citus") else "copied_database_url"
    return service_url(request.getfixturevalue(where))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, direct_database_url: str) -> str:
    """Return the URL of a new database with the current schema, with the role of the service.

    With --pgbouncer it leads through PgBouncer.
    """
    if not request.config.getoption("pgbouncer"):
        return direct_database_url
    pgbouncer_url: str = request.getfixturevalue("pgbouncer_url")
    return service_url(with_database(pgbouncer_url, make_url(direct_database_url).database or ""))


@pytest.fixture
def owner_database_url(direct_database_url: str) -> str:
    """Return the URL of the database of `database_url` as the owner of the tables, not through PgBouncer."""
    return owner_url(direct_database_url)


@asynccontextmanager
async def copied_database(server_url: str) -> AsyncIterator[str]:
    """Create a copy of the template database, and drop it at the end; yield its URL as the superuser."""
    name = f"catalog_{uuid4().hex}"
    async with _database(server_url, name, f"TEMPLATE {TEMPLATE} STRATEGY file_copy OWNER {OWNER}") as url:
        yield url


@asynccontextmanager
async def _database(server_url: str, name: str, options: str = "") -> AsyncIterator[str]:
    await execute(server_url, f"CREATE DATABASE {name} {options}")
    yield with_database(server_url, name)
    await execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine connected to this test's own database, with the role of the service."""
    engine = open_test_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def owner_engine(owner_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine connected to the same database as the owner of the tables, who sees all rows."""
    engine = open_engine(owner_database_url)
    yield engine
    await engine.dispose()


def open_test_engine(url: str, **options: Any) -> AsyncEngine:
    """Open an engine with the options of `open_engine`, for a pooler if the URL leads through one."""
    return open_engine(url, pooled=is_pooled(url), **options)


def owner_url(url: str) -> str:
    """Return `url` with the role that owns the tables."""
    return make_url(url).set(username=OWNER).render_as_string(hide_password=False)


def as_owner(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine for the same database as the owner of the tables; it keeps no connection open."""
    url = engine.url.set(drivername="postgresql+asyncpg", username=OWNER)
    arguments = POOLER_ARGUMENTS if is_pooled(url.render_as_string(hide_password=False)) else {}
    return create_async_engine(url, poolclass=NullPool, connect_args=dict(arguments))


def superuser_url(engine: AsyncEngine) -> str:
    """Return the URL of the engine's database as the superuser."""
    url = engine.url.set(drivername="postgresql", username="postgres")
    return url.render_as_string(hide_password=False)


def with_database(url: str, name: str) -> str:
    """Return `url` with the database replaced by `name`."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def execute(url: str, statement: str) -> None:
    """Execute one statement outside of a transaction."""
    engine = open_engine(url, pool_size=1)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text(statement))
    await engine.dispose()
