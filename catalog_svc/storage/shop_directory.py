"""The directory of shops, as callers see it: register, read, list and change them.

Its tables are small and local to the coordinator. Every filter of the list has an index that ends in `shop_id`,
the order of the pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import ShopAlreadyRegistered, ShopBeingDeleted
from catalog_svc.domain.schedule import ScheduleDefaults, StoredSchedule
from catalog_svc.domain.shop import Shop, ShopChange, ShopField, ShopKey, ShopRef
from catalog_svc.domain.status import (
    ANY_SHOP,
    ConnectionHealth,
    ConnectionState,
    ShopDetails,
    ShopFilter,
)
from catalog_svc.storage.analyzers import change_analyzers
from catalog_svc.storage.database import Database
from catalog_svc.storage.schedules import SCHEDULE_COLUMNS, to_schedule
from catalog_svc.storage.shop_webhooks import WEBHOOK_COLUMNS, to_health
from catalog_svc.storage.shops import SHOP_COLUMNS, Row, ShopScope, find_entry, register_shop, to_shop
from catalog_svc.storage.tenant import each_visible

_FIRST_ID: Final = UUID(int=0)
"""Below the id of every shop."""

_SCHEDULE_FIELDS: Final = frozenset(
    {ShopField.INCREMENTAL_INTERVAL, ShopField.FULL_INTERVAL, ShopField.PAUSED},
)

_SELECT: Final = f"""
    SELECT {SHOP_COLUMNS}, shop.connection_state, shop.connection_reason, shop.connection_message,
        shop.created_at, shop.updated_at, {SCHEDULE_COLUMNS}, {WEBHOOK_COLUMNS},
        ARRAY(SELECT queue.analyzer FROM analysis_queue AS queue WHERE queue.shop_id = shop.shop_id ORDER BY 1)
            AS analyzers
    FROM shop JOIN shop_schedule AS schedule ON schedule.shop_id = shop.shop_id
        LEFT JOIN shop_webhooks AS webhooks ON webhooks.shop_id = shop.shop_id"""

_SELECT_BY_IDS = text(f"{_SELECT} WHERE shop.shop_id = ANY(:shop_ids)")

# Across shops, and so by functions, which return ids.
_FIND_PAGE = text("""
    SELECT * FROM shop_page(
        CAST(:after AS uuid), CAST(:merchant_id AS text), CAST(:platform AS text), CAST(:connection_state AS text),
        CAST(:domain AS text), CAST(:limit AS integer)) AS shop_id""")
_FIND_SAME_STORE = text("""
    SELECT shop_id, same_store_id FROM same_store_shops(
        CAST(:shop_ids AS uuid[]), CAST(NULL AS text), CAST(:merchant_id AS text), CAST(:domain AS text))""")

_LOCK = text(f"""
    SELECT {SHOP_COLUMNS}, {SCHEDULE_COLUMNS}, clock_timestamp() AS now
    FROM shop JOIN shop_schedule AS schedule ON schedule.shop_id = shop.shop_id
    WHERE shop.shop_id = :shop_id FOR UPDATE""")

_UPDATE_SHOP = text("""
    UPDATE shop SET merchant_id = :merchant_id, caller_name = :caller_name, updated_at = clock_timestamp()
    WHERE shop_id = :shop_id AND (merchant_id, caller_name) IS DISTINCT FROM (:merchant_id, :caller_name)""")

_UPDATE_SCHEDULE = text("""
    UPDATE shop_schedule SET incremental_interval = :incremental_interval, full_interval = :full_interval,
        paused = :paused, incremental_due_at = :incremental_due_at, full_due_at = :full_due_at,
        planned_incremental_interval = :default_incremental, planned_full_interval = :default_full,
        updated_at = clock_timestamp()
    WHERE shop_id = :shop_id""")


class ShopDirectoryStore:
    """Registered shops with their connections and schedules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(
        self, ref: ShopRef, defaults: ScheduleDefaults, *, same_store_of: ShopFilter = ANY_SHOP
    ) -> ShopDetails | None:
        """Return the shop; None when it is not registered, or is being deleted.

        Args:
            ref: The shop.
            defaults: The intervals of shops without their own.
            same_store_of: Other shops of the same store are named only if they have this merchant and this domain.
        """

        async def read(connection: AsyncConnection) -> ShopDetails | None:
            shop = await find_entry(connection, ref)
            if shop is None:
                return None
            return (await _load(connection, [shop.shop_id], defaults, same_store_of)).get(shop.shop_id)

        return await self._database.read(read)

    async def page(
        self,
        which: ShopFilter,
        *,
        after: UUID | None,
        limit: int,
        defaults: ScheduleDefaults,
        same_store_of: ShopFilter = ANY_SHOP,
    ) -> list[ShopDetails]:
        """Return up to `limit` shops with ids above `after`, in order; see `get` for the other arguments."""
        values = {
            "merchant_id": which.merchant_id,
            "platform": which.platform,
            "connection_state": which.connection.value if which.connection else "",
            "domain": which.domain,
            "after": after or _FIRST_ID,
            "limit": limit,
        }

        async def read(connection: AsyncConnection) -> list[ShopDetails]:
            shop_ids = list((await connection.execute(_FIND_PAGE, values)).scalars())
            found: dict[UUID, ShopDetails] = {}
            async for some in each_visible(connection, shop_ids):
                found |= await _load(connection, some, defaults, same_store_of)
            return [found[shop_id] for shop_id in shop_ids if shop_id in found]

        return await self._database.read(read)

    async def register(
        self, key: ShopKey, *, merchant_id: str, caller_name: str, defaults: ScheduleDefaults
    ) -> ShopDetails:
        """Register the shop, or return it as it is if it is registered.

        Args:
            key: The key of the shop.
            merchant_id: Its merchant; empty: none, or whatever a registered shop has.
            caller_name: The caller's name of a new shop.
            defaults: The intervals of shops without their own.

        Raises:
            ShopAlreadyRegistered: The shop is registered, and not for this merchant.
            ShopBeingDeleted: The shop is being deleted.
        """

        async def work(connection: AsyncConnection) -> ShopDetails:
            shop = await register_shop(connection, key, merchant_id=merchant_id, caller_name=caller_name)
            if merchant_id and shop.merchant_id != merchant_id:
                raise ShopAlreadyRegistered(shop)
            return await _details(connection, shop.shop_id, defaults)

        return await self._database.write(work)

    async def update(self, shop: Shop, change: ShopChange, defaults: ScheduleDefaults) -> ShopDetails:
        """Change the fields of the shop and return it, with due times that fit its intervals.

        Raises:
            ShopBeingDeleted: The shop is being deleted.
        """

        async def work(connection: AsyncConnection) -> ShopDetails:
            if ShopField.ANALYZERS in change.fields:
                # The state of the shop before its entry: in the order in which a sync locks them.
                await change_analyzers(connection, ShopScope.of(shop), change.analyzers)
            row = (await connection.execute(_LOCK, {"shop_id": shop.shop_id})).mappings().first()
            if row is None:
                raise ShopBeingDeleted(shop.shop_id)
            await connection.execute(_UPDATE_SHOP, _changed_entry(to_shop(row), change))
            if change.fields & _SCHEDULE_FIELDS:
                planned = to_schedule(row).changed(change).planned(defaults, row["now"])
                await connection.execute(_UPDATE_SCHEDULE, _schedule_values(shop, planned, defaults))
            return await _details(connection, shop.shop_id, defaults)

        return await self._database.write(work, shops=[shop.shop_id])


async def _load(
    connection: AsyncConnection, shop_ids: Sequence[UUID], defaults: ScheduleDefaults, same_store_of: ShopFilter
) -> dict[UUID, ShopDetails]:
    """Return those of these visible shops that are registered, by id."""
    values = {
        "shop_ids": list(shop_ids),
        "merchant_id": same_store_of.merchant_id,
        "domain": same_store_of.domain,
    }
    rows = (await connection.execute(_SELECT_BY_IDS, values)).mappings().all()
    others: defaultdict[UUID, list[UUID]] = defaultdict(list)
    if any(row["platform_shop_id"] for row in rows):
        for row in await connection.execute(_FIND_SAME_STORE, values):
            others[row.shop_id].append(row.same_store_id)
    return {row["shop_id"]: _to_details(row, others[row["shop_id"]], defaults) for row in rows}


async def _details(connection: AsyncConnection, shop_id: UUID, defaults: ScheduleDefaults) -> ShopDetails:
    """Return a shop that was registered a moment ago. Raises ShopBeingDeleted."""
    found = (await _load(connection, [shop_id], defaults, ANY_SHOP)).get(shop_id)
    if found is None:
        raise ShopBeingDeleted(shop_id)
    return found


def _changed_entry(shop: Shop, change: ShopChange) -> dict[str, object]:
    changed = shop
    if ShopField.MERCHANT_ID in change.fields:
        changed = replace(changed, merchant_id=change.merchant_id)
    if ShopField.DISPLAY_NAME in change.fields:
        changed = replace(changed, caller_name=change.display_name)
    return {"shop_id": shop.shop_id, "merchant_id": changed.merchant_id, "caller_name": changed.caller_name}


def _schedule_values(shop: Shop, schedule: StoredSchedule, defaults: ScheduleDefaults) -> dict[str, object]:
    return {
        "shop_id": shop.shop_id,
        "incremental_interval": schedule.incremental_every,
        "full_interval": schedule.full_every,
        "paused": schedule.paused,
        "incremental_due_at": schedule.incremental_due_at,
        "full_due_at": schedule.full_due_at,
        "default_incremental": defaults.incremental_every,
        "default_full": defaults.full_every,
    }


def _to_details(row: Row, same_store_shop_ids: Sequence[UUID], defaults: ScheduleDefaults) -> ShopDetails:
    return ShopDetails(
        shop=to_shop(row),
        connection=ConnectionHealth(
            state=_to_state(row["connection_state"]),
            reason=row["connection_reason"],
            message=row["connection_message"],
        ),
        schedule=to_schedule(row).effective(defaults),
        webhooks=to_health(row),
        same_store_shop_ids=tuple(same_store_shop_ids),
        analyzers=tuple(row["analyzers"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _to_state(stored: str) -> ConnectionState:
    """Return the state; UNSPECIFIED for none, and for one that a newer release has stored."""
    return ConnectionState.__members__.get(stored, ConnectionState.UNSPECIFIED)
