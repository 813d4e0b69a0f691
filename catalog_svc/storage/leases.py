"""The right to run a sync: claim, renew, hand over, end. Every change is conditional on the lease's epoch.

No clock takes part in safety: the epoch alone does. The database's clock tells whether an owner is alive.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceHeader
from catalog_svc.domain.sync import ClaimedSync, Lease, StartedPass, Sync, SyncError, SyncMode, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.rows import SHOP_COLUMNS, SYNC_COLUMNS, merged_notes, to_shop, to_sync
from catalog_svc.storage.shops import store_profile

_log = logging.getLogger(__name__)

# What people ordered comes before what the schedule did, the oldest first. Rows that another transaction holds
# are passed over: a claim waits neither for a replica that claims beside it nor for a batch whose owner is late.
_CLAIM = text(f"""
    WITH claimable AS (
        SELECT sync.merchant_id, sync.sync_id FROM sync
        JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id
        WHERE sync.state IN ('PENDING', 'RUNNING')
          AND (sync.lease_until IS NULL OR sync.lease_until < clock_timestamp())
          AND sync.mode = ANY(CAST(:modes AS text[]))
          AND shop.platform <> ALL(CAST(:without_platforms AS text[]))
        ORDER BY sync.trigger = 'SCHEDULE', sync.sync_id
        LIMIT :limit FOR UPDATE OF sync SKIP LOCKED)
    UPDATE sync SET epoch = epoch + 1, owner = :owner, state = 'RUNNING', revision = revision + 1,
        attempt_count = attempt_count + 1,
        started_at = coalesce(started_at, clock_timestamp()),
        progressed_at = coalesce(progressed_at, clock_timestamp()), updated_at = clock_timestamp(),
        lease_until = clock_timestamp() + :ttl
    FROM claimable, shop
    WHERE sync.merchant_id = claimable.merchant_id AND sync.sync_id = claimable.sync_id
      AND shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id
    RETURNING {SYNC_COLUMNS}, {SHOP_COLUMNS}, clock_timestamp() - progressed_at AS since_progress""")

_KNOWN_MODES = [mode.value for mode in SyncMode if mode is not SyncMode.UNSPECIFIED]

_SHOP = text(f"""
    SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id""")

_HELD = "merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND state = 'RUNNING'"

# An attempt that ended by itself is not to blame if its owner dies afterwards.
_BLAMELESS = """claims_without_progress = greatest(0, claims_without_progress - (begun_epoch = epoch)::integer),
        begun_epoch = 0"""

_REGAIN = text(f"""
    UPDATE sync SET lease_until = clock_timestamp() + :ttl, {_BLAMELESS} WHERE {_HELD}
    RETURNING {SYNC_COLUMNS}, clock_timestamp() - progressed_at AS since_progress""")

_RENEW = text(f"UPDATE sync SET lease_until = clock_timestamp() + :ttl WHERE {_HELD}")

_RELEASE = text(f"""
    UPDATE sync SET lease_until = clock_timestamp(), owner = NULL, {_BLAMELESS}
    WHERE {_HELD}""")

_BEGIN = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = clock_timestamp(), strategy = :strategy,
        served_api_version = :served_api_version, watermark = coalesce(watermark, :watermark),
        estimated_product_count = coalesce(:estimated_product_count, estimated_product_count),
        estimated_item_count = coalesce(:estimated_item_count, estimated_item_count),
        waiting_reason = NULL, begun_epoch = epoch, notes = {merged_notes("notes")},
        claims_without_progress = claims_without_progress + (begun_epoch <> epoch)::integer
    WHERE {_HELD} RETURNING {SYNC_COLUMNS}""")

# A pass over a shop whose currency has changed begins anew, whatever it had read: what it counted so far are
# products that it is about to read again.
_RESTART = text(f"""
    UPDATE sync SET mode = 'FULL', checkpoint = '', updated_after = NULL, watermark = :watermark,
        products_seen = 0, products_created = 0, products_updated = 0, products_unchanged = 0,
        products_set_aside = 0, products_checked = 0,
        items_seen = 0, items_created = 0, items_updated = 0, items_unchanged = 0, items_set_aside = 0,
        notes = {merged_notes("notes")}
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_DROP_SEEN = text("DELETE FROM sync_seen WHERE merchant_id = :merchant_id AND pass_id = :pass_id")

# Until a full sync has succeeded the shop holds prices in two currencies: the next sync must be a full one, too.
_NEVER_COMPLETE = text("""
    UPDATE shop SET watermark = NULL, full_watermark = NULL
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id""")

_WAITS = """revision = revision + 1, updated_at = clock_timestamp(), waiting_reason = :reason,
        waiting_until = :until, waiting_message = :message, waiting_done_count = :done_count,
        waiting_total_count = :total_count, items_per_second = NULL"""

_WAIT = text(f"UPDATE sync SET {_WAITS} WHERE {_HELD} RETURNING {SYNC_COLUMNS}")

_PAUSE = text(f"UPDATE sync SET {_WAITS}, {_BLAMELESS} WHERE {_HELD} RETURNING {SYNC_COLUMNS}")

_END = text(f"""
    UPDATE sync SET state = :state, revision = revision + 1, updated_at = clock_timestamp(),
        ended_at = clock_timestamp(), lease_until = NULL, owner = NULL, waiting_reason = NULL,
        items_per_second = NULL, error_reason = :error_reason, error_message = :error_message,
        error_metadata = CAST(:error_metadata AS jsonb), notes = {merged_notes("notes")}
    WHERE {_HELD} RETURNING {SYNC_COLUMNS}""")

_ADVANCE = text(f"""
    UPDATE shop SET watermark = greatest(watermark, :watermark), notes = CAST(:notes AS text[]),
        full_watermark = CASE WHEN :full THEN greatest(full_watermark, :watermark) ELSE full_watermark END,
        updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id
    RETURNING merchant_id, shop_id, {SHOP_COLUMNS}""")

_ENDED_BY_US = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND state = :state""")


class LeaseStore:
    """Leases of one replica, `owner`."""

    def __init__(self, database: Database, *, owner: UUID, ttl: timedelta) -> None:
        self._database = database
        self._owner = owner
        self._ttl = ttl

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        """Takes up to `limit` syncs that nobody holds, of shops on other platforms than those.

        Never waits for a locked row. A sync of a mode that this release does not know is left to newer ones.
        """
        values = {
            "limit": limit,
            "without_platforms": list(without_platforms),
            "modes": _KNOWN_MODES,
            "owner": self._owner,
            "ttl": self._ttl,
        }

        async def work(connection: AsyncConnection) -> list[Mapping[Any, Any]]:
            return list((await connection.execute(_CLAIM, values)).mappings())

        return [claimed for row in await self._database.write(work) if (claimed := _decoded(row)) is not None]

    async def renew(self, lease: Lease) -> None:
        """Holds the lease for another TTL. Raises LeaseLost."""

        async def work(connection: AsyncConnection) -> None:
            result = await connection.execute(_RENEW, {**_key(lease), "ttl": self._ttl})
            if result.rowcount == 0:
                raise LeaseLost

        await self._database.write(work)

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        """Where the sync stands now, for an owner that does not know what became of its last write.

        Raises LeaseLost.
        """

        async def work(connection: AsyncConnection) -> ClaimedSync:
            row = await _fenced(connection, _REGAIN, {**_key(lease), "ttl": self._ttl})
            return _to_claimed(row, await _shop_of(connection, row))

        return await self._database.write(work)

    async def release(self, lease: Lease) -> None:
        """Lets another replica go on at once; without effect when the lease is lost already."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RELEASE, _key(lease))

        await self._database.write(work)

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        """Keeps what the source's header tells; the first header's watermark stays. Raises LeaseLost.

        A currency other than the stored one, or `restart`, turns the pass into a full one from the beginning.
        """
        values = {
            "notes": list(dict.fromkeys(header.notes)),
            "strategy": header.strategy,
            "served_api_version": header.served_api_version,
            "watermark": header.watermark,
            "estimated_product_count": header.estimated_product_count,
            "estimated_item_count": header.estimated_item_count,
        }

        async def work(connection: AsyncConnection) -> StartedPass:
            row = await _fenced(connection, _BEGIN, {**_key(lease), **values})
            stored = (await _shop_of(connection, row)).currency_code
            if restart or (stored and stored != header.profile.currency_code):
                row = await _restarted(connection, row, header, stored)
            shop = await store_profile(
                connection, merchant_id=lease.merchant_id, shop_id=lease.shop_id, profile=header.profile
            )
            return StartedPass(
                sync=to_sync(row, shop), checkpoint=row["checkpoint"], updated_after=row["updated_after"]
            )

        return await self._database.write(work)

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Shows why the sync stands still; the first batch after its time clears it. Raises LeaseLost."""
        return await self._wait(_WAIT, lease, shop, waiting)

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """The same where the attempt has ended and another one will begin. Raises LeaseLost."""
        return await self._wait(_PAUSE, lease, shop, waiting)

    async def _wait(self, statement: TextClause, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        values = {
            "reason": waiting.reason.value,
            "until": waiting.until,
            "message": waiting.message,
            "done_count": waiting.done_count,
            "total_count": waiting.total_count,
        }

        async def work(connection: AsyncConnection) -> Sync:
            return to_sync(await _fenced(connection, statement, {**_key(lease), **values}), shop)

        return await self._database.write(work)

    async def end(
        self, lease: Lease, state: SyncState, error: SyncError | None = None, *, notes: Sequence[str] = ()
    ) -> Sync:
        """Ends the sync; success moves the shop's watermark and notes with it. Raises LeaseLost."""
        values = {
            **_key(lease),
            "state": state.value,
            "error_reason": error.reason if error else None,
            "error_message": error.message if error else "",
            "error_metadata": json.dumps(dict(error.metadata)) if error else "{}",
            "notes": list(dict.fromkeys(notes)),
        }

        async def work(connection: AsyncConnection) -> Sync:
            row = (await connection.execute(_END, values)).mappings().first()
            if row is None:
                # Lost, or committed by an attempt whose answer did not arrive.
                row = (await connection.execute(_ENDED_BY_US, values)).mappings().first()
            if row is None:
                raise LeaseLost
            return to_sync(row, await self._shop_after(connection, lease, row, state))

        return await self._database.write(work)

    async def _shop_after(
        self, connection: AsyncConnection, lease: Lease, row: Mapping[Any, Any], state: SyncState
    ) -> Shop:
        values = {"merchant_id": lease.merchant_id, "shop_id": lease.shop_id}
        if state is SyncState.SUCCEEDED and row["watermark"] is not None:
            moved = {
                "watermark": row["watermark"],
                "notes": row["notes"],
                "full": row["mode"] == SyncMode.FULL.value,
            }
            result = await connection.execute(_ADVANCE, {**values, **moved})
        else:
            result = await connection.execute(_SHOP, values)
        return to_shop(result.mappings().one())


def _key(lease: Lease) -> dict[str, object]:
    return {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id, "epoch": lease.epoch}


async def _shop_of(connection: AsyncConnection, row: Mapping[Any, Any]) -> Shop:
    values = {"merchant_id": row["merchant_id"], "shop_id": row["shop_id"]}
    return to_shop((await connection.execute(_SHOP, values)).mappings().one())


async def _restarted(
    connection: AsyncConnection, row: Mapping[Any, Any], header: SourceHeader, stored_currency: str
) -> Mapping[Any, Any]:
    """The sync's row when the shop's currency has changed; a full pass at its beginning stays as it is."""
    key = {"merchant_id": row["merchant_id"], "shop_id": row["shop_id"]}
    await connection.execute(_NEVER_COMPLETE, key)
    if row["mode"] == SyncMode.FULL.value and not row["checkpoint"]:
        return row
    await connection.execute(_DROP_SEEN, {"merchant_id": row["merchant_id"], "pass_id": row["pass_id"]})
    currency = header.profile.currency_code
    change = f" from {stored_currency} to {currency}" if stored_currency != currency else ""
    note = f"The shop's currency changed{change}: everything was read anew."
    values = {
        "merchant_id": row["merchant_id"],
        "sync_id": row["sync_id"],
        "watermark": header.watermark,
        "notes": [note],
    }
    return (await connection.execute(_RESTART, values)).mappings().one()


async def _fenced(
    connection: AsyncConnection, statement: TextClause, values: Mapping[str, object]
) -> Mapping[Any, Any]:
    row = (await connection.execute(statement, dict(values))).mappings().first()
    if row is None:
        raise LeaseLost
    return row


def _decoded(row: Mapping[Any, Any]) -> ClaimedSync | None:
    """The claimed sync; None when its row cannot be decoded, which must not hide the others. It stays leased, so
    that the next claim passes it over."""
    try:
        return _to_claimed(row, to_shop(row))
    except (ValueError, TypeError, KeyError):
        _log.exception("a claimed sync cannot be decoded", extra={"sync_id": str(row["sync_id"])})
        return None


def _to_claimed(row: Mapping[Any, Any], shop: Shop) -> ClaimedSync:
    return ClaimedSync(
        lease=Lease(
            merchant_id=row["merchant_id"],
            shop_id=row["shop_id"],
            sync_id=row["sync_id"],
            epoch=row["epoch"],
            next_seq=row["next_seq"],
        ),
        sync=to_sync(row, shop),
        checkpoint=row["checkpoint"],
        updated_after=row["updated_after"],
        claims_without_progress=row["claims_without_progress"],
        since_progress=row["since_progress"],
        allow_mass_delete=row["allow_mass_delete"],
    )
