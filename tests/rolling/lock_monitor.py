"""Finds waits for locks: those of more than a second from the server's log, the longest one by sampling."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from tests.chaos.postgres import Postgres

_SAMPLE_INTERVAL_SECONDS: Final = 0.05
# With `log_lock_waits` the server logs each wait that lasts for `deadlock_timeout`, as long as it lasts.
_SETTINGS: Final = ("log_lock_waits = on", "deadlock_timeout = '1s'")
# Not those of CREATE INDEX CONCURRENTLY for "virtual transaction": they block nobody.
_LOGGED: Final = re.compile(r"still waiting for (\w+ on (relation|transaction|tuple)\b.*) after ([\d.]+) ms")
_WAITING: Final = """
    SELECT l.locktype, l.mode, coalesce(l.relation::regclass::text, '') AS relation, left(a.query, 80) AS query,
           EXTRACT(epoch FROM clock_timestamp() - l.waitstart)::float8 AS seconds
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND l.waitstart IS NOT NULL AND l.locktype <> 'virtualxid'"""


@dataclass(kw_only=True)
class LockWaits:
    """Waits for locks during an observation."""

    tables: list[str] = field(default_factory=list)
    """Waits of more than a second for the lock of a table, as logged by the server."""
    rows: list[str] = field(default_factory=list)
    """The same for the locks of rows: for transactions that have written them."""
    longest: dict[str, float] = field(default_factory=dict)
    """Seconds of the longest wait that a sample found, by kind of lock."""
    samples: int = 0


@asynccontextmanager
async def watching_locks(postgres: Postgres) -> AsyncIterator[LockWaits]:
    """Observe the server until the block ends; the log is read at its end."""
    connection = await postgres.connect()
    waits = LockWaits()
    try:
        for setting in _SETTINGS:
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
        begin = postgres.log.stat().st_size
        sampling = asyncio.create_task(_sample(connection, waits))
        try:
            yield waits
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
            _read_log(postgres, begin, waits)
    finally:
        await connection.close()


async def _sample(connection: asyncpg.Connection, waits: LockWaits) -> None:
    while True:
        for row in await connection.fetch(_WAITING):
            kind = row["locktype"]
            waits.longest[kind] = max(waits.longest.get(kind, 0.0), row["seconds"])
        waits.samples += 1
        await asyncio.sleep(_SAMPLE_INTERVAL_SECONDS)


def _read_log(postgres: Postgres, begin: int, waits: LockWaits) -> None:
    text = postgres.log.read_bytes()[begin:].decode("utf-8", "replace")
    for what, kind, milliseconds in _LOGGED.findall(text):
        (waits.tables if kind == "relation" else waits.rows).append(f"{what} after {milliseconds} ms")
