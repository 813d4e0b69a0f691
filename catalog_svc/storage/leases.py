"""Leases, the right to run a sync: claim, renew, release, end. Every change is conditional on the lease's epoch.

No clock takes part in safety: the epoch alone does. By the database's clock a lease expires, which makes the sync
claimable again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import Shop, same_store_note
from catalog_svc.domain.source import SourceHeader
from catalog_svc.domain.sync import (
    BlockedDeletion,
    ClaimedSync,
    Lease,
    StartedPass,
    Sync,
    SyncError,
    SyncMode,
    SyncState,
    Waiting,
)
from catalog_svc.storage.change_events import with_event
from catalog_svc.storage.database import Database
from catalog_svc.storage.ended_syncs import close_sync
from catalog_svc.storage.fence import OWNED, lease_values, lock_shop
from catalog_svc.storage.shops import (
    STATE_COLUMNS,
    Row,
    find_shop,
    load_shops,
    load_state,
    same_store_domains,
    update_profile,
    with_state,
)
from catalog_svc.storage.sync_queue import QueuedClaim, claim_queued, release_lease, renew_lease
from catalog_svc.storage.syncs import SYNC_COLUMNS, merged_notes, to_sync

_log = logging.getLogger(__name__)

_BUSY_DELAY: Final = timedelta(milliseconds=500)
"""How soon a claim is tried again whose shop another transaction has locked."""

_KNOWN_MODES: Final = [mode.value for mode in SyncMode if mode is not SyncMode.UNSPECIFIED]

# Repeatable, since the answer to a commit may get lost. Skips a row that the last owner's batch has locked:
# a claim never waits for a lock.
_LOCK_SHOP = text(f"""
    SELECT {STATE_COLUMNS}, next_seq FROM shop_state
    WHERE shop_id = :shop_id AND active_sync_id = :sync_id AND epoch <= :epoch FOR UPDATE SKIP LOCKED""")

# A takeover changes no state: the sync is RUNNING already.
_INSTALL_EPOCH = with_event(
    "epoch = :epoch",
    sync_id=":sync_id",
    condition="SELECT FROM sync WHERE shop_id = :shop_id AND sync_id = :sync_id AND state = 'PENDING'",
)

_SINCE_PROGRESS = "clock_timestamp() - progressed_at AS since_progress"

# `least` ignores NULL: the time of the first claim stays.
_START_ATTEMPT = text("""
    UPDATE sync SET epoch = :epoch, state = 'RUNNING', revision = revision + 1, attempt_count = attempt_count + 1,
        started_at = least(started_at, statement_timestamp()),
        progressed_at = least(progressed_at, statement_timestamp()), updated_at = statement_timestamp()
    WHERE shop_id = :shop_id AND sync_id = :sync_id AND epoch < :epoch""")

_SELECT_SYNC = text(f"SELECT {SYNC_COLUMNS}, {_SINCE_PROGRESS} FROM sync WHERE {OWNED}")

_SELECT_STATE = text(f"SELECT {STATE_COLUMNS}, next_seq FROM shop_state WHERE shop_id = :shop_id")

# An attempt that ended in order does not count as one without progress if its owner dies afterwards.
_RESET_ATTEMPT = """
        claims_without_progress = greatest(0, claims_without_progress - (started_epoch = epoch)::integer),
        started_epoch = 0"""

_RESET = text(f"UPDATE sync SET {_RESET_ATTEMPT} WHERE {OWNED}")

_BEGIN = text(f"""
    UPDATE sync SET revision = revision + 1, updated_at = statement_timestamp(), strategy = :strategy,
        served_api_version = :served_api_version, watermark = coalesce(watermark, :watermark),
        estimated_product_count = coalesce(:estimated_product_count, estimated_product_count),
        estimated_item_count = coalesce(:estimated_item_count, estimated_item_count),
        waiting_reason = NULL, started_epoch = epoch, notes = {merged_notes("notes")},
        claims_without_progress = claims_without_progress + (started_epoch <> epoch)::integer
    WHERE {OWNED} RETURNING {SYNC_COLUMNS}""")

# A pass over a shop whose currency has changed starts again from the beginning, however far it was: it will read
# and count the products that it has counted so far a second time.
_RESTART = text(f"""
    UPDATE sync SET mode = 'FULL', checkpoint = '', updated_after = NULL, watermark = :watermark,
        products_seen = 0, products_created = 0, products_updated = 0, products_unchanged = 0,
        products_rejected = 0, products_checked = 0,
        items_seen = 0, items_created = 0, items_updated = 0, items_unchanged = 0, items_rejected = 0,
        notes = {merged_notes("notes")}
    WHERE shop_id = :shop_id AND sync_id = :sync_id
    RETURNING {SYNC_COLUMNS}""")

_DELETE_SEEN = text("DELETE FROM sync_seen WHERE shop_id = :shop_id AND pass_id = :pass_id")

# Until a full sync has succeeded, the shop's prices are in two currencies: the next sync must be a full one, too.
_RESET_WATERMARKS = text("UPDATE shop_state SET watermark = NULL, full_watermark = NULL WHERE shop_id = :shop_id")

_SET_WAITING = """revision = revision + 1, updated_at = statement_timestamp(), waiting_reason = :reason,
        waiting_until = :until, waiting_message = :message, waiting_done_count = :done_count,
        waiting_total_count = :total_count, items_per_second = NULL"""

_WAIT = text(f"UPDATE sync SET {_SET_WAITING} WHERE {OWNED} RETURNING {SYNC_COLUMNS}")

_PAUSE = text(f"UPDATE sync SET {_SET_WAITING}, {_RESET_ATTEMPT} WHERE {OWNED} RETURNING {SYNC_COLUMNS}")

_END = text(f"""
    UPDATE sync SET state = :state, revision = revision + 1, updated_at = statement_timestamp(),
        ended_at = statement_timestamp(), waiting_reason = NULL,
        items_per_second = NULL, error_reason = :error_reason, error_message = :error_message,
        error_metadata = CAST(:error_metadata AS jsonb), notes = {merged_notes("notes")}
    WHERE {OWNED} RETURNING {SYNC_COLUMNS}""")

_SELECT_ENDED = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE shop_id = :shop_id AND sync_id = :sync_id AND epoch = :epoch AND state = :state""")


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

        async def take(connection: AsyncConnection) -> list[QueuedClaim]:
            return await claim_queued(
                connection,
                limit=limit,
                without_platforms=without_platforms,
                modes=_KNOWN_MODES,
                owner=self._owner,
                ttl=self._ttl,
            )

        claimed = [await self._install(queued) for queued in await self._database.write(take)]
        return [sync for sync in claimed if sync is not None]

    async def _install(self, queued: QueuedClaim) -> ClaimedSync | None:
        """Make the claim the shop's current one, in a transaction of its own.

        Returns None if the sync has ended meanwhile, if another transaction has locked the shop (the sync is then
        claimable again soon), or if its row cannot be decoded, which must not hide the other claims: it stays
        leased, so that the next claim skips it.
        """

        async def work(connection: AsyncConnection) -> ClaimedSync | None:
            state = await _install_epoch(connection, queued)
            if state is None:
                await release_lease(connection, queued, delay=_BUSY_DELAY)
                return None
            row = (await connection.execute(_SELECT_SYNC, queued.values)).mappings().one()
            return _decoded(row, with_state(queued.shop, state), state["next_seq"])

        return await self._database.write(work, shops=[queued.shop.shop_id])

    async def renew(self, lease: Lease) -> None:
        """Extend the lease by another TTL from now. Raises LeaseLost."""

        async def work(connection: AsyncConnection) -> None:
            if not await renew_lease(connection, lease, ttl=self._ttl):
                raise LeaseLost

        await self._database.write(work, shops=[lease.shop_id])

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        """Renew the lease and return where the sync stands, for an owner whose last write may be lost or stored.

        Raises LeaseLost.
        """

        async def work(connection: AsyncConnection) -> ClaimedSync:
            await lock_shop(connection, lease)
            if not await renew_lease(connection, lease, ttl=self._ttl):
                raise LeaseLost
            values = lease_values(lease)
            await connection.execute(_RESET, values)
            row = await _owned_row(connection, _SELECT_SYNC, values)
            state = (await connection.execute(_SELECT_STATE, values)).mappings().one()
            shop = (await load_shops(connection, [lease.shop_id]))[lease.shop_id]
            return _to_claimed(row, with_state(shop, state), state["next_seq"])

        return await self._database.write(work, shops=[lease.shop_id])

    async def release(self, lease: Lease) -> None:
        """Let another replica continue at once; without effect when the lease is lost already."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RESET, lease_values(lease))
            await release_lease(connection, lease)

        await self._database.write(work, shops=[lease.shop_id])

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        """Store what the source's header says; the watermark of the first header stays. Raises LeaseLost.

        A currency other than the stored one, or `restart`, turns the pass into a full one from the beginning.
        """
        values = {
            "strategy": header.strategy,
            "served_api_version": header.served_api_version,
            "watermark": header.watermark,
            "estimated_product_count": header.estimated_product_count,
            "estimated_item_count": header.estimated_item_count,
        }

        async def work(connection: AsyncConnection) -> StartedPass:
            await lock_shop(connection, lease)
            shop = (await load_shops(connection, [lease.shop_id]))[lease.shop_id]
            notes = await _notes_of_header(connection, shop, header)
            row = await _owned_row(connection, _BEGIN, {**lease_values(lease), **values, "notes": notes})
            stored_currency = shop.currency_code
            if restart or (stored_currency and stored_currency != header.profile.currency_code):
                row = await _restart(connection, row, header, stored_currency)
            shop = await load_state(connection, await update_profile(connection, shop, header.profile))
            return StartedPass(
                sync=to_sync(row, shop), checkpoint=row["checkpoint"], updated_after=row["updated_after"]
            )

        return await self._database.write(work, shops=[lease.shop_id])

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

        return await self._database.write(work, shops=[lease.shop_id])

    async def end(
        self,
        lease: Lease,
        state: SyncState,
        error: SyncError | None = None,
        *,
        notes: Sequence[str] = (),
        blocked: BlockedDeletion | None = None,
    ) -> Sync:
        """End the sync; success advances the shop's watermark and sets its notes.

        Args:
            lease: The lease of the sync.
            state: An ended state.
            error: Why the sync failed; None if it did not.
            notes: Notes to add to those of the header.
            blocked: The deletion because of which it failed, if the next full pass may agree with it.

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
            try:
                await lock_shop(connection, lease)
            except LeaseLost:
                return await _already_ended(connection, lease, values)
            shop = (await load_shops(connection, [lease.shop_id]))[lease.shop_id]
            row = await _owned_row(connection, _END, values)
            sync = to_sync(row, shop)
            await close_sync(connection, sync, row, blocked=blocked)
            return replace(sync, shop=await load_state(connection, shop))

        return await self._database.write(work, shops=[lease.shop_id])


async def _install_epoch(connection: AsyncConnection, queued: QueuedClaim) -> Row | None:
    """Install the epoch of a claim; return the shop's state, of `STATE_COLUMNS` with next_seq, or None."""
    values = queued.values
    state = (await connection.execute(_LOCK_SHOP, values)).mappings().first()
    if state is not None:
        await connection.execute(_INSTALL_EPOCH, values)
        await connection.execute(_START_ATTEMPT, values)
    return state


async def _already_ended(connection: AsyncConnection, lease: Lease, values: Mapping[str, object]) -> Sync:
    """Return the sync if an earlier attempt ended it and its answer got lost. Raises LeaseLost if not."""
    row = await _owned_row(connection, _SELECT_ENDED, values)
    shop = await find_shop(connection, lease.shop_id)
    if shop is None:
        # The shop was deleted since.
        raise LeaseLost
    return to_sync(row, shop)


async def _notes_of_header(connection: AsyncConnection, shop: Shop, header: SourceHeader) -> list[str]:
    """Return the header's notes, each once, and what its profile says about other shops."""
    domains = await same_store_domains(connection, shop, header.profile.platform_shop_id)
    return list(dict.fromkeys((*header.notes, *([same_store_note(domains)] if domains else []))))


async def _owned_row(connection: AsyncConnection, statement: TextClause, values: Mapping[str, object]) -> Row:
    """Execute a statement whose condition is `OWNED` and return its row. Raises LeaseLost."""
    row = (await connection.execute(statement, dict(values))).mappings().first()
    if row is None:
        raise LeaseLost
    return row


async def _restart(connection: AsyncConnection, row: Row, header: SourceHeader, stored_currency: str) -> Row:
    """Turn the pass into a full one from the beginning and return the sync's row.

    A full pass that is at its beginning stays as it is.
    """
    key = {"shop_id": row["shop_id"], "sync_id": row["sync_id"], "pass_id": row["pass_id"]}
    await connection.execute(_RESET_WATERMARKS, key)
    if row["mode"] == SyncMode.FULL.value and not row["checkpoint"]:
        return row
    await connection.execute(_DELETE_SEEN, key)
    currency = header.profile.currency_code
    change = f" from {stored_currency} to {currency}" if stored_currency != currency else ""
    values = {
        **key,
        "watermark": header.watermark,
        "notes": [f"The shop's currency changed{change}: all products were read again."],
    }
    return (await connection.execute(_RESTART, values)).mappings().one()


def _decoded(row: Row, shop: Shop, next_seq: int) -> ClaimedSync | None:
    """Return the claimed sync; None when its row cannot be decoded."""
    try:
        return _to_claimed(row, shop, next_seq)
    except (ValueError, TypeError, KeyError):
        _log.exception("a claimed sync cannot be decoded", extra={"sync_id": str(row["sync_id"])})
        return None


def _to_claimed(row: Row, shop: Shop, next_seq: int) -> ClaimedSync:
    return ClaimedSync(
        lease=Lease(shop_id=row["shop_id"], sync_id=row["sync_id"], epoch=row["epoch"], next_seq=next_seq),
        sync=to_sync(row, shop),
        checkpoint=row["checkpoint"],
        updated_after=row["updated_after"],
        claims_without_progress=row["claims_without_progress"],
        since_progress=row["since_progress"],
        allow_mass_delete=row["allow_mass_delete"],
        traceparent=row["traceparent"],
    )
