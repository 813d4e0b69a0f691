"""Leases, the right to run a sync: claim, renew, release, end. Every change is conditional on the lease's epoch.

No clock takes part in safety: the epoch alone does. By the database's clock a lease expires, which makes the sync
claimable again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceHeader
from catalog_svc.domain.sync import ClaimedSync, Lease, StartedPass, Sync, SyncError, SyncMode, SyncState, Waiting
from catalog_svc.storage.database import Database
from catalog_svc.storage.fence import OWNED, lease_values
from catalog_svc.storage.shops import OF_SHOP, SHOP_COLUMNS, Row, ShopScope, to_shop, update_profile
from catalog_svc.storage.syncs import SYNC_COLUMNS, merged_notes, to_sync

_log = logging.getLogger(__name__)

_CLAIMABLE = """sync.state IN ('PENDING', 'RUNNING')
          AND (sync.lease_until IS NULL OR sync.lease_until < clock_timestamp())"""

# Syncs that people started come before those of the schedule, the oldest first. Rows that another transaction has
# locked are skipped: a claim waits neither for another replica's claim nor for a batch whose owner is late.
_CLAIM = text(f"""
    WITH claimable AS (
        SELECT sync.merchant_id, sync.sync_id FROM sync
        JOIN shop ON shop.merchant_id = sync.merchant_id AND shop.shop_id = sync.shop_id
        WHERE {_CLAIMABLE}
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

_SELECT_SHOP = text(f"""
    SELECT merchant_id, shop_id, {SHOP_COLUMNS} FROM shop WHERE {OF_SHOP}""")

# An attempt that ended in order does not count as one without progress if its owner dies afterwards.
_RESET_ATTEMPT = """
        claims_without_progress = greatest(0, claims_without_progress - (begun_epoch = epoch)::integer),
        begun_epoch = 0"""

_REACQUIRE = text(f"""
    UPDATE sync SET lease_until = clock_timestamp() + :ttl, {_RESET_ATTEMPT} WHERE {OWNED}
    RETURNING {SYNC_COLUMNS}, clock_timestamp() - progressed_at AS since_progress""")

_RENEW = text(f"UPDATE sync SET lease_until = clock_timestamp() + :ttl WHERE {OWNED}")

_RELEASE = text(f"""
    UPDATE sync SET lease_until = clock_timestamp(), owner = NULL, {_RESET_ATTEMPT}
    WHERE {OWNED}""")

_BEGIN = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = clock_timestamp(), strategy = :strategy,
        served_api_version = :served_api_version, watermark = coalesce(watermark, :watermark),
        estimated_product_count = coalesce(:estimated_product_count, estimated_product_count),
        estimated_item_count = coalesce(:estimated_item_count, estimated_item_count),
        waiting_reason = NULL, begun_epoch = epoch, notes = {merged_notes("notes")},
        claims_without_progress = claims_without_progress + (begun_epoch <> epoch)::integer
    WHERE {OWNED} RETURNING {SYNC_COLUMNS}""")

# A pass over a shop whose currency has changed starts again from the beginning, however far it was: it will read
# and count the products that it has counted so far a second time.
_RESTART = text(f"""
    UPDATE sync SET mode = 'FULL', checkpoint = '', updated_after = NULL, watermark = :watermark,
        products_seen = 0, products_created = 0, products_updated = 0, products_unchanged = 0,
        products_set_aside = 0, products_checked = 0,
        items_seen = 0, items_created = 0, items_updated = 0, items_unchanged = 0, items_set_aside = 0,
        notes = {merged_notes("notes")}
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_DELETE_SEEN = text("DELETE FROM sync_seen WHERE merchant_id = :merchant_id AND pass_id = :pass_id")

# Until a full sync has succeeded, the shop's prices are in two currencies: the next sync must be a full one, too.
_RESET_WATERMARKS = text(f"UPDATE shop SET watermark = NULL, full_watermark = NULL WHERE {OF_SHOP}")

_SET_WAITING = """revision = revision + 1, updated_at = clock_timestamp(), waiting_reason = :reason,
        waiting_until = :until, waiting_message = :message, waiting_done_count = :done_count,
        waiting_total_count = :total_count, items_per_second = NULL"""

_WAIT = text(f"UPDATE sync SET {_SET_WAITING} WHERE {OWNED} RETURNING {SYNC_COLUMNS}")

_PAUSE = text(f"UPDATE sync SET {_SET_WAITING}, {_RESET_ATTEMPT} WHERE {OWNED} RETURNING {SYNC_COLUMNS}")

_END = text(f"""
    UPDATE sync SET state = :state, revision = revision + 1, updated_at = clock_timestamp(),
        ended_at = clock_timestamp(), lease_until = NULL, owner = NULL, waiting_reason = NULL,
        items_per_second = NULL, error_reason = :error_reason, error_message = :error_message,
        error_metadata = CAST(:error_metadata AS jsonb), notes = {merged_notes("notes")}
    WHERE {OWNED} RETURNING {SYNC_COLUMNS}""")

_ADVANCE_WATERMARK = text(f"""
    UPDATE shop SET watermark = greatest(watermark, :watermark), notes = CAST(:notes AS text[]),
        full_watermark = CASE WHEN :full THEN greatest(full_watermark, :watermark) ELSE full_watermark END,
        updated_at = clock_timestamp()
    WHERE {OF_SHOP}
    RETURNING merchant_id, shop_id, {SHOP_COLUMNS}""")

_SELECT_ENDED = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND state = :state""")


class LeaseStore:
    """Leases of one replica, the `owner`."""

    def __init__(self, database: Database, *, owner: UUID, ttl: timedelta) -> None:
        self._database = database
        self._owner = owner
        self._ttl = ttl

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        """Claim up to `limit` syncs that no replica owns, of shops on other platforms than `without_platforms`.

        Never waits for a locked row. A sync of a mode that this release does not know is left to newer releases.
        """
        values = {
            "limit": limit,
            "without_platforms": list(without_platforms),
            "modes": _KNOWN_MODES,
            "owner": self._owner,
            "ttl": self._ttl,
        }

        async def work(connection: AsyncConnection) -> list[Row]:
            return list((await connection.execute(_CLAIM, values)).mappings())

        return [claimed for row in await self._database.write(work) if (claimed := _decoded(row)) is not None]

    async def renew(self, lease: Lease) -> None:
        """Extend the lease by another TTL from now. Raises LeaseLost."""

        async def work(connection: AsyncConnection) -> None:
            result = await connection.execute(_RENEW, {**lease_values(lease), "ttl": self._ttl})
            if result.rowcount == 0:
                raise LeaseLost

        await self._database.write(work)

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        """Renew the lease and return where the sync stands, for an owner whose last write may be lost or stored.

        Raises LeaseLost.
        """

        async def work(connection: AsyncConnection) -> ClaimedSync:
            row = await _owned_row(connection, _REACQUIRE, {**lease_values(lease), "ttl": self._ttl})
            return _to_claimed(row, await _select_shop(connection, row))

        return await self._database.write(work)

    async def release(self, lease: Lease) -> None:
        """Let another replica continue at once; without effect when the lease is lost already."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RELEASE, lease_values(lease))

        await self._database.write(work)

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        """Store what the source's header says; the watermark of the first header stays. Raises LeaseLost.

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
            row = await _owned_row(connection, _BEGIN, {**lease_values(lease), **values})
            stored_currency = (await _select_shop(connection, row)).currency_code
            if restart or (stored_currency and stored_currency != header.profile.currency_code):
                row = await _restart(connection, row, header, stored_currency)
            shop = await update_profile(connection, ShopScope.of(lease), header.profile)
            return StartedPass(
                sync=to_sync(row, shop), checkpoint=row["checkpoint"], updated_after=row["updated_after"]
            )

        return await self._database.write(work)

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Store why the sync waits; the first batch after the wait's end clears it. Raises LeaseLost."""
        return await self._wait(_WAIT, lease, shop, waiting)

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        """Store why the sync waits between two attempts, and reset the attempt. Raises LeaseLost."""
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
            return to_sync(await _owned_row(connection, statement, {**lease_values(lease), **values}), shop)

        return await self._database.write(work)

    async def end(
        self, lease: Lease, state: SyncState, error: SyncError | None = None, *, notes: Sequence[str] = ()
    ) -> Sync:
        """End the sync; success advances the shop's watermark and sets its notes.

        Args:
            lease: The lease of the sync.
            state: An ended state.
            error: Why the sync failed; None if it did not.
            notes: Notes to add to those of the header.

        Raises:
            LeaseLost: Nothing was written.
        """
        values = {
            **lease_values(lease),
            "state": state.value,
            "error_reason": error.reason if error else None,
            "error_message": error.message if error else "",
            "error_metadata": json.dumps(dict(error.metadata)) if error else "{}",
            "notes": list(dict.fromkeys(notes)),
        }

        async def work(connection: AsyncConnection) -> Sync:
            row = (await connection.execute(_END, values)).mappings().first()
            if row is None:
                # The lease is lost, or an earlier attempt was committed and its answer got lost.
                row = (await connection.execute(_SELECT_ENDED, values)).mappings().first()
            if row is None:
                raise LeaseLost
            return to_sync(row, await _shop_after(connection, lease, row, state))

        return await self._database.write(work)


async def _owned_row(connection: AsyncConnection, statement: TextClause, values: Mapping[str, object]) -> Row:
    """Execute a statement whose condition is `OWNED` and return its row. Raises LeaseLost."""
    row = (await connection.execute(statement, dict(values))).mappings().first()
    if row is None:
        raise LeaseLost
    return row


async def _select_shop(connection: AsyncConnection, row: Row) -> Shop:
    values = {"merchant_id": row["merchant_id"], "shop_id": row["shop_id"]}
    return to_shop((await connection.execute(_SELECT_SHOP, values)).mappings().one())


async def _shop_after(connection: AsyncConnection, lease: Lease, row: Row, state: SyncState) -> Shop:
    """Return the shop after the sync's end, with its watermark advanced if the sync has succeeded."""
    if state is not SyncState.SUCCEEDED or row["watermark"] is None:
        return await _select_shop(connection, row)
    values = {
        **ShopScope.of(lease).values,
        "watermark": row["watermark"],
        "notes": row["notes"],
        "full": row["mode"] == SyncMode.FULL.value,
    }
    return to_shop((await connection.execute(_ADVANCE_WATERMARK, values)).mappings().one())


async def _restart(connection: AsyncConnection, row: Row, header: SourceHeader, stored_currency: str) -> Row:
    """Turn the pass into a full one from the beginning and return the sync's row.

    A full pass that is at its beginning stays as it is.
    """
    key = {"merchant_id": row["merchant_id"], "shop_id": row["shop_id"]}
    await connection.execute(_RESET_WATERMARKS, key)
    if row["mode"] == SyncMode.FULL.value and not row["checkpoint"]:
        return row
    await connection.execute(_DELETE_SEEN, {"merchant_id": row["merchant_id"], "pass_id": row["pass_id"]})
    currency = header.profile.currency_code
    change = f" from {stored_currency} to {currency}" if stored_currency != currency else ""
    values = {
        "merchant_id": row["merchant_id"],
        "sync_id": row["sync_id"],
        "watermark": header.watermark,
        "notes": [f"The shop's currency changed{change}: all products were read again."],
    }
    return (await connection.execute(_RESTART, values)).mappings().one()


def _decoded(row: Row) -> ClaimedSync | None:
    """Return the claimed sync; None when its row cannot be decoded, which must not hide the other claims.

    It stays leased, so that the next claim skips it.
    """
    try:
        return _to_claimed(row, to_shop(row))
    except (ValueError, TypeError, KeyError):
        _log.exception("a claimed sync cannot be decoded", extra={"sync_id": str(row["sync_id"])})
        return None


def _to_claimed(row: Row, shop: Shop) -> ClaimedSync:
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
