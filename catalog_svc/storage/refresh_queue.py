"""The queue of shops with products to refresh: who looks at which shop, and when.

One row per shop that has rows in `product_refresh`. While a shop is claimed, it is due at the end of the claim, so
that another replica claims it if this one dies. The queue decides who may read a shop; which reader may
store a product is decided by `product_refresh`, so that two readers of one shop cost a read and no harm.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.refresh import QueuedRefresh
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import SyncMode
from catalog_svc.storage.shop_webhooks import WITH_DELIVERY
from catalog_svc.storage.shops import Row
from catalog_svc.storage.tenant import each_visible

# Across shops, and so by a function, which returns ids.
_CLAIM = text("""
    SELECT * FROM claim_refreshes(
        CAST(:limit AS integer), CAST(:without_platforms AS text[]), CAST(:claim_id AS uuid),
        CAST(:ttl AS interval)) AS shop_id""")

_SELECT_CLAIMED = text("""
    SELECT shop_id, platform, claim_id, failure_count, wanted_sync, wanted_count FROM refresh_queue
    WHERE shop_id = ANY(:shop_ids) AND claim_id = :claim_id""")

# A full sync does what an incremental one does.
_WANTED: Final = """wanted_sync = CASE
            WHEN 'FULL' IN (refresh_queue.wanted_sync, CAST(:wanted_sync AS text)) THEN 'FULL'
            ELSE coalesce(CAST(:wanted_sync AS text), refresh_queue.wanted_sync) END,
        wanted_count = refresh_queue.wanted_count + (CAST(:wanted_sync AS text) IS NOT NULL)::integer"""

# A request shortens neither a claim nor the backoff of a shop that cannot be read. It always writes the row: so it
# waits for a transaction that is about to delete it.
_ENQUEUE: Final = f"""
    INSERT INTO refresh_queue (shop_id, platform, due_at, wanted_sync, wanted_count)
    VALUES (:shop_id, :platform, clock_timestamp() + :delay, CAST(:wanted_sync AS text),
            (CAST(:wanted_sync AS text) IS NOT NULL)::integer)
    ON CONFLICT (shop_id) DO UPDATE
    SET due_at = CASE WHEN refresh_queue.claim_id IS NULL AND refresh_queue.failure_count = 0
            THEN least(refresh_queue.due_at, excluded.due_at) ELSE refresh_queue.due_at END,
        {_WANTED}"""
_ENQUEUE_SHOP = text(_ENQUEUE)
_ENQUEUE_DELIVERED = text(f"{WITH_DELIVERY} {_ENQUEUE}")

_LOCK = text("SELECT shop_id FROM refresh_queue WHERE shop_id = :shop_id AND claim_id = :claim_id FOR UPDATE")

_RELEASE = text(f"""
    UPDATE refresh_queue SET claim_id = NULL, due_at = clock_timestamp() + :delay, failure_count = :failure_count,
        {_WANTED}
    WHERE shop_id = :shop_id AND claim_id = :claim_id""")

_DELETE = text("""
    DELETE FROM refresh_queue WHERE shop_id = :shop_id AND claim_id = :claim_id AND wanted_sync IS NULL""")

_SYNC_STARTED = text("""
    UPDATE refresh_queue SET wanted_sync = CASE WHEN wanted_count > :served THEN wanted_sync END,
        wanted_count = wanted_count - :served
    WHERE shop_id = :shop_id AND claim_id = :claim_id""")


async def claim_shops(
    connection: AsyncConnection, *, limit: int, without_platforms: Collection[str], ttl: timedelta
) -> list[QueuedRefresh]:
    """Claim up to `limit` shops that are due, of other platforms than these, for `ttl`; never wait for a lock."""
    claim_id = uuid4()
    values = {"limit": limit, "without_platforms": list(without_platforms), "claim_id": claim_id, "ttl": ttl}
    shop_ids = list((await connection.execute(_CLAIM, values)).scalars())
    claimed: list[QueuedRefresh] = []
    async for some in each_visible(connection, shop_ids):
        rows = (await connection.execute(_SELECT_CLAIMED, {"shop_ids": some, "claim_id": claim_id})).mappings()
        claimed += [_to_queued(row) for row in rows]
    return claimed


async def enqueue_shop(
    connection: AsyncConnection,
    shop: Shop,
    *,
    delay: timedelta,
    wanted_sync: SyncMode | None = None,
    delivered: bool = False,
) -> None:
    """Let the shop be due after `delay`, or earlier if it is.

    Args:
        connection: The transaction.
        shop: The shop.
        delay: Until the shop is due.
        wanted_sync: Request a sync of it; None: none.
        delivered: Whether a delivery is the reason, which is recorded in the same statement.
    """
    values = {
        "shop_id": shop.shop_id,
        "platform": shop.key.platform,
        "delay": delay,
        "wanted_sync": wanted_sync.value if wanted_sync else None,
    }
    await connection.execute(_ENQUEUE_DELIVERED if delivered else _ENQUEUE_SHOP, values)


async def lock_claim(connection: AsyncConnection, queued: QueuedRefresh) -> bool:
    """Lock the shop's row until the end of the transaction; return False if the claim is lost.

    A later statement of the transaction finds everything that is left to do: a request that is not committed by
    then changes the row, or adds it again, afterwards.
    """
    return (await connection.execute(_LOCK, _claim_values(queued))).first() is not None


async def release_claim(
    connection: AsyncConnection,
    queued: QueuedRefresh,
    *,
    delay: timedelta,
    failure_count: int = 0,
    wanted_sync: SyncMode | None = None,
) -> None:
    """End the claim; the shop is due again after `delay`. Without effect if the claim is lost."""
    more = {
        "delay": delay,
        "failure_count": failure_count,
        "wanted_sync": wanted_sync.value if wanted_sync else None,
    }
    await connection.execute(_RELEASE, {**_claim_values(queued), **more})


async def delete_claim(connection: AsyncConnection, queued: QueuedRefresh) -> bool:
    """Remove the shop from the queue; return False if a sync of it is still wanted."""
    return (await connection.execute(_DELETE, _claim_values(queued))).rowcount == 1


async def record_started_sync(connection: AsyncConnection, queued: QueuedRefresh) -> None:
    """Record that the wanted sync was started. One that was requested since the claim is still wanted."""
    await connection.execute(_SYNC_STARTED, {**_claim_values(queued), "served": queued.wanted_count})


def _claim_values(queued: QueuedRefresh) -> dict[str, UUID]:
    return {"shop_id": queued.shop_id, "claim_id": queued.claim_id}


def _to_queued(row: Row) -> QueuedRefresh:
    return QueuedRefresh(
        shop_id=row["shop_id"],
        platform=row["platform"],
        claim_id=row["claim_id"],
        failure_count=row["failure_count"],
        wanted_sync=SyncMode(row["wanted_sync"]) if row["wanted_sync"] else None,
        wanted_count=row["wanted_count"],
    )
