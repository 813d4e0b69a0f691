"""Shops: their directory, and the scope of statements that touch the rows of one shop."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import ShopBeingDeleted
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.shop import Shop, ShopKey, ShopProfile, ShopRef
from catalog_svc.domain.sync import Lease
from catalog_svc.storage.database import Database
from catalog_svc.storage.tenant import enter_shops

Row: TypeAlias = Mapping[Any, Any]

SHOP_COLUMNS: Final = """shop.shop_id, shop.merchant_id, shop.platform, shop.domain, shop.platform_shop_id,
    shop.currency_code, shop.display_name, shop.caller_name"""
"""The columns that `to_shop` reads."""

STATE_COLUMNS: Final = """shop_state.watermark AS shop_watermark, shop_state.full_watermark AS shop_full_watermark,
    shop_state.notes AS shop_notes"""
"""The columns that `with_state` reads."""

OF_SHOP: Final = "shop_id = :shop_id"
"""Condition on the rows of the shop of `ShopScope.values`."""

# Which shop it is can be known only without row-level security: these functions return ids alone.
_FIND_SHOP = text("SELECT * FROM find_shop_id(CAST(:platform AS text), CAST(:domain AS text)) AS shop_id")

_FIND_DELETION = text("""
    SELECT * FROM find_deletion_id(CAST(:platform AS text), CAST(:domain AS text), CAST(:only_active AS boolean))
        AS shop_id""")

_FIND_SAME_STORE = text("""
    SELECT same_store_id FROM same_store_shops(
        CAST(:shop_ids AS uuid[]), CAST(:platform_shop_id AS text), CAST('' AS text), CAST('' AS text))""")

_SELECT_BY_IDS = text(f"SELECT {SHOP_COLUMNS} FROM shop WHERE shop_id = ANY(:shop_ids)")

_SELECT_STATE = text(f"SELECT {STATE_COLUMNS} FROM shop_state WHERE shop_id = :shop_id")

_SELECT_DELETING_BY_ID = text("SELECT shop_id FROM shop_deletion WHERE shop_id = :shop_id AND ended_at IS NULL")

_INSERT = text("""
    INSERT INTO shop (shop_id, platform, domain, merchant_id, caller_name)
    VALUES (:shop_id, :platform, :domain, :merchant_id, :caller_name)
    ON CONFLICT (platform, domain) DO NOTHING""")

_INSERT_STATE = text("INSERT INTO shop_state (shop_id) VALUES (:shop_id)")

_INSERT_SCHEDULE = text("INSERT INTO shop_schedule (shop_id, platform) VALUES (:shop_id, :platform)")

_UPDATE_PROFILE = text("""
    UPDATE shop SET currency_code = :currency_code, platform_shop_id = :platform_shop_id,
        display_name = :display_name, updated_at = clock_timestamp()
    WHERE shop_id = :shop_id
      AND (currency_code, platform_shop_id, display_name)
          IS DISTINCT FROM (:currency_code, :platform_shop_id, :display_name)""")

_SELECT_DOMAINS = text("""
    SELECT domain FROM shop WHERE shop_id = ANY(:shop_ids) AND merchant_id = :merchant_id ORDER BY domain""")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopScope:
    """One shop, whose rows a statement touches."""

    shop_id: UUID

    @classmethod
    def of(cls, owner: Shop | Lease) -> ShopScope:
        """Return the scope of a shop, or of the shop of a lease."""
        return cls(shop_id=owner.shop_id)

    @property
    def values(self) -> dict[str, object]:
        """The id as a statement parameter."""
        return {"shop_id": self.shop_id}


class ShopStore:
    """Registered shops by id, or by platform and domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, ref: ShopRef) -> Shop | None:
        """Return the shop; None when it is not registered, or is being deleted."""
        return await self._database.read(lambda connection: find_shop(connection, ref))

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        """Return the id of the shop if it is being deleted; None if it is not."""
        return await self._database.read(lambda connection: _find_deleting(connection, ref))


async def find_shop(connection: AsyncConnection, ref: ShopRef) -> Shop | None:
    """Return the registered shop with its state, and make it visible; None when there is none."""
    shop = await find_entry(connection, ref)
    if shop is None:
        return None
    row = (await connection.execute(_SELECT_STATE, {"shop_id": shop.shop_id})).mappings().first()
    # Outside of a snapshot, a deletion may have ended since.
    return None if row is None else with_state(shop, row)


async def load_state(connection: AsyncConnection, shop: Shop) -> Shop:
    """Return the shop with its watermarks and notes as they are stored now."""
    row = (await connection.execute(_SELECT_STATE, {"shop_id": shop.shop_id})).mappings().one()
    return with_state(shop, row)


async def load_shops(connection: AsyncConnection, shop_ids: Collection[UUID]) -> dict[UUID, Shop]:
    """Return the directory's entries of these shops, without their state, by shop id."""
    rows = (await connection.execute(_SELECT_BY_IDS, {"shop_ids": list(shop_ids)})).mappings()
    return {row["shop_id"]: to_shop(row) for row in rows}


async def register_shop(
    connection: AsyncConnection, key: ShopKey, *, merchant_id: str = "", caller_name: str = ""
) -> Shop:
    """Return the directory's entry of the shop, which is registered now if it was not, and make it visible.

    Args:
        connection: The transaction.
        key: The key of the shop.
        merchant_id: The merchant of a new shop; a registered one keeps its own.
        caller_name: The caller's name of a new shop.

    Raises:
        ShopBeingDeleted: A shop with this key is being deleted.
    """
    shop = await find_entry(connection, key)
    if shop is not None:
        return shop
    new_id = new_shop_id()
    values = {"shop_id": new_id, "platform": key.platform, "domain": key.domain}
    # A deletion removes the entry and adds its own row in one transaction: one of the two is always visible.
    deleting = await _find_deleting(connection, key)
    if deleting is not None:
        raise ShopBeingDeleted(deleting)
    await enter_shops(connection, [new_id])
    inserted = await connection.execute(
        _INSERT, {**values, "merchant_id": merchant_id, "caller_name": caller_name}
    )
    if inserted.rowcount:
        await connection.execute(_INSERT_STATE, values)
        await connection.execute(_INSERT_SCHEDULE, values)
    # Another transaction may have been first: read the row that won.
    shop = await find_entry(connection, key)
    assert shop is not None
    return shop


async def update_profile(connection: AsyncConnection, shop: Shop, profile: ShopProfile) -> Shop:
    """Store what the platform says about the shop, if it has changed, and return the shop."""
    values = {
        "shop_id": shop.shop_id,
        "currency_code": profile.currency_code,
        "platform_shop_id": profile.platform_shop_id,
        "display_name": profile.display_name,
    }
    await connection.execute(_UPDATE_PROFILE, values)
    return replace(
        shop,
        currency_code=profile.currency_code,
        platform_shop_id=profile.platform_shop_id,
        display_name=profile.display_name,
    )


async def same_store_domains(connection: AsyncConnection, shop: Shop, platform_shop_id: str) -> list[str]:
    """Return the domains of the merchant's other registered shops that have this id on the shop's platform.

    Clients read them: a shop of another merchant is not named.
    """
    values = {"shop_ids": [shop.shop_id], "platform_shop_id": platform_shop_id}
    others = list((await connection.execute(_FIND_SAME_STORE, values)).scalars())
    if not others:
        return []
    await enter_shops(connection, others)
    of_merchant = {"shop_ids": others, "merchant_id": shop.merchant_id}
    domains = list((await connection.execute(_SELECT_DOMAINS, of_merchant)).scalars())
    await enter_shops(connection, [shop.shop_id])
    return domains


async def find_entry(connection: AsyncConnection, ref: ShopRef) -> Shop | None:
    """Return the directory's entry of the shop, without its state, and make it visible; None if there is none."""
    shop_id: UUID | None
    if isinstance(ref, ShopKey):
        values = {"platform": ref.platform, "domain": ref.domain}
        shop_id = (await connection.execute(_FIND_SHOP, values)).scalar()
    else:
        shop_id = ref
    if shop_id is None:
        return None
    await enter_shops(connection, [shop_id])
    return (await load_shops(connection, [shop_id])).get(shop_id)


async def find_deletion(connection: AsyncConnection, ref: ShopRef, *, only_active: bool) -> UUID | None:
    """Return the id of the shop with this key that was deleted last; of an id, the id itself."""
    if not isinstance(ref, ShopKey):
        return ref
    values = {"platform": ref.platform, "domain": ref.domain, "only_active": only_active}
    found: UUID | None = (await connection.execute(_FIND_DELETION, values)).scalar()
    return found


async def _find_deleting(connection: AsyncConnection, ref: ShopRef) -> UUID | None:
    if isinstance(ref, ShopKey):
        return await find_deletion(connection, ref, only_active=True)
    await enter_shops(connection, [ref])
    found: UUID | None = (await connection.execute(_SELECT_DELETING_BY_ID, {"shop_id": ref})).scalar()
    return found


def to_shop(row: Row) -> Shop:
    """Convert a row of `SHOP_COLUMNS`."""
    return Shop(
        merchant_id=row["merchant_id"],
        shop_id=row["shop_id"],
        key=ShopKey(row["platform"], row["domain"]),
        platform_shop_id=row["platform_shop_id"],
        currency_code=row["currency_code"],
        display_name=row["display_name"],
        caller_name=row["caller_name"],
    )


def with_state(shop: Shop, row: Row) -> Shop:
    """Return the shop with the state of a row of `STATE_COLUMNS`."""
    return replace(
        shop,
        watermark=row["shop_watermark"],
        full_watermark=row["shop_full_watermark"],
        notes=tuple(row["shop_notes"]),
    )
