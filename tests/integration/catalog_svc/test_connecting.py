"""The database's URL means what it means to other programs, and start-up says what keeps it from working."""

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
    """A port that speaks TLS as PostgreSQL does and leads to the server of `url`; None: it refuses encryption."""
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


async def start_up_error(url: str) -> str:
    """What an operator reads when the service gives up."""
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
async def test_usual_options_of_a_url_are_understood(postgres_url: str, options: str) -> None:
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
        told = await start_up_error(f"{url}{other.ca}")
    assert "cannot connect" in told
    assert "certificate verify failed" in told


async def test_a_server_without_encryption_is_told_at_the_start(postgres_url: str) -> None:
    async with tls_proxy(postgres_url, None) as port:
        told = await start_up_error(f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/postgres?sslmode=require")
    assert "SSL" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://catalog:{SECRET}@db/catalog?sslmod=require", "unknown option 'sslmod'"),
        (f"postgresql://catalog:{SECRET}@db/catalog?sslmode=always", "sslmode must be one of disable, allow"),
        (f"postgresql://catalog:{SECRET}@db/catalog?connect_timeout=soon", "connect_timeout"),
        (f"mysql://catalog:{SECRET}@db/catalog", "begins with postgresql://"),
        (f"postgresql://catalog:{SECRET}@db:port/catalog", "expected postgresql://"),
        (f"catalog:{SECRET}", "expected postgresql://"),
    ],
)
def test_a_wrong_url_is_refused_without_quoting_its_password(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match="CATALOG_DATABASE_URL") as caught:
        open_engine(url)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_start_up_tells_that_the_connection_is_refused() -> None:
    told = await start_up_error(f"postgresql://catalog:{SECRET}@127.0.0.1:1/catalog")
    assert "cannot connect" in told
    assert "Connect call failed" in told
    assert SECRET not in told


async def test_start_up_tells_that_the_database_does_not_exist(postgres_url: str) -> None:
    missing = make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False)
    assert 'database "no_such_database" does not exist' in await start_up_error(missing)


async def test_start_up_tells_that_the_password_is_wrong(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE ROLE needs_password LOGIN PASSWORD 'right'")
    engine = open_engine(postgres_url, pool_size=1)
    async with engine.connect() as connection:
        _ask_for_password((await connection.execute(text("SHOW hba_file"))).scalar_one())
        await connection.execute(text("SELECT pg_reload_conf()"))
    await engine.dispose()
    wrong = make_url(postgres_url).set(username="needs_password", password=SECRET)
    told = await start_up_error(wrong.render_as_string(hide_password=False))
    assert 'password authentication failed for user "needs_password"' in told
    assert SECRET not in told


def _ask_for_password(hba_file: str) -> None:
    path = Path(hba_file)
    path.write_text("local all needs_password scram-sha-256\n" + path.read_text())


async def test_behind_a_pooler_no_statement_is_prepared_by_name(database_url: str) -> None:
    """A name stays on one server connection, and the next transaction gets another one."""
    engine = open_engine(database_url, pool_size=1, max_overflow=0, pooled=True)
    world = CatalogWorld(engine)
    for _ in range(2):
        sync = await world.sync(MemorySource([product("1"), product("2")]))
        assert sync.state is SyncState.SUCCEEDED
    assert await world.rows("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
    await engine.dispose()
