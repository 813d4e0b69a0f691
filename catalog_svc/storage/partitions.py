"""Partitions by month of `sync_history` and `sync_issue`: created ahead, and dropped as a whole.

Rows of a month without a partition are stored in the default partition, so that a missing one loses nothing: a
sync that is one of the last few of its shop for so long that its month is dropped, and all syncs of a time in
which no partition was created. A month that has such rows gets no partition any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

_log = logging.getLogger(__name__)

_TIME_COLUMNS: Final = {"sync_history": "ended_at", "sync_issue": "created_at"}
PARTITIONED_TABLES: Final = tuple(_TIME_COLUMNS)
_LONGEST_SYNC: Final = timedelta(days=7)
_MIN_AGES: Final = {"sync_history": timedelta(), "sync_issue": _LONGEST_SYNC}
"""Added to the age at which rows are dropped: an issue is older than the end of its sync."""
_MONTHS_AHEAD: Final = 2
_HOUR: Final = timedelta(hours=1)

_SELECT_TODAY = text("SELECT CAST(statement_timestamp() AT TIME ZONE 'UTC' AS date)")

_SELECT_NOW = text("SELECT clock_timestamp()")

_SELECT_OLDEST = tuple(
    text(f"SELECT min({column}) FROM {table}_default") for table, column in _TIME_COLUMNS.items()
)

# At most one hour's rows, and at least the oldest one.
_DELETE_UNPARTITIONED = tuple(
    text(f"DELETE FROM {table}_default WHERE {column} <= :before") for table, column in _TIME_COLUMNS.items()
)

# Until a partition is added or dropped, whoever needs the table waits behind the statement that waits for it.
_SET_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '2s'")

_SELECT_PARTITIONS = text("""
    SELECT child.relname FROM pg_inherits
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = CAST(:parent AS regclass) AND child.relname LIKE :pattern""")


async def create_partitions(connection: AsyncConnection) -> None:
    """Create the partitions of this month and the next two, if they do not exist."""
    today = (await connection.execute(_SELECT_TODAY)).scalar_one()
    for table in PARTITIONED_TABLES:
        found = await _partitions(connection, table)
        for start, end in _months(today, 1 + _MONTHS_AHEAD):
            name = _name(table, start)
            if name not in found:
                await _create_partition(
                    connection, table, name, f"FROM ('{start} 00:00+00') TO ('{end} 00:00+00')"
                )


async def drop_partitions(connection: AsyncConnection, *, older_than: timedelta) -> int:
    """Drop the partitions of months all of whose syncs ended before `older_than` ago; return how many."""
    now: datetime = (await connection.execute(_SELECT_NOW)).scalar_one()
    dropped = 0
    for table in PARTITIONED_TABLES:
        cutoff = now - older_than - _MIN_AGES[table]
        for name in await _partitions(connection, table):
            if _next_month(_month_of(name)) <= cutoff.astimezone(UTC).date():
                await connection.execute(_SET_LOCK_TIMEOUT)
                await connection.execute(text(f"DROP TABLE {name}"))
                _log.info("partition dropped", extra={"partition": name})
                dropped += 1
    return dropped


async def purge_unpartitioned(connection: AsyncConnection, *, older_than: timedelta) -> int:
    """Delete rows of the default partitions whose syncs ended before `older_than` ago, those of an hour at a time.

    Returns how many; 0: none is left.
    """
    now: datetime = (await connection.execute(_SELECT_NOW)).scalar_one()
    deleted = 0
    for table, select_oldest, delete in zip(
        PARTITIONED_TABLES, _SELECT_OLDEST, _DELETE_UNPARTITIONED, strict=True
    ):
        oldest: datetime | None = (await connection.execute(select_oldest)).scalar()
        cutoff = now - older_than - _MIN_AGES[table]
        if oldest is not None and oldest < cutoff:
            before = min(oldest + _HOUR, cutoff)
            deleted += (await connection.execute(delete, {"before": before})).rowcount
    return deleted


async def _create_partition(connection: AsyncConnection, table: str, name: str, bounds: str) -> None:
    await connection.execute(_SET_LOCK_TIMEOUT)
    try:
        async with connection.begin_nested():
            await connection.execute(
                text(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES {bounds}")
            )
    except IntegrityError:
        _log.warning("no partition created: the default one has rows of its month", extra={"partition": name})


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
