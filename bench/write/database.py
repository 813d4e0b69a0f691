"""Databases of their own on one embedded PostgreSQL, and what is measured in them."""

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
from uuid_utils.compat import uuid7

from bench.common import machine
from catalog_svc.domain.records import ItemRecord, ProductRecord
from catalog_svc.storage.embedded import embedded_postgres
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate
from catalog_svc.storage.scope import ShopScope

_TEMPLATE = "bench_template"
_PATIENCE = 30.0
"""Seconds; a connection that was closed is gone after milliseconds."""

_WORK = """
    SELECT coalesce(sum(n_tup_ins), 0)::bigint AS inserted,
           coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint AS dead
    FROM pg_stat_user_tables WHERE relname IN ('product', 'item')"""

_OTHERS = """
    SELECT count(*) AS others FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the two tables hold; equal for equal rows, whoever wrote them, when, and in which order."""

    products: int
    items: int
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What was done to `product` and `item` so far."""

    inserted: int
    dead: int
    """Row versions made obsolete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """A fresh one with our schema and the shop that the writers write."""

    url: str
    postmaster_pid: int
    scope: ShopScope

    async def checkpoint(self) -> None:
        """Gives every step the same start: each page is whole in the WAL once after it."""
        await _run(self.url, "CHECKPOINT")

    async def wal_position(self) -> int:
        """In bytes."""
        return int((await _one(self.url, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS bytes")).bytes)

    async def work(self) -> Work:
        """Once all other connections are gone: a PostgreSQL process tells what it did when it ends."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                if not (await _one(self.url, _OTHERS)).others:
                    break
                await asyncio.sleep(0.02)
        row = await _one(self.url, _WORK)
        return Work(inserted=row.inserted, dead=row.dead)

    async def fingerprint(self) -> Fingerprint:
        """Of all columns but the keys of the shop and the times of writing."""
        product = await _one(self.url, _fingerprint("product", ProductRecord._fields))
        item = await _one(self.url, _fingerprint("item", ItemRecord._fields))
        return Fingerprint(product.rows, item.rows, f"{product.content} {item.content}")

    def cpu_seconds(self) -> float:
        """Of all processes of PostgreSQL so far."""
        return machine.family_cpu_seconds(self.postmaster_pid)


class Server:
    """A PostgreSQL that makes fresh databases."""

    def __init__(self, url: str, postmaster_pid: int) -> None:
        self._url = url
        self._pid = postmaster_pid
        self._made = 0

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Dropped at the end."""
        self._made += 1
        name = f"bench_{self._made}"
        await _run(self._url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        try:
            scope = ShopScope(merchant_id=uuid7(), shop_id=uuid7())
            yield Database(url=_named(self._url, name), postmaster_pid=self._pid, scope=scope)
        finally:
            await _run(self._url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def running_server(place: Path) -> AsyncIterator[Server]:
    """An embedded PostgreSQL as catalog_svc runs it, `fsync` on.

    In its databases autovacuum leaves `product` and `item` alone, or it would come at a moment of its own.
    """
    async with embedded_postgres(place) as url:
        await _run(url, f"CREATE DATABASE {_TEMPLATE}")
        await _migrate(_named(url, _TEMPLATE))
        for table in ("product", "item"):
            await _run(_named(url, _TEMPLATE), f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield Server(url, int((place / "postmaster.pid").read_text().split()[0]))


async def _migrate(url: str) -> None:
    engine = open_engine(url, pool_size=1, command_timeout=None)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


def _named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _fingerprint(table: str, columns: Sequence[str]) -> str:
    row = f"ROW({', '.join(columns)}, deleted_at)::text"
    return f"SELECT count(*) AS rows, coalesce(sum(hashtextextended({row}, 0)), 0) AS content FROM {table}"


async def _one(url: str, query: str) -> Row[Any]:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.connect() as connection:
        return (await connection.execute(text(query))).one()


async def _run(url: str, statement: str) -> None:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.execute(text(statement))
