"""What tests of several rooms share: a real PostgreSQL and databases on it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate

_SHM: Final = Path("/dev/shm")
_MIN_FREE_BYTES: Final = 4 * 2**30


def pytest_configure() -> None:
    """A shell lets its background jobs ignore Ctrl-C, and so would every program that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest tests."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """A PostgreSQL server for this run of the tests, with a migrated database to copy from."""
    with open_directory("postgres", within=_tmpfs()) as place:
        async with embedded_postgres(place / "data") as url:
            # The data need not survive a crash; each xdist worker has a server of its own.
            for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '128MB'"):
                await execute(url, f"ALTER SYSTEM SET {setting}")
            await execute(url, "SELECT pg_reload_conf()")
            await _make_template(url)
            yield url


def _tmpfs() -> Path | None:
    """Return a tmpfs with 4 GiB free, where CREATE DATABASE takes a tenth of the time; None: there is none."""
    try:
        has_room = shutil.disk_usage(_SHM).free >= _MIN_FREE_BYTES
    except FileNotFoundError:
        return None
    return _SHM if has_room and os.access(_SHM, os.W_OK) else None


@contextmanager
def open_directory(name: str, *, within: Path | None = None) -> Iterator[Path]:
    """A temporary directory that a PostgreSQL may live in.

    As root, PostgreSQL runs as another user, and pytest takes away everybody else's right to enter its own
    temporary directories with each run that starts.
    """
    with TemporaryDirectory(prefix=f"catalogsync-{name}-", dir=within, ignore_cleanup_errors=True) as place:
        yield Path(place)


async def _make_template(url: str) -> None:
    await execute(url, "CREATE DATABASE template_catalog")
    engine = open_engine(with_database(url, "template_catalog"), pool_size=2)
    await migrate(engine)
    await engine.dispose()


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A new database without tables."""
    async with _database(postgres_url, f"empty_{uuid4().hex}") as url:
        yield url


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A new database with the schema of this version."""
    async with _database(
        postgres_url, f"catalog_{uuid4().hex}", "TEMPLATE template_catalog STRATEGY file_copy"
    ) as url:
        yield url


@asynccontextmanager
async def _database(server: str, name: str, how: str = "") -> AsyncIterator[str]:
    await execute(server, f"CREATE DATABASE {name} {how}")
    yield with_database(server, name)
    await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to a database of this test's own."""
    engine = open_engine(database_url)
    yield engine
    await engine.dispose()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def execute(url: str, statement: str) -> None:
    """Run one statement outside of any transaction."""
    engine = open_engine(url, pool_size=1)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text(statement))
    await engine.dispose()
