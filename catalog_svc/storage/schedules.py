"""How often shops are synced without being asked, and whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.schedule import (
    RETRY_BROKEN_EVERY,
    ScheduleChange,
    ScheduleDefaults,
    ScheduledShop,
    StoredSchedule,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.status import NEEDS_ACTION
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SHOP_COLUMNS, to_shop

_SCHEDULE_COLUMNS = """schedule.incremental_every, schedule.full_every, schedule.incremental_due_at,
    schedule.full_due_at, coalesce(schedule.paused, false) AS paused"""

_SCHEDULED = f"""
    SELECT shop.merchant_id, shop.shop_id, {SHOP_COLUMNS}, {_SCHEDULE_COLUMNS}, clock_timestamp() AS now"""

_KEY = "merchant_id = :merchant_id AND shop_id = :shop_id"

_GET = text(f"SELECT {_SCHEDULE_COLUMNS} FROM shop_schedule AS schedule WHERE {_KEY}")


def _unfit(kind: str) -> str:
    every = f"coalesce(schedule.{kind}_every, :default_{kind})"
    due_at = f"schedule.{kind}_due_at"
    return f"""CASE WHEN {every} = interval '0' THEN {due_at} IS NOT NULL
        ELSE {due_at} IS NULL OR {due_at} > clock_timestamp() + {every} END"""


# Shops that the schedule has not met yet, and those whose turns were planned under other defaults.
_UNPLANNED = text(f"""{_SCHEDULED}
    FROM shop LEFT JOIN shop_schedule AS schedule
        ON schedule.merchant_id = shop.merchant_id AND schedule.shop_id = shop.shop_id
    WHERE NOT coalesce(schedule.paused, false) AND (({_unfit("incremental")}) OR ({_unfit("full")}))
    LIMIT :limit""")

_IS_DUE = """NOT schedule.paused
      AND least(schedule.incremental_due_at, schedule.full_due_at) <= clock_timestamp()
      AND (schedule.taken_until IS NULL OR schedule.taken_until <= clock_timestamp())"""

# No more than `most_per_platform` scheduled syncs of a platform are left waiting for a worker. A shop that
# somebody must repair first is looked at again only from time to time; one that is being synced, when that ended.
_DUE = text(f"""
    WITH waiting AS (
        SELECT shop.platform, count(*) AS syncs FROM sync
        JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id
        WHERE sync.state = 'PENDING' AND sync.trigger = 'SCHEDULE' GROUP BY shop.platform),
    due AS ({_SCHEDULED}, least(schedule.incremental_due_at, schedule.full_due_at) AS due_at, row_number() OVER (
            PARTITION BY shop.platform
            ORDER BY least(schedule.incremental_due_at, schedule.full_due_at)) AS place
    FROM shop_schedule AS schedule
    JOIN shop ON shop.merchant_id = schedule.merchant_id AND shop.shop_id = schedule.shop_id
    LEFT JOIN LATERAL (
        SELECT sync.state, sync.error_reason, sync.ended_at FROM sync
        WHERE sync.merchant_id = schedule.merchant_id AND sync.shop_id = schedule.shop_id
        ORDER BY sync.sync_id DESC LIMIT 1) AS latest ON true
    WHERE {_IS_DUE}
      AND coalesce(latest.state NOT IN ('PENDING', 'RUNNING'), true)
      AND NOT coalesce(latest.error_reason = ANY(CAST(:broken AS text[]))
                       AND latest.ended_at > clock_timestamp() - CAST(:retry_broken_every AS interval), false))
    SELECT due.* FROM due LEFT JOIN waiting ON waiting.platform = due.platform
    WHERE due.place <= :most_per_platform - coalesce(waiting.syncs, 0)
    ORDER BY due.due_at""")

_TAKE = text(f"""
    UPDATE shop_schedule AS schedule SET taken_until = clock_timestamp() + :hold
    WHERE {_KEY} AND {_IS_DUE}""")

_ENROL = text("""
    INSERT INTO shop_schedule (merchant_id, shop_id) VALUES (:merchant_id, :shop_id)
    ON CONFLICT (merchant_id, shop_id) DO NOTHING""")

_PLAN = text(f"""
    UPDATE shop_schedule SET incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        taken_until = NULL, updated_at = clock_timestamp()
    WHERE {_KEY} AND incremental_due_at IS NOT DISTINCT FROM CAST(:old_incremental_due_at AS timestamptz)
      AND full_due_at IS NOT DISTINCT FROM CAST(:old_full_due_at AS timestamptz)""")

_CHANGE = text(f"""
    UPDATE shop_schedule AS schedule SET
        incremental_every = CASE WHEN CAST(:incremental_every AS interval) IS NULL AND NOT :reset
            THEN incremental_every ELSE CAST(:incremental_every AS interval) END,
        full_every = CASE WHEN CAST(:full_every AS interval) IS NULL AND NOT :reset
            THEN full_every ELSE CAST(:full_every AS interval) END,
        paused = CASE WHEN CAST(:paused AS boolean) IS NULL AND NOT :reset
            THEN paused ELSE coalesce(CAST(:paused AS boolean), false) END,
        updated_at = clock_timestamp()
    WHERE {_KEY}
    RETURNING {_SCHEDULE_COLUMNS}, clock_timestamp() AS now""")


class ScheduleStore:
    """Schedules by shop. The database's clock says what is due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, shop: Shop) -> StoredSchedule:
        """The shop's schedule; one that says nothing when it has none."""

        async def read(connection: AsyncConnection) -> StoredSchedule:
            row = (await connection.execute(_GET, _key(shop))).mappings().first()
            return _to_schedule(row) if row else StoredSchedule()

        return await self._database.read(read)

    async def change(self, shop: Shop, change: ScheduleChange, defaults: ScheduleDefaults) -> StoredSchedule:
        """The shop's schedule after the change, with turns that fit it."""
        values = {
            **_key(shop),
            "incremental_every": change.incremental_every,
            "full_every": change.full_every,
            "paused": change.paused,
            "reset": change.reset,
        }

        async def work(connection: AsyncConnection) -> StoredSchedule:
            await connection.execute(_ENROL, _key(shop))
            row = (await connection.execute(_CHANGE, values)).mappings().one()
            old = _to_schedule(row)
            new = old.planned(defaults, row["now"])
            await connection.execute(_PLAN, _plan_values(shop, old, new))
            return new

        return await self._database.write(work)

    async def unplanned(self, defaults: ScheduleDefaults, *, limit: int) -> list[ScheduledShop]:
        """Shops whose turns do not fit what is in effect for them."""
        values = {
            "default_incremental": defaults.incremental_every,
            "default_full": defaults.full_every,
            "limit": limit,
        }

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            return [_to_scheduled(row) for row in (await connection.execute(_UNPLANNED, values)).mappings()]

        return await self._database.read(read)

    async def due(self, *, most_per_platform: int) -> list[ScheduledShop]:
        """Shops whose turn it is, the longest due first; of each platform so many, fewer while scheduled syncs of
        the same platform wait for a worker."""
        values = {
            "most_per_platform": most_per_platform,
            "broken": sorted(NEEDS_ACTION),
            "retry_broken_every": RETRY_BROKEN_EVERY,
        }

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            return [_to_scheduled(row) for row in (await connection.execute(_DUE, values)).mappings()]

        return await self._database.read(read)

    async def take(self, shop: Shop, *, hold: timedelta) -> bool:
        """Whether the caller, and no other replica, may start what is due; for so long, or until it is planned."""

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(_TAKE, {**_key(shop), "hold": hold})).rowcount == 1

        return await self._database.write(work)

    async def plan(self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule) -> None:
        """Sets the next turns; without effect when somebody else did since `old` was read."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_ENROL, _key(shop))
            await connection.execute(_PLAN, _plan_values(shop, old, new))

        await self._database.write(work)


def _key(shop: Shop) -> dict[str, object]:
    return {"merchant_id": shop.merchant_id, "shop_id": shop.shop_id}


def _plan_values(shop: Shop, old: StoredSchedule, new: StoredSchedule) -> dict[str, object]:
    return {
        **_key(shop),
        "old_incremental_due_at": old.incremental_due_at,
        "old_full_due_at": old.full_due_at,
        "incremental_due_at": new.incremental_due_at,
        "full_due_at": new.full_due_at,
    }


def _to_scheduled(row: Mapping[Any, Any]) -> ScheduledShop:
    return ScheduledShop(shop=to_shop(row), schedule=_to_schedule(row), now=row["now"])


def _to_schedule(row: Mapping[Any, Any]) -> StoredSchedule:
    return StoredSchedule(
        incremental_every=row["incremental_every"],
        full_every=row["full_every"],
        paused=row["paused"],
        incremental_due_at=row["incremental_due_at"],
        full_due_at=row["full_due_at"],
    )
