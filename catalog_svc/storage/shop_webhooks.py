"""What is known of the webhooks of shops: when they delivered, when they kept silent, and their last repair.

Whether webhooks are silent is a column of `shop_schedule`: it decides when the next sync is due. When they become
silent, the scheduler plans the shop again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.failure import Failure
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.shop import Shop
from catalog_svc.domain.webhook_health import SILENCE_EXPIRY, EnsuredWebhooks, WebhookHealth
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import Row

WEBHOOK_COLUMNS: Final = """webhooks.known_since, webhooks.delivered_at, webhooks.checked_at,
    webhooks.repaired_count, webhooks.failure_reason, webhooks.failure_message"""
"""The columns that `to_health` reads, beside `unannounced_at` of the schedule; NULL without a row."""

_DELIVERY_PRECISION_SECONDS: Final = 60
"""So seldom a delivery writes a row of its own."""

# Across shops, and so by a function, which returns ids.
_FIND_DUE = text("""
    SELECT shop_id FROM due_webhook_checks(
        CAST(:interval AS interval), CAST(:retry_interval AS interval), CAST(:platforms AS text[]),
        CAST(:limit AS integer)) AS shop_id""")

_END_SILENCE: Final = """
    UPDATE shop_schedule SET unannounced_at = NULL WHERE shop_id = :shop_id AND unannounced_at IS NOT NULL"""

_ADD_DELIVERY: Final = f"""
    INSERT INTO shop_webhooks (shop_id, known_since, delivered_at)
    VALUES (:shop_id, statement_timestamp(), statement_timestamp())
    ON CONFLICT (shop_id) DO UPDATE SET delivered_at = excluded.delivered_at,
        known_since = coalesce(shop_webhooks.known_since, excluded.known_since)
    WHERE shop_webhooks.delivered_at IS NULL
       OR shop_webhooks.delivered_at < statement_timestamp() - interval '{_DELIVERY_PRECISION_SECONDS} s'"""

WITH_DELIVERY: Final = f"WITH ended_silence AS ({_END_SILENCE}), delivered AS ({_ADD_DELIVERY})"
"""The beginning of a statement about the directory that also records a delivery of the shop :shop_id."""

_RECORD_DELIVERY = text(f"WITH ended_silence AS ({_END_SILENCE}) {_ADD_DELIVERY}")

# A silence that goes on is recorded again, but planned only once.
_RECORD_UNANNOUNCED = text("""
    UPDATE shop_schedule SET unannounced_at = clock_timestamp(),
        planned_full_interval = CASE WHEN unannounced_at IS NOT NULL THEN planned_full_interval END
    FROM shop_webhooks AS webhooks
    WHERE shop_schedule.shop_id = :shop_id AND webhooks.shop_id = :shop_id
      AND webhooks.known_since <= :since
      AND (webhooks.delivered_at IS NULL OR webhooks.delivered_at < :since)""")

_EXPIRE_SILENCE = text(f"{_END_SILENCE} AND unannounced_at < clock_timestamp() - CAST(:expiry AS interval)")

# A shop that is deleted meanwhile gets no row. What was repaired works from now on; until then it was silent.
_RECORD_REPAIR = text(f"""
    WITH ended AS ({_END_SILENCE} AND CAST(:repaired AS bigint) > 0)
    INSERT INTO shop_webhooks AS known (shop_id, known_since, attempted_at, checked_at, repaired_count)
    SELECT shop.shop_id, CASE WHEN CAST(:active AS bigint) > 0 THEN clock_timestamp() END, clock_timestamp(),
        clock_timestamp(), CAST(:repaired AS bigint)
    FROM shop WHERE shop.shop_id = :shop_id
    ON CONFLICT (shop_id) DO UPDATE SET attempted_at = excluded.attempted_at, checked_at = excluded.checked_at,
        repaired_count = excluded.repaired_count, failure_reason = '', failure_message = '',
        must_retry = false,
        known_since = CASE WHEN CAST(:repaired AS bigint) > 0 OR known.known_since IS NULL
            THEN excluded.known_since ELSE known.known_since END""")

_RECORD_FAILURE = text("""
    INSERT INTO shop_webhooks (shop_id, attempted_at, failure_reason, failure_message, must_retry)
    SELECT shop.shop_id, clock_timestamp(), CAST(:reason AS text), CAST(:message AS text),
        CAST(:must_retry AS boolean)
    FROM shop WHERE shop.shop_id = :shop_id
    ON CONFLICT (shop_id) DO UPDATE SET attempted_at = excluded.attempted_at,
        failure_reason = excluded.failure_reason, failure_message = excluded.failure_message,
        must_retry = excluded.must_retry""")

_POSTPONE = text("""
    INSERT INTO shop_webhooks (shop_id, attempted_at, must_retry)
    SELECT shop.shop_id, clock_timestamp(), true FROM shop WHERE shop.shop_id = :shop_id
    ON CONFLICT (shop_id) DO UPDATE SET attempted_at = excluded.attempted_at, must_retry = true""")


class WebhookRecordStore:
    """The checks of the webhooks of shops: which are due, and what each found."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(
        self, *, interval: timedelta, retry_interval: timedelta, platforms: Sequence[str], limit: int
    ) -> list[UUID]:
        """Return healthy shops of these platforms whose webhooks must be checked, silent ones first.

        Args:
            interval: Between two checks.
            retry_interval: After a check that must be repeated, and between two checks while webhooks are silent.
            platforms: On which webhooks can be created.
            limit: Maximum number of shops.
        """
        values = {
            "interval": interval,
            "retry_interval": retry_interval,
            "platforms": list(platforms),
            "limit": limit,
        }

        async def read(connection: AsyncConnection) -> list[UUID]:
            return list((await connection.execute(_FIND_DUE, values)).scalars())

        return await self._database.read(read)

    async def repaired(self, shop: Shop, found: EnsuredWebhooks) -> None:
        """Record a check. If it has repaired something, the webhooks are not silent any more."""
        values = {"shop_id": shop.shop_id, "active": found.active, "repaired": found.repaired}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RECORD_REPAIR, values)

        await self._database.write(work, shops=[shop.shop_id])

    async def failed(self, shop: Shop, failure: Failure, *, must_retry: bool) -> None:
        """Record a check that failed, and whether it must be repeated soon."""
        values = {
            "shop_id": shop.shop_id,
            "reason": failure.reason,
            "message": failure.message,
            "must_retry": must_retry,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RECORD_FAILURE, values)

        await self._database.write(work, shops=[shop.shop_id])

    async def postpone(self, shop: Shop) -> None:
        """Record that a check of the shop did not begin or did not end; it must be repeated soon."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_POSTPONE, {"shop_id": shop.shop_id})

        await self._database.write(work, shops=[shop.shop_id])


async def record_delivery(connection: AsyncConnection, shop: Shop) -> None:
    """Record that a delivery about products of the shop was ingested; its webhooks are not silent."""
    await connection.execute(_RECORD_DELIVERY, {"shop_id": shop.shop_id})


async def record_unannounced(connection: AsyncConnection, shop_id: UUID, *, since: datetime) -> None:
    """Record that a sync found changes made since then.

    Without effect if a delivery came since, or if there were no webhooks then.
    """
    await connection.execute(_RECORD_UNANNOUNCED, {"shop_id": shop_id, "since": since})


async def expire_silence(connection: AsyncConnection, shop_id: UUID) -> None:
    """Record that a sync found no change; after a day of such syncs webhooks are not silent."""
    await connection.execute(_EXPIRE_SILENCE, {"shop_id": shop_id, "expiry": SILENCE_EXPIRY})


def to_health(row: Row) -> WebhookHealth:
    """Convert a row of `WEBHOOK_COLUMNS` and `unannounced_at`."""
    return WebhookHealth(
        known_since=row["known_since"],
        delivered_at=row["delivered_at"],
        unannounced_at=row["unannounced_at"],
        checked_at=row["checked_at"],
        repaired_count=row["repaired_count"] or 0,
        failure_reason=row["failure_reason"] or "",
        failure_message=row["failure_message"] or "",
    )
