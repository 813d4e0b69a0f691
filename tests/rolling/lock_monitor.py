"""Finds waits for locks: those of more than a second from the server's log, the longest one by sampling."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.postgres import Postgres

_SAMPLE_INTERVAL_SECONDS: Final = 0.05
# With `log_lock_waits` the server logs each wait that lasts for `deadlock_timeout`, as long as it lasts.
_SETTINGS: Final = ("log_lock_waits = on", "deadlock_timeout = '1s'")
# Not those of CREATE INDEX CONCURRENTLY for "virtual transaction": they block no other session.
_LOGGED: Final = re.compile(r"still waiting for (\w+ on (relation|transaction|tuple)\b.*) after ([\d.]+) ms")
_WAITING: Final = """
    SELECT locktype, EXTRACT(epoch FROM clock_timestamp() - waitstart)::float8 AS seconds FROM pg_locks
    WHERE NOT granted AND waitstart IS NOT NULL AND locktype <> 'virtualxid'"""


class LockMonitor:
    """The waits for locks since it was created."""

    def __init__(self, log: Path) -> None:
        self.samples = 0
        self.longest: dict[str, float] = {}
        """Seconds of the longest wait that a sample found, by kind of lock."""
        self._log = log
        self._begin = log.stat().st_size

    @property
    def table_waits(self) -> list[str]:
        """Waits of more than a second for the lock of a table, as logged by the server so far."""
        return [text for kind, text in self._logged() if kind == "relation"]

    @property
    def row_waits(self) -> list[str]:
        """The same for locks of rows: for transactions that have written them."""
        return [text for kind, text in self._logged() if kind != "relation"]

    async def sample(self, connection: asyncpg.Connection) -> None:
        """Sample the waits until cancelled."""
        while True:
            for row in await connection.fetch(_WAITING):
                self.longest[row["locktype"]] = max(self.longest.get(row["locktype"], 0.0), row["seconds"])
            self.samples += 1
            await asyncio.sleep(_SAMPLE_INTERVAL_SECONDS)

    def _logged(self) -> list[tuple[str, str]]:
        text = self._log.read_bytes()[self._begin :].decode("utf-8", "replace")
        return [(kind, f"{what} after {milliseconds} ms") for what, kind, milliseconds in _LOGGED.findall(text)]


@asynccontextmanager
async def watching_locks(postgres: Postgres) -> AsyncIterator[LockMonitor]:
    """Observe the server until the block ends."""
    connection = await postgres.connect()
    try:
        for setting in _SETTINGS:
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
        monitor = LockMonitor(postgres.log)
        sampling = asyncio.create_task(monitor.sample(connection))
        try:
            yield monitor
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
    finally:
        await connection.close()
