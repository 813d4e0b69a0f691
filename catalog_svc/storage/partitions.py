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

PARTITIONED_TABLES: Final = ("sync_history", "sync_issue")
_LONGEST_SYNC: Final = timedelta(days=7)
_MIN_AGES: Final = {"sync_history": timedelta(), "sync_issue": _LONGEST_SYNC}
"""Added to the age at which rows are dropped: an issue is older than the end of its sync."""
_MONTHS_AHEAD: Final = 2
_HOUR: Final = timedelta(hours=1)

_SELECT_TODAY = text("SELECT CAST(statement_timestamp() AT TIME ZONE 'UTC' AS date)")

_SELECT_NOW = text("SELECT clock_timestamp()")

# Only the owner of the tables may create and drop partitions, and see the default ones.
_PURGE_UNPARTITIONED = text("""
    SELECT purge_unpartitioned(CAST(:history_before AS timestamptz), CAST(:issues_before AS timestamptz))""")

_CREATE_PARTITION = text("SELECT create_month_partition(CAST(:parent AS text), CAST(:month AS date))")

_DROP_PARTITION = text("SELECT drop_month_partition(CAST(:parent AS text), CAST(:month AS date))")

# Until a partition is added or dropped, whoever needs the table waits behind the statement that waits for it.
_SET_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")

_SELECT_PARTITIONS = text("""
    SELECT child.relname FROM pg_inherits
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = CAST(:parent AS regclass) AND child.relname LIKE :pattern""")


async def create_partitions(connection: AsyncConnection) -> None:
    """Create the partitions of this month and the next two, if they do not exist."""
    today = (await connection.execute(_SELECT_TODAY)).scalar_one()
    for table in PARTITIONED_TABLES:
        found = await _partitions(connection, table)
        for month in _months(today, 1 + _MONTHS_AHEAD):
            if _name(table, month) not in found:
                await _create_partition(connection, table, month)


async def drop_partitions(connection: AsyncConnection, *, older_than: timedelta) -> int:
    """Drop the partitions of months all of whose syncs ended before `older_than` ago; return how many."""
    now: datetime = (await connection.execute(_SELECT_NOW)).scalar_one()
    dropped = 0
    for table in PARTITIONED_TABLES:
        cutoff = now - older_than - _MIN_AGES[table]
        for name in await _partitions(connection, table):
            if _next_month(_month_of(name)) <= cutoff.astimezone(UTC).date():
                await connection.execute(_SET_LOCK_TIMEOUT)
                await connection.execute(_DROP_PARTITION, {"parent": table, "month": _month_of(name)})
                _log.info("partition dropped", extra={"partition": name})
                dropped += 1
    return dropped


async def purge_unpartitioned(connection: AsyncConnection, *, older_than: timedelta) -> int:
    """Delete rows of the default partitions whose syncs ended before `older_than` ago, those of an hour at a time.

    Returns how many; 0: none is left.
    """
    now: datetime = (await connection.execute(_SELECT_NOW)).scalar_one()
    history, issues = (now - older_than - _MIN_AGES[table] for table in PARTITIONED_TABLES)
    values = {"history_before": history, "issues_before": issues}
    return int((await connection.execute(_PURGE_UNPARTITIONED, values)).scalar_one())


async def _create_partition(connection: AsyncConnection, table: str, month: date) -> None:
    await connection.execute(_SET_LOCK_TIMEOUT)
    try:
        async with connection.begin_nested():
            await connection.execute(_CREATE_PARTITION, {"parent": table, "month": month})
    except IntegrityError:
        name = _name(table, month)
        _log.warning("no partition created: the default one has rows of its month", extra={"partition": name})


async def _partitions(connection: AsyncConnection, table: str) -> set[str]:
    """Return the names of the table's partitions by month."""
    rows = await connection.execute(_SELECT_PARTITIONS, {"parent": table, "pattern": f"{table}\\_2%"})
    return set(rows.scalars())


def _months(today: date, count: int) -> Iterator[date]:
    """Yield the first days of `count` months, from that of `today` on."""
    start = today.replace(day=1)
    for _ in range(count):
        yield start
        start = _next_month(start)


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _name(table: str, month: date) -> str:
    return f"{table}_{month:%Y_%m}"


def _month_of(name: str) -> date:
    year, month = name.split("_")[-2:]
    return date(int(year), int(month), 1)
