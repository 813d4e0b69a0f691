"""The audits of shops: which are due, and what the last one of each found."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.audit import AuditResult, AuditSummary
from catalog_svc.domain.shop import Shop
from catalog_svc.storage.database import Database
from catalog_svc.storage.loop_leases import LoopLease

# Across shops, and so by a function, which returns ids.
_FIND_DUE = text("""
    SELECT shop_id FROM due_audits(CAST(:interval AS interval), CAST(:limit AS integer)) AS shop_id""")

# A shop that is deleted meanwhile gets no row.
_BEGIN = text("""
    INSERT INTO shop_audit (shop_id, attempted_at)
    SELECT shop.shop_id, clock_timestamp() FROM shop WHERE shop.shop_id = :shop_id FOR KEY SHARE
    ON CONFLICT (shop_id) DO UPDATE SET attempted_at = excluded.attempted_at""")

_END = text("""
    UPDATE shop_audit SET ended_at = clock_timestamp(), product_count = :products, item_count = :items,
        drifted_product_count = :drifted
    WHERE shop_id = :shop_id""")

_SELECT_LAST = text("""
    SELECT ended_at, product_count, item_count, drifted_product_count FROM shop_audit
    WHERE shop_id = :shop_id AND ended_at IS NOT NULL""")


class AuditRecordStore:
    """Records of audits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, *, interval: timedelta, limit: int) -> list[UUID]:
        """Return shops with a healthy connection and no attempt of an audit for so long, the oldest first."""

        async def read(connection: AsyncConnection) -> list[UUID]:
            return list((await connection.execute(_FIND_DUE, {"interval": interval, "limit": limit})).scalars())

        return await self._database.read(read)

    async def begin(self, shop: Shop) -> None:
        """Record that an audit of the shop is tried."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_BEGIN, {"shop_id": shop.shop_id})

        await self._database.write(work, shops=[shop.shop_id])

    async def end(self, shop: Shop, result: AuditResult) -> None:
        """Record what an audit of the shop found."""
        values = {
            "shop_id": shop.shop_id,
            "products": result.products_checked,
            "items": result.items_checked,
            "drifted": result.drifted,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_END, values)

        await self._database.write(work, shops=[shop.shop_id])


def audit_lease(database: Database, shop: Shop, audit_id: UUID) -> LoopLease:
    """Return the right to audit the shop, of which one audit has it at a time."""
    return LoopLease(database, name=f"audit of shop {shop.shop_id}", owner=audit_id)


async def last_audit(connection: AsyncConnection, shop: Shop) -> AuditSummary | None:
    """Return what the last audit of the shop found; None: none has ended."""
    row = (await connection.execute(_SELECT_LAST, {"shop_id": shop.shop_id})).first()
    if row is None:
        return None
    return AuditSummary(
        ended_at=row.ended_at,
        products_checked=row.product_count,
        items_checked=row.item_count,
        drifted=row.drifted_product_count,
    )
