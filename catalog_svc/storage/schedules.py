"""Schedules of shops: their intervals, and when the next sync of each is due. The database's clock decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import SHOP_COLUMNS, Row, to_shop

SCHEDULE_COLUMNS: Final = """schedule.incremental_interval, schedule.full_interval, schedule.incremental_due_at,
    schedule.full_due_at, schedule.not_before, schedule.paused"""
"""The columns that `to_schedule` reads."""

_SELECT_SCHEDULED = f"SELECT {SHOP_COLUMNS}, {SCHEDULE_COLUMNS}, clock_timestamp() AS now"

_SELECT = text(f"SELECT {SCHEDULE_COLUMNS} FROM shop_schedule AS schedule WHERE schedule.shop_id = :shop_id")

_SELECT_UNPLANNED = text(f"""{_SELECT_SCHEDULED}
    FROM shop_schedule AS schedule JOIN shop ON shop.shop_id = schedule.shop_id
    WHERE schedule.planned_full_interval IS NULL LIMIT :limit""")

# Once per replica: the defaults of a release or of its settings may be others than those before.
_RESET_PLANNED = text("""
    UPDATE shop_schedule SET planned_incremental_interval = NULL, planned_full_interval = NULL
    WHERE planned_full_interval IS NOT NULL
      AND (planned_incremental_interval, planned_full_interval) IS DISTINCT FROM (:incremental, :full)""")

# A loose index scan for the platforms, and one index scan for each: the shops that are due longest. No more than
# `most_per_platform` scheduled syncs of a platform wait for a worker at a time. A volatile function such as
# clock_timestamp() would be no index condition: the scan would read all shops of a platform. Without LIMIT 1 the
# planner would read all shops for the join.
_SELECT_DUE = text(f"""
    WITH RECURSIVE planned (platform) AS (
        SELECT min(platform) FROM shop_schedule WHERE next_due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(platform) FROM shop_schedule
                WHERE platform > planned.platform AND next_due_at IS NOT NULL)
        FROM planned WHERE planned.platform IS NOT NULL),
    free AS (
        SELECT platform, :most_per_platform - (
            SELECT count(*) FROM (
                SELECT FROM sync_queue
                WHERE sync_queue.platform = planned.platform AND priority = 1 AND lease_until IS NULL
                LIMIT :most_per_platform) AS waiting) AS places
        FROM planned WHERE platform IS NOT NULL),
    due AS (
        SELECT first.* FROM free CROSS JOIN LATERAL (
            SELECT schedule.shop_id, schedule.next_due_at, {SCHEDULE_COLUMNS} FROM shop_schedule AS schedule
            WHERE schedule.platform = free.platform AND schedule.next_due_at <= statement_timestamp()
            ORDER BY schedule.next_due_at LIMIT greatest(0, least(free.places, :limit))) AS first
        ORDER BY first.next_due_at LIMIT :limit)
    {_SELECT_SCHEDULED}
    FROM due AS schedule
    CROSS JOIN LATERAL (SELECT * FROM shop WHERE shop.shop_id = schedule.shop_id LIMIT 1) AS shop
    ORDER BY schedule.next_due_at""")

_POSTPONE = text("""
    UPDATE shop_schedule SET not_before = clock_timestamp() + :delay WHERE shop_id = :shop_id""")

_UPDATE_DUE_TIMES = text("""
    UPDATE shop_schedule SET incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        planned_incremental_interval = :default_incremental, planned_full_interval = :default_full,
        updated_at = clock_timestamp()
    WHERE shop_id = :shop_id
      AND incremental_due_at IS NOT DISTINCT FROM CAST(:old_incremental_due_at AS timestamptz)
      AND full_due_at IS NOT DISTINCT FROM CAST(:old_full_due_at AS timestamptz)""")


class ScheduleStore:
    """Schedules by shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_defaults(self, defaults: ScheduleDefaults) -> int:
        """Let schedules that were planned under other defaults be planned again; return how many those are."""
        values = {"incremental": defaults.incremental_every, "full": defaults.full_every}

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(_RESET_PLANNED, values)).rowcount

        return await self._database.write(work)

    async def unplanned(self, *, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops whose due times were not planned yet under the present defaults."""

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            rows = (await connection.execute(_SELECT_UNPLANNED, {"limit": limit})).mappings()
            return [_to_scheduled(row) for row in rows]

        return await self._database.read(read)

    async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops that are due, the longest due first.

        Args:
            most_per_platform: Maximum for each platform, less the number of its scheduled syncs that wait for a
                worker already.
            limit: Maximum number of shops.
        """
        values = {"most_per_platform": most_per_platform, "limit": limit}

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            return [_to_scheduled(row) for row in (await connection.execute(_SELECT_DUE, values)).mappings()]

        return await self._database.read(read)

    async def postpone(self, shop: Shop, *, delay: timedelta) -> None:
        """Let no sync of the shop be due before `delay` has passed."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_POSTPONE, {"shop_id": shop.shop_id, "delay": delay})

        await self._database.write(work)

    async def plan(
        self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule, defaults: ScheduleDefaults
    ) -> None:
        """Store the due times of `new`, unless another replica has stored some since `old` was read."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_UPDATE_DUE_TIMES, _due_times(shop, old, new, defaults))

        await self._database.write(work)


async def find_schedule(connection: AsyncConnection, shop: Shop) -> StoredSchedule:
    """Return the shop's schedule."""
    row = (await connection.execute(_SELECT, {"shop_id": shop.shop_id})).mappings().one()
    return to_schedule(row)


def _due_times(
    shop: Shop, old: StoredSchedule, new: StoredSchedule, defaults: ScheduleDefaults
) -> dict[str, object]:
    return {
        "shop_id": shop.shop_id,
        "old_incremental_due_at": old.incremental_due_at,
        "old_full_due_at": old.full_due_at,
        "incremental_due_at": new.incremental_due_at,
        "full_due_at": new.full_due_at,
        "default_incremental": defaults.incremental_every,
        "default_full": defaults.full_every,
    }


def _to_scheduled(row: Row) -> ScheduledShop:
    return ScheduledShop(shop=to_shop(row), schedule=to_schedule(row), now=row["now"])


def to_schedule(row: Row) -> StoredSchedule:
    """Convert a row of `SCHEDULE_COLUMNS`."""
    return StoredSchedule(
        incremental_every=row["incremental_interval"],
        full_every=row["full_interval"],
        paused=row["paused"],
        incremental_due_at=row["incremental_due_at"],
        full_due_at=row["full_due_at"],
        not_before=row["not_before"],
    )
