"""Fresh databases on one embedded PostgreSQL, and what is measured in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, Row, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from bench.common import machine
from bench.common.stack import postmaster_pid
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.records import ItemRecord, ProductRecord
from catalog_svc.storage.embedded import SERVICE_ROLE, embedded_postgres, service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate
from catalog_svc.storage.shops import ShopScope

TEMPLATE = "bench_template"
"""Database with our schema as it is."""
# A closed connection is gone after milliseconds.
_DISCONNECT_TIMEOUT_SECONDS = 30.0

_ROW_COUNTS = """
    SELECT coalesce(sum(n_tup_ins), 0)::bigint AS inserted,
           coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint AS dead
    FROM pg_stat_user_tables WHERE relname ~ '^(product|item)(_[0-9]+)?$'"""

_OTHER_CONNECTIONS = """
    SELECT count(*) AS others FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Content of the two tables: equal for equal rows, whichever writer wrote them, when, and in which order."""

    products: int
    items: int
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCounts:
    """Rows of `product` and `item` inserted and made obsolete so far."""

    inserted: int
    dead: int
    """Row versions made obsolete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """A fresh database with our schema, and the scope of the shop that is written."""

    url: str
    postmaster_pid: int
    scope: ShopScope

    @property
    def service_url(self) -> str:
        """The URL with the role of the service, whom row-level security binds."""
        return service_url(self.url)

    async def checkpoint(self) -> None:
        """Give every step the same start: the first change of a page after it writes the whole page to the WAL."""
        await _execute(self.url, "CHECKPOINT")

    async def wal_position(self) -> int:
        """Return the WAL position in bytes."""
        return int((await _fetch_one(self.url, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS bytes")).bytes)

    async def row_counts(self) -> RowCounts:
        """Return the counts once all other connections are gone: a backend reports them when it ends."""
        async with asyncio.timeout(_DISCONNECT_TIMEOUT_SECONDS):
            while True:
                if not (await _fetch_one(self.url, _OTHER_CONNECTIONS)).others:
                    break
                await asyncio.sleep(0.02)
        row = await _fetch_one(self.url, _ROW_COUNTS)
        return RowCounts(inserted=row.inserted, dead=row.dead)

    async def fingerprint(self) -> Fingerprint:
        """Return a fingerprint of all columns except the keys of the shop and the times of writing."""
        product = await _fetch_one(self.url, _fingerprint_query("product", ProductRecord._fields))
        item = await _fetch_one(self.url, _fingerprint_query("item", ItemRecord._fields))
        return Fingerprint(product.rows, item.rows, f"{product.content} {item.content}")

    async def execute(self, statement: str) -> None:
        """Execute a statement outside of a transaction."""
        await _execute(self.url, statement)

    async def fetch_one(self, query: str) -> Row[Any]:
        """Return the only row of a query."""
        return await _fetch_one(self.url, query)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes of PostgreSQL so far."""
        return machine.tree_cpu_seconds(self.postmaster_pid)


class Server:
    """A PostgreSQL server that creates fresh databases."""

    def __init__(self, url: str, postmaster_pid: int) -> None:
        self._url = url
        self._pid = postmaster_pid
        self._database_count = 0

    async def add_template(self, name: str, statements: Sequence[str]) -> None:
        """Create a template: our schema, changed by these statements."""
        await _execute(self._url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        for statement in statements:
            await _execute(_with_database(self._url, name), statement)

    @asynccontextmanager
    async def database(self, template: str = TEMPLATE) -> AsyncIterator[Database]:
        """Create a database, and drop it at the end."""
        self._database_count += 1
        name = f"bench_{self._database_count}"
        await _execute(self._url, f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            scope = ShopScope(shop_id=new_shop_id())
            yield Database(url=_with_database(self._url, name), postmaster_pid=self._pid, scope=scope)
        finally:
            await _execute(self._url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def running_server(directory: Path) -> AsyncIterator[Server]:
    """Run an embedded PostgreSQL as catalog_svc does, with `fsync` on.

    Autovacuum is off for `product` and `item`: it would run at an arbitrary moment.
    """
    async with embedded_postgres(directory) as url:
        await _execute(url, f"CREATE DATABASE {TEMPLATE}")
        await _migrate(_with_database(url, TEMPLATE))
        for table in ("product", "item"):
            await _execute(_with_database(url, TEMPLATE), f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield Server(url, postmaster_pid(directory))


async def _migrate(url: str) -> None:
    engine = open_engine(url, pool_size=1, command_timeout=None)
    try:
        await migrate(engine, service_role=SERVICE_ROLE)
    finally:
        await engine.dispose()


def _with_database(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _fingerprint_query(table: str, columns: Sequence[str]) -> str:
    row = f"ROW({', '.join(columns)}, deleted_at)::text"
    return f"SELECT count(*) AS rows, coalesce(sum(hashtextextended({row}, 0)), 0) AS content FROM {table}"


async def _fetch_one(url: str, query: str) -> Row[Any]:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.connect() as connection:
        return (await connection.execute(text(query))).one()


async def _execute(url: str, statement: str) -> None:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.execute(text(statement))
