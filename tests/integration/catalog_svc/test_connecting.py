"""The database URL has the meaning that libpq gives it, and startup errors name the cause."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from catalogsync_common.settings import SettingsError
from sqlalchemy import text
from sqlalchemy.engine import make_url

from catalog_svc.domain.sync import SyncState
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.readiness import DatabaseUnavailable, wait_until_ready
from devstore.tls import TlsFiles, ensure_certificates
from tests.conftest import execute
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import CatalogWorld

_SSL_REQUEST_BYTES = 8
SECRET = "hunter2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return ensure_certificates(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def tls_proxy(url: str, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Yield a port that speaks PostgreSQL's TLS and forwards to the server of `url`; None: it refuses TLS."""
    parsed = make_url(url)
    socket = f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}"
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_SSL_REQUEST_BYTES)
        writer.write(b"N" if context is None else b"S")
        await writer.drain()
        if context is None:
            writer.close()
            return
        try:
            await writer.start_tls(context)
        except OSError:
            writer.close()
            return
        from_server, to_server = await asyncio.open_unix_connection(socket)
        pipes.update(map(asyncio.ensure_future, (pipe(reader, to_server), pipe(from_server, writer))))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def selected(url: str) -> object:
    engine = open_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar_one()
    finally:
        await engine.dispose()


async def startup_error(url: str) -> str:
    """Return the error message of a startup that fails."""
    engine = open_engine(url, pool_size=1)
    try:
        with pytest.raises(DatabaseUnavailable) as caught:
            await wait_until_ready(engine, timedelta(seconds=1))
    finally:
        await engine.dispose()
    return str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=prefer",
        "sslmode=disable&connect_timeout=5",
        "application_name=backfill",
        "target_session_attrs=any",
    ],
)
async def test_common_options_of_a_url_are_supported(postgres_url: str, options: str) -> None:
    joined = "&" if "?" in postgres_url else "?"
    assert await selected(f"{postgres_url}{joined}{options}") == 1


async def test_a_server_is_verified_by_the_root_certificate_of_the_url(
    postgres_url: str, certificates: TlsFiles, tmp_path: Path
) -> None:
    name = make_url(postgres_url).database
    other = ensure_certificates(tmp_path / "other")
    async with tls_proxy(postgres_url, certificates.server_context()) as port:
        url = f"postgresql://postgres@localhost:{port}/{name}?sslmode=verify-full&sslrootcert="
        assert await selected(f"{url}{certificates.ca}") == 1
        message = await startup_error(f"{url}{other.ca}")
    assert "cannot connect" in message
    assert "certificate verify failed" in message


async def test_a_server_without_encryption_is_reported_at_startup(postgres_url: str) -> None:
    async with tls_proxy(postgres_url, None) as port:
        message = await startup_error(f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/postgres?sslmode=require")
    assert "SSL" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"postgresql://catalog:{SECRET}@db/catalog?sslmod=require", "unknown option 'sslmod'"),
        (f"postgresql://catalog:{SECRET}@db/catalog?sslmode=always", "sslmode must be one of disable, allow"),
        (f"postgresql://catalog:{SECRET}@db/catalog?connect_timeout=soon", "connect_timeout"),
        (f"mysql://catalog:{SECRET}@db/catalog", "begins with postgresql://"),
        (f"postgresql://catalog:{SECRET}@db:port/catalog", "expected postgresql://"),
        (f"catalog:{SECRET}", "expected postgresql://"),
    ],
)
def test_an_invalid_url_is_rejected_without_quoting_its_password(url: str, expected: str) -> None:
    with pytest.raises(SettingsError, match="CATALOG_DATABASE_URL") as caught:
        open_engine(url)
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_startup_reports_a_refused_connection() -> None:
    message = await startup_error(f"postgresql://catalog:{SECRET}@127.0.0.1:1/catalog")
    assert "cannot connect" in message
    assert "Connect call failed" in message
    assert SECRET not in message


async def test_startup_reports_a_missing_database(postgres_url: str) -> None:
    missing = make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False)
    assert 'database "no_such_database" does not exist' in await startup_error(missing)


async def test_startup_reports_a_wrong_password(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE ROLE needs_password LOGIN PASSWORD 'right'")
    engine = open_engine(postgres_url, pool_size=1)
    async with engine.connect() as connection:
        _require_password((await connection.execute(text("SHOW hba_file"))).scalar_one())
        await connection.execute(text("SELECT pg_reload_conf()"))
    await engine.dispose()
    wrong = make_url(postgres_url).set(username="needs_password", password=SECRET)
    message = await startup_error(wrong.render_as_string(hide_password=False))
    assert 'password authentication failed for user "needs_password"' in message
    assert SECRET not in message


def _require_password(hba_file: str) -> None:
    path = Path(hba_file)
    path.write_text("local all needs_password scram-sha-256\n" + path.read_text())


async def test_behind_a_pooler_no_statement_is_prepared_by_name(database_url: str) -> None:
    """A name stays on one server connection, and the next transaction gets another one."""
    engine = open_engine(database_url, pool_size=1, max_overflow=0, pooled=True)
    world = CatalogWorld(engine)
    for _ in range(2):
        sync = await world.sync(MemorySource([product("1"), product("2")]))
        assert sync.state is SyncState.SUCCEEDED
    assert await world.own_rows("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
    await engine.dispose()
