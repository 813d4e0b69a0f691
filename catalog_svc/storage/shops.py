"""Shops: their directory, the scope of statements that touch the rows of one shop, and their schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.schedule import (
    RETRY_BROKEN_INTERVAL,
    ScheduleChange,
    ScheduleDefaults,
    ScheduledShop,
    StoredSchedule,
)
from catalog_svc.domain.shop import Shop, ShopKey, ShopProfile, ShopRef
from catalog_svc.domain.status import NEEDS_ACTION
from catalog_svc.domain.sync import Lease
from catalog_svc.storage.database import Database

Row: TypeAlias = Mapping[Any, Any]

SHOP_COLUMNS: Final = """shop.platform, shop.domain, shop.platform_shop_id, shop.currency_code, shop.display_name,
    shop.watermark AS shop_watermark, shop.full_watermark AS shop_full_watermark, shop.notes AS shop_notes"""
"""The columns that `to_shop` reads, beside merchant_id and shop_id."""

OF_SHOP: Final = "merchant_id = :merchant_id AND shop_id = :shop_id"
"""Condition on the rows of the shop of `ShopScope.values`."""

_SELECT_BY_KEY = text(
    f"SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE platform = :platform AND domain = :domain"
)
_SELECT_BY_ID = text(f"SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE shop_id = :shop_id")

_INSERT = text("""
    INSERT INTO shop (merchant_id, shop_id, platform, domain) VALUES (:merchant_id, :shop_id, :platform, :domain)
    ON CONFLICT (platform, domain) DO NOTHING""")

_UPDATE_PROFILE = text(f"""
    UPDATE shop SET currency_code = :currency_code, platform_shop_id = :platform_shop_id,
        display_name = :display_name, updated_at = clock_timestamp()
    WHERE {OF_SHOP}
    RETURNING merchant_id, shop_id, {SHOP_COLUMNS}""")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopScope:
    """One shop of one merchant, whose rows a statement touches."""

    merchant_id: UUID
    shop_id: UUID

    @classmethod
    def of(cls, owner: Shop | Lease) -> ShopScope:
        """Return the scope of a shop, or of the shop of a lease."""
        return cls(merchant_id=owner.merchant_id, shop_id=owner.shop_id)

    @property
    def values(self) -> dict[str, object]:
        """The ids as statement parameters."""
        return {"merchant_id": self.merchant_id, "shop_id": self.shop_id}


class ShopStore:
    """Registered shops by id, or by platform and domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, ref: ShopRef) -> Shop | None:
        """Return the shop; None when it is not registered."""
        return await self._database.read(lambda connection: find_shop(connection, ref))


async def find_shop(connection: AsyncConnection, ref: ShopRef) -> Shop | None:
    """Return the registered shop; None when there is none."""
    if isinstance(ref, ShopKey):
        result = await connection.execute(_SELECT_BY_KEY, {"platform": ref.platform, "domain": ref.domain})
    else:
        result = await connection.execute(_SELECT_BY_ID, {"shop_id": ref})
    row = result.mappings().first()
    return to_shop(row) if row else None


async def register_shop(connection: AsyncConnection, key: ShopKey) -> Shop:
    """Return the shop, registered now if it was not; a new shop gets a merchant of its own."""
    shop = await find_shop(connection, key)
    if shop is None:
        values = {"merchant_id": uuid7(), "shop_id": uuid7(), "platform": key.platform, "domain": key.domain}
        await connection.execute(_INSERT, values)
        # Another transaction may have been first: read the row that won.
        shop = await find_shop(connection, key)
    assert shop is not None
    return shop


async def update_profile(connection: AsyncConnection, scope: ShopScope, profile: ShopProfile) -> Shop:
    """Store what the platform says about the shop and return the shop."""
    values = {
        **scope.values,
        "currency_code": profile.currency_code,
        "platform_shop_id": profile.platform_shop_id,
        "display_name": profile.display_name,
    }
    return to_shop((await connection.execute(_UPDATE_PROFILE, values)).mappings().one())


def to_shop(row: Row) -> Shop:
    """Convert a row of `SHOP_COLUMNS` with merchant_id and shop_id."""
    return Shop(
        merchant_id=row["merchant_id"],
        shop_id=row["shop_id"],
        key=ShopKey(row["platform"], row["domain"]),
        platform_shop_id=row["platform_shop_id"],
        currency_code=row["currency_code"],
        display_name=row["display_name"],
        watermark=row["shop_watermark"],
        full_watermark=row["shop_full_watermark"],
        notes=tuple(row["shop_notes"]),
    )


_SCHEDULE_COLUMNS = """schedule.incremental_every, schedule.full_every, schedule.incremental_due_at,
    schedule.full_due_at, coalesce(schedule.paused, false) AS paused"""

_SELECT_SCHEDULED = f"""
    SELECT shop.merchant_id, shop.shop_id, {SHOP_COLUMNS}, {_SCHEDULE_COLUMNS}, clock_timestamp() AS now"""

_SELECT = text(f"SELECT {_SCHEDULE_COLUMNS} FROM shop_schedule AS schedule WHERE {OF_SHOP}")


def _does_not_fit(kind: str) -> str:
    """The condition that the due time does not fit the interval: none where there is one, or one beyond it."""
    every = f"coalesce(schedule.{kind}_every, :default_{kind})"
    due_at = f"schedule.{kind}_due_at"
    return f"""CASE WHEN {every} = interval '0' THEN {due_at} IS NOT NULL
        ELSE {due_at} IS NULL OR {due_at} > clock_timestamp() + {every} END"""


# Shops that have no due times yet, and shops whose due times were planned under other defaults.
_SELECT_UNPLANNED = text(f"""{_SELECT_SCHEDULED}
    FROM shop LEFT JOIN shop_schedule AS schedule
        ON schedule.merchant_id = shop.merchant_id AND schedule.shop_id = shop.shop_id
    WHERE NOT coalesce(schedule.paused, false)
      AND (({_does_not_fit("incremental")}) OR ({_does_not_fit("full")}))
    LIMIT :limit""")

_IS_DUE = """NOT schedule.paused
      AND least(schedule.incremental_due_at, schedule.full_due_at) <= clock_timestamp()
      AND (schedule.taken_until IS NULL OR schedule.taken_until <= clock_timestamp())"""

# No more than `most_per_platform` scheduled syncs of a platform wait for a worker at a time. A broken shop, which
# the merchant or an operator must repair first, is retried rarely; a shop that is being synced, when that sync has
# ended.
_SELECT_DUE = text(f"""
    WITH waiting AS (
        SELECT shop.platform, count(*) AS syncs FROM sync
        JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id
        WHERE sync.state = 'PENDING' AND sync.trigger = 'SCHEDULE' GROUP BY shop.platform),
    due AS ({_SELECT_SCHEDULED}, least(schedule.incremental_due_at, schedule.full_due_at) AS due_at,
        row_number() OVER (
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

_CLAIM_DUE = text(f"""
    UPDATE shop_schedule AS schedule SET taken_until = clock_timestamp() + :hold
    WHERE {OF_SHOP} AND {_IS_DUE}""")

_INSERT_SCHEDULE = text("""
    INSERT INTO shop_schedule (merchant_id, shop_id) VALUES (:merchant_id, :shop_id)
    ON CONFLICT (merchant_id, shop_id) DO NOTHING""")

_UPDATE_DUE_TIMES = text(f"""
    UPDATE shop_schedule SET incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        taken_until = NULL, updated_at = clock_timestamp()
    WHERE {OF_SHOP} AND incremental_due_at IS NOT DISTINCT FROM CAST(:old_incremental_due_at AS timestamptz)
      AND full_due_at IS NOT DISTINCT FROM CAST(:old_full_due_at AS timestamptz)""")

_UPDATE_INTERVALS = text(f"""
    UPDATE shop_schedule AS schedule SET
        incremental_every = CASE WHEN CAST(:incremental_every AS interval) IS NULL AND NOT :reset
            THEN incremental_every ELSE CAST(:incremental_every AS interval) END,
        full_every = CASE WHEN CAST(:full_every AS interval) IS NULL AND NOT :reset
            THEN full_every ELSE CAST(:full_every AS interval) END,
        paused = CASE WHEN CAST(:paused AS boolean) IS NULL AND NOT :reset
            THEN paused ELSE coalesce(CAST(:paused AS boolean), false) END,
        updated_at = clock_timestamp()
    WHERE {OF_SHOP}
    RETURNING {_SCHEDULE_COLUMNS}, clock_timestamp() AS now""")


class ScheduleStore:
    """Schedules by shop. The database's clock decides what is due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, shop: Shop) -> StoredSchedule:
        """Return the shop's schedule; one without intervals of its own when none is stored."""

        async def read(connection: AsyncConnection) -> StoredSchedule:
            row = (await connection.execute(_SELECT, ShopScope.of(shop).values)).mappings().first()
            return _to_schedule(row) if row else StoredSchedule()

        return await self._database.read(read)

    async def change(self, shop: Shop, change: ScheduleChange, defaults: ScheduleDefaults) -> StoredSchedule:
        """Apply the change and return the schedule after it, with due times that fit its intervals."""
        values = {
            **ShopScope.of(shop).values,
            "incremental_every": change.incremental_every,
            "full_every": change.full_every,
            "paused": change.paused,
            "reset": change.reset,
        }

        async def work(connection: AsyncConnection) -> StoredSchedule:
            await connection.execute(_INSERT_SCHEDULE, ShopScope.of(shop).values)
            row = (await connection.execute(_UPDATE_INTERVALS, values)).mappings().one()
            old = _to_schedule(row)
            new = old.planned(defaults, row["now"])
            await connection.execute(_UPDATE_DUE_TIMES, _due_times(shop, old, new))
            return new

        return await self._database.write(work)

    async def unplanned(self, defaults: ScheduleDefaults, *, limit: int) -> list[ScheduledShop]:
        """Return up to `limit` shops whose due times do not fit the intervals in effect for them."""
        values = {
            "default_incremental": defaults.incremental_every,
            "default_full": defaults.full_every,
            "limit": limit,
        }

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            return [_to_scheduled(row) for row in (await connection.execute(_SELECT_UNPLANNED, values)).mappings()]

        return await self._database.read(read)

    async def due(self, *, most_per_platform: int) -> list[ScheduledShop]:
        """Return shops that are due, the longest due first.

        Args:
            most_per_platform: Maximum for each platform, less the number of its scheduled syncs that wait for a
                worker already.
        """
        values = {
            "most_per_platform": most_per_platform,
            "broken": sorted(NEEDS_ACTION),
            "retry_broken_every": RETRY_BROKEN_INTERVAL,
        }

        async def read(connection: AsyncConnection) -> list[ScheduledShop]:
            return [_to_scheduled(row) for row in (await connection.execute(_SELECT_DUE, values)).mappings()]

        return await self._database.read(read)

    async def take(self, shop: Shop, *, hold: timedelta) -> bool:
        """Claim the right to start the shop's due sync, for `hold` or until the next due times are planned.

        Returns:
            Whether the caller has the right, and no other replica.
        """

        async def work(connection: AsyncConnection) -> bool:
            result = await connection.execute(_CLAIM_DUE, {**ShopScope.of(shop).values, "hold": hold})
            return result.rowcount == 1

        return await self._database.write(work)

    async def plan(self, shop: Shop, *, old: StoredSchedule, new: StoredSchedule) -> None:
        """Store the due times of `new`, unless another replica has stored some since `old` was read."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_INSERT_SCHEDULE, ShopScope.of(shop).values)
            await connection.execute(_UPDATE_DUE_TIMES, _due_times(shop, old, new))

        await self._database.write(work)


def _due_times(shop: Shop, old: StoredSchedule, new: StoredSchedule) -> dict[str, object]:
    return {
        **ShopScope.of(shop).values,
        "old_incremental_due_at": old.incremental_due_at,
        "old_full_due_at": old.full_due_at,
        "incremental_due_at": new.incremental_due_at,
        "full_due_at": new.full_due_at,
    }


def _to_scheduled(row: Row) -> ScheduledShop:
    return ScheduledShop(shop=to_shop(row), schedule=_to_schedule(row), now=row["now"])


def _to_schedule(row: Row) -> StoredSchedule:
    return StoredSchedule(
        incremental_every=row["incremental_every"],
        full_every=row["full_every"],
        paused=row["paused"],
        incremental_due_at=row["incremental_due_at"],
        full_due_at=row["full_due_at"],
    )
