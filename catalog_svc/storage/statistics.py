"""What PostgreSQL's planner knows of the catalog's tables."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.sync import Lease

# The rule and the usual settings of autovacuum, which looks once a minute.
_OUTGROWN = text("""
    SELECT EXISTS (
        SELECT FROM pg_class, sync
        WHERE pg_class.oid = CAST('item' AS regclass)
          AND sync.merchant_id = :merchant_id AND sync.sync_id = :sync_id
          AND sync.items_created > 50 + 0.1 * greatest(pg_class.reltuples, 0))""")

_ANALYZE = text("ANALYZE (SKIP_LOCKED) item, product")


async def learn_growth(connection: AsyncConnection, lease: Lease) -> bool:
    """Has the tables analysed, and returns True, when a sync has made them another size than the planner knows.

    Until then it would read the whole shop for each batch of a next sync: 260 ms instead of 35 at 100,000 items.
    Without the right to do it PostgreSQL only warns.
    """
    key = {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id}
    outgrown = bool((await connection.execute(_OUTGROWN, key)).scalar_one())
    if outgrown:
        await connection.execute(_ANALYZE)
    return outgrown
