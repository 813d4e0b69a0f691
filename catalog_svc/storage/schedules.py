"""Schedules of shops: their intervals, and when the next sync of each is due. The database's clock decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.schedule import ScheduleDefaults, ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import SHOP_COLUMNS, Row, to_shop
from catalog_svc.storage.tenant import each_visible

SCHEDULE_COLUMNS: Final = """schedule.incremental_interval, schedule.full_interval, schedule.incremental_due_at,
    schedule.full_due_at, schedule.not_before, schedule.paused, schedule.unannounced_at"""
"""The columns that `to_schedule` reads."""

_SELECT = text(f"SELECT {SCHEDULE_COLUMNS} FROM shop_schedule AS schedule WHERE schedule.shop_id = :shop_id")

_SELECT_SCHEDULED = text(f"""
    SELECT {SHOP_COLUMNS}, {SCHEDULE_COLUMNS}, clock_timestamp() AS now
    FROM shop_schedule AS schedule JOIN shop ON shop.shop_id = schedule.shop_id
    WHERE schedule.shop_id = ANY(:shop_ids)""")

_FIND_UNPLANNED = text("SELECT * FROM unplanned_shops(CAST(:limit AS integer)) AS shop_id")

# Once per replica: the defaults of a release or of its settings may be others than those before.
_RESET_PLANNED = text("""
    SELECT reset_planned_schedules(CAST(:incremental AS interval), CAST(:full AS interval))""")

_FIND_DUE = text("""
    SELECT shop_id FROM due_shops(CAST(:most_per_platform AS integer), CAST(:limit AS integer)) ORDER BY due_at""")

_POSTPONE = text("""
    UPDATE shop_schedule SET not_before = clock_timestamp() + :delay WHERE shop_id = :shop_id""")

_UPDATE_DUE_TIMES = text("""
    UPDATE shop_schedule SET incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        planned_incremental_interval = :default_incremental, planned_full_interval = :default_full,
        updated_at = clock_timestamp()
    WHERE shop_id = :shop_id
      AND incremental_due_at IS NOT DISTINCT FROM CAST(:old_incremental_due_at AS timestamptz)
      AND full_due_at IS NOT DISTINCT FROM CAST(:old_full_due_at AS timestamptz)
      AND (unannounced_at IS NULL OR CAST(:old_unannounced_at AS timestamptz) IS NOT NULL)""")


class ScheduleStore:
    """Schedules by shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_defaults(self, defaults: ScheduleDefaults) -> int:
        """Let schedules that were planned under other defaults be planned again; return how many those are."""
        values = {"incremental": defaults.incremental_every, "full": defaults.full_every}

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(_RESET_PLANNED, values)).scalar_one())

        return await self._database.write(work)

    async def unplanned(self, *, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops whose due times were not planned yet under the present defaults."""

        return await self._scheduled(_FIND_UNPLANNED, {"limit": limit})

    async def due(self, *, most_per_platform: int, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops that are due, the longest due first.

        Args:
            most_per_platform: Maximum for each platform, less the number of its scheduled syncs that wait for a
                worker already.
            limit: Maximum number of shops.
        """
        return await self._scheduled(_FIND_DUE, {"most_per_platform": most_per_platform, "limit": limit})

    async def _scheduled(self, find: TextClause, values: Mapping[str, int]) -> list[ScheduledShop]:
        """Return the shops with these ids, in the order of the ids."""

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            shop_ids = list((await connection.execute(find, dict(values))).scalars())
            found: dict[UUID, ScheduledShop] = {}
            async for some in each_visible(connection, shop_ids):
                rows = (await connection.execute(_SELECT_SCHEDULED, {"shop_ids": some})).mappings()
                found |= {row["shop_id"]: _to_scheduled(row) for row in rows}
            return [found[shop_id] for shop_id in shop_ids if shop_id in found]

        return await self._database.read(read)

    async def postpone(self, shop: Shop, *, delay: timedelta) -> None:
        """Let no sync of the shop be due before `delay` has passed."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_POSTPONE, {"shop_id": shop.shop_id, "delay": delay})

        await self._database.write(work, shops=[shop.shop_id])

    async def plan(
        self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule, defaults: ScheduleDefaults
    ) -> None:
        """Store the due times of `new`.

        Without effect if others were stored, or if webhooks have become silent, since `old` was read.
        """

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_UPDATE_DUE_TIMES, _due_times(shop, old, new, defaults))

        await self._database.write(work, shops=[shop.shop_id])


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
        "old_unannounced_at": old.unannounced_at,
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
        unannounced_at=row["unannounced_at"],
    )
