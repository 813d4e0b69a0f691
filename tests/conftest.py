"""What tests of several rooms share: a real PostgreSQL and databases on it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate


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
    with open_directory("postgres") as place:
        async with embedded_postgres(place / "data") as url:
            await _make_template(url)
            yield url


@contextmanager
def open_directory(name: str) -> Iterator[Path]:
    """A temporary directory that a PostgreSQL may live in.

    As root, PostgreSQL runs as another user, and pytest takes away everybody else's right to enter its own
    temporary directories with each run that starts.
    """
    with TemporaryDirectory(prefix=f"catalogsync-{name}-", ignore_cleanup_errors=True) as place:
        yield Path(place)


async def _make_template(url: str) -> None:
    await execute(url, "CREATE DATABASE template_catalog")
    engine = open_engine(with_database(url, "template_catalog"), pool_size=2)
    await migrate(engine)
    await engine.dispose()


@pytest.fixture
async def empty_database_url(postgres_url: str) -> str:
    """A new database without tables."""
    name = f"empty_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name}")
    return with_database(postgres_url, name)


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    """A new database with the schema of this version."""
    name = f"catalog_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE template_catalog STRATEGY file_copy")
    return with_database(postgres_url, name)


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
