"""Leases over a catalog in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceHeader
from catalog_svc.domain.sync import (
    BlockedDeletion,
    ClaimedSync,
    Lease,
    RecordCounts,
    StartedPass,
    Sync,
    SyncError,
    SyncMode,
    SyncState,
    Waiting,
)
from tests.fakes.memory_catalog import MemoryLink
from tests.fakes.memory_state import State, SyncRow, claim_order

_MAX_NOTES = 20


class MemoryLeases:
    """`Leases` of one replica."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._catalog = link.catalog

    async def claim(self, *, limit: int = 1, without_platforms: Collection[str] = ()) -> list[ClaimedSync]:
        def work(state: State) -> list[ClaimedSync]:
            rows = [r for r in state.syncs.values() if r.sync.shop.key.platform not in without_platforms]
            claimable = sorted((row for row in rows if self._catalog.is_claimable(row)), key=claim_order)
            return [self._claim_row(state, row) for row in claimable[:limit]]

        return await self._link.transaction(work)

    async def renew(self, lease: Lease) -> None:
        await self._link.transaction(lambda state: self._renew_row(state, lease))

    async def reacquire(self, lease: Lease) -> ClaimedSync:
        def work(state: State) -> ClaimedSync:
            row = _reset_attempt(self._renew_row(state, lease))
            state.save(row)
            return self._claimed(state, row)

        return await self._link.transaction(work)

    async def release(self, lease: Lease) -> None:
        def work(state: State) -> None:
            try:
                row = self._catalog.owned_row(state, lease)
            except LeaseLost:
                return
            # Before now, since the clock stands still here and a lease expires only after its time.
            expired_at = self._catalog.now - timedelta(microseconds=1)
            state.save(replace(_reset_attempt(row), lease_until=expired_at))

        await self._link.transaction(work)

    async def begin(self, lease: Lease, header: SourceHeader, *, restart: bool = False) -> StartedPass:
        def work(state: State) -> StartedPass:
            row = self._catalog.owned_row(state, lease)
            stored_currency = state.shops[row.sync.shop.key].currency_code
            self._store_profile(state, row.sync.shop, header)
            visible = row.with_visible_change(
                self._catalog.now,
                notes=_merged(row.sync.notes, header.notes),
                strategy=header.strategy,
                served_api_version=header.served_api_version,
                waiting=None,
                progress=replace(
                    row.sync.progress,
                    estimated_product_count=header.estimated_product_count,
                    estimated_item_count=header.estimated_item_count,
                ),
            )
            counted = row.claims_without_progress + (row.begun_epoch != row.epoch)
            started = replace(visible, claims_without_progress=counted, begun_epoch=row.epoch)
            started = replace(started, watermark=row.watermark or header.watermark)
            if restart or (stored_currency and stored_currency != header.profile.currency_code):
                started = _restart(state, started, header, stored_currency)
            return StartedPass(
                sync=state.save(started), checkpoint=started.checkpoint, updated_after=started.updated_after
            )

        return await self._link.transaction(work)

    async def wait(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        return await self._link.transaction(
            lambda state: self._set_waiting(state, self._catalog.owned_row(state, lease), waiting)
        )

    async def pause(self, lease: Lease, shop: Shop, waiting: Waiting) -> Sync:
        return await self._link.transaction(
            lambda state: self._set_waiting(state, _reset_attempt(self._catalog.owned_row(state, lease)), waiting)
        )

    def _set_waiting(self, state: State, row: SyncRow, waiting: Waiting) -> Sync:
        progress = replace(row.sync.progress, items_per_second=None)
        return state.save(row.with_visible_change(self._catalog.now, waiting=waiting, progress=progress))

    async def end(
        self,
        lease: Lease,
        state: SyncState,
        error: SyncError | None = None,
        *,
        notes: Sequence[str] = (),
        blocked: BlockedDeletion | None = None,
    ) -> Sync:
        def work(tables: State) -> Sync:
            row = tables.row(lease.sync_id)
            if row.sync.state is not state or not self._catalog.is_owner(row, lease):
                row = self._catalog.owned_row(tables, lease)
                now = self._catalog.now
                progress = replace(row.sync.progress, items_per_second=None)
                visible = row.with_visible_change(
                    now,
                    state=state,
                    ended_at=now,
                    waiting=None,
                    error=error,
                    progress=progress,
                    notes=_merged(row.sync.notes, notes),
                )
                row = replace(visible, lease_until=None)
                tables.close(row, blocked)
            if state is SyncState.SUCCEEDED:
                _advance(tables, row)
            return tables.save(row)

        return await self._link.transaction(work)

    def _claim_row(self, state: State, row: SyncRow) -> ClaimedSync:
        now = self._catalog.now
        visible = row.with_visible_change(
            now,
            state=SyncState.RUNNING,
            attempt_count=row.sync.attempt_count + 1,
            started_at=row.sync.started_at or now,
        )
        claimed = replace(
            visible,
            epoch=row.epoch + 1,
            lease_until=now + self._catalog.ttl,
            progressed_at=row.progressed_at or now,
        )
        state.save(claimed)
        return self._claimed(state, claimed)

    def _renew_row(self, state: State, lease: Lease) -> SyncRow:
        row = replace(self._catalog.owned_row(state, lease), lease_until=self._catalog.now + self._catalog.ttl)
        state.save(row)
        return row

    def _claimed(self, state: State, row: SyncRow) -> ClaimedSync:
        shop = row.sync.shop
        return ClaimedSync(
            lease=Lease(
                shop_id=shop.shop_id,
                sync_id=row.sync.sync_id,
                epoch=row.epoch,
                next_seq=row.next_seq,
            ),
            sync=state.sync(row.sync.sync_id),
            checkpoint=row.checkpoint,
            updated_after=row.updated_after,
            claims_without_progress=row.claims_without_progress,
            since_progress=self._catalog.now - (row.progressed_at or self._catalog.now),
            allow_mass_delete=row.allow_mass_delete,
            traceparent=row.traceparent,
        )

    def _store_profile(self, state: State, shop: Shop, header: SourceHeader) -> None:
        state.shops[shop.key] = replace(
            state.shops[shop.key],
            currency_code=header.profile.currency_code,
            platform_shop_id=header.profile.platform_shop_id,
            display_name=header.profile.display_name,
        )


def _reset_attempt(row: SyncRow) -> SyncRow:
    claims = max(0, row.claims_without_progress - (row.begun_epoch == row.epoch))
    return replace(row, claims_without_progress=claims, begun_epoch=0)


def _advance(state: State, row: SyncRow) -> None:
    shop = state.shops[row.sync.shop.key]
    full = row.sync.mode is SyncMode.FULL
    state.shops[shop.key] = replace(
        shop,
        watermark=_later(shop.watermark, row.watermark),
        full_watermark=_later(shop.full_watermark, row.watermark) if full else shop.full_watermark,
        notes=row.sync.notes,
    )


def _later(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _merged(notes: tuple[str, ...], more: Sequence[str]) -> tuple[str, ...]:
    added = [note for note in dict.fromkeys(more) if note not in notes]
    return (*notes, *added)[:_MAX_NOTES]


def _restart(state: State, row: SyncRow, header: SourceHeader, stored_currency: str) -> SyncRow:
    key = row.sync.shop.key
    state.shops[key] = replace(state.shops[key], watermark=None, full_watermark=None)
    if row.sync.mode is SyncMode.FULL and not row.checkpoint:
        return row
    state.seen.pop(row.pass_id, None)
    currency = header.profile.currency_code
    change = f" from {stored_currency} to {currency}" if stored_currency != currency else ""
    note = f"The shop's currency changed{change}: all products were read again."
    progress = row.sync.progress
    sync = replace(
        row.sync,
        mode=SyncMode.FULL,
        notes=_merged(row.sync.notes, [note]),
        progress=replace(
            progress,
            products=RecordCounts(deleted=progress.products.deleted),
            items=RecordCounts(deleted=progress.items.deleted),
            checked_products=0,
        ),
    )
    return replace(row, sync=sync, checkpoint=b"", updated_after=None, watermark=header.watermark)
