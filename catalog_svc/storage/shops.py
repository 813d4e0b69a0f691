"""The directory of shops."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from catalog_svc.domain.shop import Shop, ShopKey, ShopProfile
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SHOP_COLUMNS, to_shop

_FIND = text(
    f"SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE platform = :platform AND domain = :domain"
)

_REGISTER = text("""
    INSERT INTO shop (merchant_id, shop_id, platform, domain) VALUES (:merchant_id, :shop_id, :platform, :domain)
    ON CONFLICT (platform, domain) DO NOTHING""")

_PROFILE = text(f"""
    UPDATE shop SET currency_code = :currency_code, platform_shop_id = :platform_shop_id,
        display_name = :display_name, updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id
    RETURNING merchant_id, shop_id, {SHOP_COLUMNS}""")


class ShopStore:
    """Shops by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: ShopKey) -> Shop | None:
        """The registered shop; None: never synced."""
        return await self._database.read(lambda connection: find_shop(connection, key))


async def find_shop(connection: AsyncConnection, key: ShopKey) -> Shop | None:
    """The registered shop."""
    result = await connection.execute(_FIND, {"platform": key.platform, "domain": key.domain})
    row = result.mappings().first()
    return to_shop(row) if row else None


async def register_shop(connection: AsyncConnection, key: ShopKey) -> Shop:
    """The shop, registered now if it was not; a new one gets a merchant of its own."""
    shop = await find_shop(connection, key)
    if shop is None:
        values = {"merchant_id": uuid7(), "shop_id": uuid7(), "platform": key.platform, "domain": key.domain}
        await connection.execute(_REGISTER, values)
        # Somebody else may have been first: read who won.
        shop = await find_shop(connection, key)
    assert shop is not None
    return shop


async def store_profile(
    connection: AsyncConnection, *, merchant_id: UUID, shop_id: UUID, profile: ShopProfile
) -> Shop:
    """Keeps what the platform tells about the shop."""
    values = {
        "merchant_id": merchant_id,
        "shop_id": shop_id,
        "currency_code": profile.currency_code,
        "platform_shop_id": profile.platform_shop_id,
        "display_name": profile.display_name,
    }
    return to_shop((await connection.execute(_PROFILE, values)).mappings().one())
