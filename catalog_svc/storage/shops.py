"""The directory of shops, and the scope of statements that touch the rows of one shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.shop import Shop, ShopKey, ShopProfile
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
    """Registered shops by platform and domain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: ShopKey) -> Shop | None:
        """Return the shop; None when no sync of it was ever started."""
        return await self._database.read(lambda connection: find_shop(connection, key))


async def find_shop(connection: AsyncConnection, key: ShopKey) -> Shop | None:
    """Return the registered shop; None when there is none."""
    result = await connection.execute(_SELECT_BY_KEY, {"platform": key.platform, "domain": key.domain})
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
