"""The database of the benchmark: many registered shops, of which some wait for a worker, run or are broken.

The rows are those that the service would have written, made by one statement per table. `control_shop` numbers the
shops: first those that run, then those that wait, then the broken ones, then all others, which are idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

from catalog_svc.domain.schedule import ScheduleDefaults

PLATFORMS: Final = ("shopify", "woocommerce", "bigcommerce", "feed", "magento", "prestashop")
FULL_PLATFORMS: Final = PLATFORMS[:2]
"""Platforms with as many scheduled syncs in the queue as may wait."""
DEFAULTS: Final = ScheduleDefaults(incremental_every=timedelta(hours=1), full_every=timedelta(days=1))
"""The intervals that the schedules were planned with."""
MAX_SCHEDULED_PER_PLATFORM: Final = 500
_DAYS_KEPT: Final = 30
"""Default of the retention policy for ended syncs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Numbers of rows and of measurements."""

    shops: int
    running: int
    """Syncs that other replicas run: their leases are at the head of the queue."""
    pending: int
    broken: int
    ended_per_month: int
    due: int
    watched: int
    changed: int
    """Watched syncs with a new revision at each poll."""
    claims: int
    calls: int
    """StartSync at once."""
    tombstone_shops: int
    tombstones: int
    seen_ids: int
    requests: int


FULL: Final = Size(
    shops=100_000,
    running=800,
    pending=20_000,
    broken=20_000,
    ended_per_month=5_000,
    due=1_000,
    watched=5_000,
    changed=100,
    claims=300,
    calls=200,
    tombstone_shops=1_000,
    tombstones=100_000,
    seen_ids=500_000,
    requests=100_000,
)
SMOKE: Final = Size(
    shops=5_000,
    running=40,
    pending=1_500,
    broken=1_000,
    ended_per_month=500,
    due=400,
    watched=500,
    changed=20,
    claims=50,
    calls=50,
    tombstone_shops=50,
    tombstones=5_000,
    seen_ids=20_000,
    requests=5_000,
)

# The last ten hexadecimal digits of an id are the number of the sync within its shop; see catalog_svc.domain.ids.
_CREATE_NUMBERS = """
    CREATE UNLOGGED TABLE control_shop AS
    SELECT n, CAST(left(CAST(gen_random_uuid() AS text), 26) || '0000000000' AS uuid) AS shop_id,
        (CAST($1 AS text[]))[1 + n % cardinality(CAST($1 AS text[]))] AS platform,
        n <= $2 AS running, n > $2 AND n <= $2 + $3 AS pending,
        n > $2 + $3 AND n <= $2 + $3 + $4 AS broken
    FROM generate_series(1, $5) AS n"""

_ALTER_NUMBERS = """
    ALTER TABLE control_shop ADD PRIMARY KEY (n), ADD COLUMN scheduled boolean NOT NULL DEFAULT false,
        ADD COLUMN ended_id uuid, ADD COLUMN active_id uuid"""

_SET_IDS = """
    UPDATE control_shop SET ended_id = CAST(left(CAST(shop_id AS text), 26) || '0000000001' AS uuid),
        active_id = CASE WHEN running OR pending
            THEN CAST(left(CAST(shop_id AS text), 26) || '0000000002' AS uuid) END"""

_SET_SCHEDULED = """
    UPDATE control_shop SET scheduled = true FROM (
        SELECT n, row_number() OVER (PARTITION BY platform ORDER BY n) AS place FROM control_shop
        WHERE pending AND platform = ANY($1)) AS placed
    WHERE placed.n = control_shop.n AND placed.place <= $2"""

_INSERT_SHOPS = """
    INSERT INTO shop (shop_id, platform, domain, platform_shop_id, currency_code, display_name, connection_state,
        connection_reason)
    SELECT shop_id, platform, 'shop-' || n || '.example', CAST(n AS text), 'EUR', 'Shop ' || n,
        CASE WHEN broken THEN 'BROKEN' ELSE 'HEALTHY' END,
        CASE WHEN broken THEN 'SOURCE_UNAUTHORIZED' ELSE '' END
    FROM control_shop"""

_INSERT_STATES = """
    INSERT INTO shop_state (shop_id, epoch, product_count, item_count, item_with_image_count, watermark,
        full_watermark, last_sync_number, active_sync_id, last_ended_sync_id, open_pass_id)
    SELECT shop_id, 1, 100, 500, 500, clock_timestamp(), clock_timestamp(),
        CASE WHEN active_id IS NULL THEN 1 ELSE 2 END, active_id, ended_id, active_id
    FROM control_shop"""

_INSERT_SCHEDULES = """
    INSERT INTO shop_schedule (shop_id, platform, incremental_due_at, full_due_at, not_before,
        planned_incremental_interval, planned_full_interval)
    SELECT shop_id, platform,
        clock_timestamp() + CASE WHEN broken THEN interval '-1 hour' * random()
            ELSE interval '6 hours' + interval '12 hours' * random() END,
        clock_timestamp() + interval '6 hours' + interval '12 hours' * random(),
        CASE WHEN broken THEN clock_timestamp() + interval '6 hours' + interval '12 hours' * random() END,
        $1, $2
    FROM control_shop"""

_INSERT_ENDED = """
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, pass_id, revision, epoch, attempt_count,
        products_seen, items_seen, strategy, served_api_version, error_reason, error_message,
        created_at, updated_at, started_at, ended_at)
    SELECT shop_id, ended_id, CASE WHEN broken THEN 'FAILED' ELSE 'SUCCEEDED' END, 'FULL', 'SCHEDULE', ended_id, 9,
        1, 1, 100, 500, 'paging', '2026-10', CASE WHEN broken THEN 'SOURCE_UNAUTHORIZED' END, '', at, at, at, at
    FROM (SELECT *, clock_timestamp() - interval '20 hours' * random() AS at FROM control_shop) AS shop"""

_INSERT_ACTIVE = """
    INSERT INTO sync (shop_id, sync_id, state, mode, trigger, pass_id, epoch, checkpoint, updated_after)
    SELECT shop_id, active_id, CASE WHEN running THEN 'RUNNING' ELSE 'PENDING' END, 'INCREMENTAL',
        CASE WHEN scheduled THEN 'SCHEDULE' ELSE 'REQUEST' END, active_id, 1,
        CASE WHEN running THEN convert_to(repeat('x', 200), 'UTF8') ELSE '' END, clock_timestamp()
    FROM control_shop WHERE active_id IS NOT NULL"""

_INSERT_QUEUE = """
    INSERT INTO sync_queue (shop_id, sync_id, platform, mode, priority, epoch, lease_until)
    SELECT shop_id, active_id, platform, 'INCREMENTAL', CASE WHEN scheduled THEN 1 ELSE 0 END, 1,
        CASE WHEN running THEN clock_timestamp() + interval '1 day' END
    FROM control_shop WHERE active_id IS NOT NULL ORDER BY n"""

_INSERT_HISTORY = """
    INSERT INTO sync_history (shop_id, sync_id, state, mode, trigger, pass_id, created_at, ended_at)
    SELECT shop_id, sync_id, 'SUCCEEDED', 'FULL', 'REQUEST', sync_id, at, at
    FROM (
        SELECT shop_id,
            CAST(left(CAST(shop_id AS text), 26) || lpad(to_hex($4::integer), 10, '0') AS uuid) AS sync_id,
            CAST($1 AS timestamptz) + (least(CAST($2 AS timestamptz), clock_timestamp()) - $1) * random() AS at
        FROM control_shop ORDER BY n LIMIT $3) AS ended"""


async def insert_rows(connection: asyncpg.Connection, size: Size) -> None:
    """Insert all rows into an empty database and update the planner's statistics."""
    counts = (size.running, size.pending, size.broken, size.shops)
    await connection.execute(_CREATE_NUMBERS, list(PLATFORMS), *counts)
    await connection.execute(_ALTER_NUMBERS)
    await connection.execute(_SET_IDS)
    await connection.execute(_SET_SCHEDULED, list(FULL_PLATFORMS), MAX_SCHEDULED_PER_PLATFORM)
    for statement in (_INSERT_SHOPS, _INSERT_STATES, _INSERT_ENDED, _INSERT_ACTIVE, _INSERT_QUEUE):
        await connection.execute(statement)
    await connection.execute(_INSERT_SCHEDULES, DEFAULTS.incremental_every, DEFAULTS.full_every)
    for number, (start, end) in enumerate(_months(back=2)):
        await insert_history(connection, start, end, number=number, count=size.ended_per_month)
    await connection.execute("VACUUM (ANALYZE)")


async def insert_history(
    connection: asyncpg.Connection, start: date, end: date, *, number: int, count: int
) -> None:
    """Insert ended syncs of a month, and its partition if there is none.

    Args:
        connection: The database.
        start: The first day of the month.
        end: The first day of the next month.
        number: Of the month, for ids of its own.
        count: How many syncs, of different shops.
    """
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS sync_history_{start:%Y_%m} PARTITION OF sync_history"
        f" FOR VALUES FROM ('{start} 00:00+00') TO ('{end} 00:00+00')"
    )
    times = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (start, end))
    await connection.execute(_INSERT_HISTORY, *times, count, 1_000 + number)


def old_months(count: int) -> Sequence[tuple[date, date]]:
    """Return the last months, with the first day of the next month, whose syncs may all be deleted."""
    cutoff = datetime.now(UTC).date() - timedelta(days=_DAYS_KEPT)
    return [(start, end) for start, end in _months(back=count + 2) if end <= cutoff][:count]


def _months(*, back: int) -> Iterator[tuple[date, date]]:
    """Yield this month and those before it, the latest first."""
    start = datetime.now(UTC).date().replace(day=1)
    for _ in range(back):
        yield start, (start + timedelta(days=31)).replace(day=1)
        start = (start - timedelta(days=1)).replace(day=1)
