"""Partitions by month of `sync_history` and `sync_issue`: created ahead, and dropped as a whole.

Rows of a month without a partition are stored in the default partition, so that a missing one loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_log = logging.getLogger(__name__)

PARTITIONED_TABLES: Final = ("sync_history", "sync_issue")
_MONTHS_AHEAD: Final = 2

_SELECT_PARTITIONS = text("""
    SELECT child.relname FROM pg_inherits
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = CAST(:parent AS regclass) AND child.relname LIKE :pattern""")


async def create_partitions(connection: AsyncConnection) -> None:
    """Create the partitions of this month and the next two, if they do not exist."""
    today = (await connection.execute(text("SELECT current_date"))).scalar_one()
    for table in PARTITIONED_TABLES:
        found = await _partitions(connection, table)
        for start, end in _months(today, 1 + _MONTHS_AHEAD):
            name = _name(table, start)
            if name not in found:
                await connection.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                        f"FOR VALUES FROM ('{start} 00:00+00') TO ('{end} 00:00+00')"
                    )
                )


async def drop_partitions(connection: AsyncConnection, *, older_than: timedelta) -> int:
    """Drop the partitions of months that ended before `older_than` ago; return how many."""
    now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    dropped = 0
    for table in PARTITIONED_TABLES:
        for name in await _partitions(connection, table):
            if _next_month(_month_of(name)) <= (now - older_than).astimezone(UTC).date():
                await connection.execute(text(f"DROP TABLE {name}"))
                _log.info("partition dropped", extra={"partition": name})
                dropped += 1
    return dropped


async def _partitions(connection: AsyncConnection, table: str) -> set[str]:
    """Return the names of the table's partitions by month."""
    rows = await connection.execute(_SELECT_PARTITIONS, {"parent": table, "pattern": f"{table}\\_2%"})
    return set(rows.scalars())


def _months(today: date, count: int) -> Iterator[tuple[date, date]]:
    start = today.replace(day=1)
    for _ in range(count):
        end = _next_month(start)
        yield start, end
        start = end


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _name(table: str, month: date) -> str:
    return f"{table}_{month:%Y_%m}"


def _month_of(name: str) -> date:
    year, month = name.split("_")[-2:]
    return date(int(year), int(month), 1)
