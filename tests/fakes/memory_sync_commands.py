"""SyncCommands and Syncs over a catalog in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from catalog_svc.domain.errors import (
    RequestIdReused,
    SyncAlreadyRunning,
    SyncNotCancellable,
    SyncNotResumable,
)
from catalog_svc.domain.ids import new_shop_id, sync_id_of
from catalog_svc.domain.schedule import ScheduledShop, StoredSchedule
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.status import ANY_SHOP, LatestSyncs, ShopFilter
from catalog_svc.domain.sync import (
    ACTIVE_STATES,
    MAX_QUEUE_POSITION,
    Progress,
    StartSyncCommand,
    Sync,
    SyncMode,
    SyncPosition,
    SyncState,
    SyncTrigger,
)
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_state import State, SyncRow, claim_order


class MemorySyncCommands:
    """`SyncCommands`."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    async def start(self, command: StartSyncCommand) -> Sync:
        parameters = (str(command.shop), command.mode.value, str(command.allow_mass_delete))

        def work(state: State) -> Sync:
            earlier = _find_by_key(state, "StartSync", command.request_id, parameters)
            if earlier is not None:
                return _read(self._link.catalog, state, earlier)
            shop = _register(state, command.shop)
            _check_no_active_sync(state, shop)
            new_row = self._new_row(command, shop, state)
            _save_key(state, "StartSync", command.request_id, parameters, new_row.sync.sync_id)
            state.save(new_row)
            return _read(self._link.catalog, state, new_row.sync.sync_id)

        return await self._link.transaction(work)

    async def cancel(self, sync_id: UUID) -> Sync:
        def work(state: State) -> Sync:
            row = state.row(sync_id)
            if row.sync.state is SyncState.CANCELLED:
                return state.sync(sync_id)
            if row.sync.state.ended:
                raise SyncNotCancellable(sync_id, row.sync.state.value)
            now = self._link.catalog.now
            ended = row.with_visible_change(now, state=SyncState.CANCELLED, ended_at=now, waiting=None)
            state.close(ended)
            return state.save(replace(ended, epoch=row.epoch + 1, lease_until=None))

        return await self._link.transaction(work)

    async def start_due(
        self, due: ScheduledShop, command: StartSyncCommand, plan_next: Callable[[SyncMode], StoredSchedule]
    ) -> Sync | None:
        # The memory catalog has no schedules.
        return await self.start(command)

    async def resume(
        self, sync_id: UUID, *, request_id: str, correlation_id: str, traceparent: str = "", principal: str = ""
    ) -> Sync:
        parameters = (str(sync_id),)

        def work(state: State) -> Sync:
            earlier = _find_by_key(state, "ResumeSync", request_id, parameters)
            if earlier is not None:
                return _read(self._link.catalog, state, earlier)
            parent = state.row(sync_id)
            _check_resumable(state, parent)
            _check_no_active_sync(state, parent.sync.shop)
            new_row = replace(self._resuming_row(parent, correlation_id, state), traceparent=traceparent)
            _save_key(state, "ResumeSync", request_id, parameters, new_row.sync.sync_id)
            state.save(new_row)
            return _read(self._link.catalog, state, new_row.sync.sync_id)

        return await self._link.transaction(work)

    def _new_row(self, command: StartSyncCommand, shop: Shop, state: State) -> SyncRow:
        possible = shop.watermark is not None and shop.shop_id not in state.blocked
        incremental = command.mode is SyncMode.INCREMENTAL and possible
        sync_id, now = _next_id(state, shop), self._link.catalog.now
        updated_after = shop.watermark - command.overlap if incremental and shop.watermark else None
        sync = Sync(
            sync_id=sync_id,
            shop=shop,
            state=SyncState.PENDING,
            mode=SyncMode.INCREMENTAL if incremental else SyncMode.FULL,
            trigger=command.trigger,
            revision=1,
            progress=Progress(),
            created_at=now,
            updated_at=now,
            updated_after=updated_after,
            correlation_id=command.correlation_id,
        )
        epoch, next_seq = _fence_of(state, shop)
        return SyncRow(
            sync=sync,
            pass_id=sync_id,
            epoch=epoch,
            next_seq=next_seq,
            updated_after=updated_after,
            allow_mass_delete=command.allow_mass_delete,
            traceparent=command.traceparent,
        )

    def _resuming_row(self, parent: SyncRow, correlation_id: str, state: State) -> SyncRow:
        old, now = parent.sync, self._link.catalog.now
        sync = Sync(
            sync_id=_next_id(state, old.shop),
            shop=old.shop,
            state=SyncState.PENDING,
            mode=old.mode,
            trigger=SyncTrigger.RESUME,
            revision=1,
            progress=replace(old.progress, items_per_second=None),
            created_at=now,
            updated_at=now,
            parent_sync_id=old.sync_id,
            updated_after=old.updated_after,
            correlation_id=correlation_id,
        )
        epoch, next_seq = _fence_of(state, old.shop)
        return SyncRow(
            sync=sync,
            pass_id=parent.pass_id,
            epoch=epoch,
            next_seq=next_seq,
            checkpoint=parent.checkpoint,
            updated_after=parent.updated_after,
            watermark=parent.watermark,
            allow_mass_delete=parent.allow_mass_delete,
        )


class MemorySyncs:
    """`Syncs`."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    async def get(self, sync_id: UUID) -> Sync:
        return await self._link.transaction(lambda state: _read(self._link.catalog, state, sync_id))

    async def get_many(self, sync_ids: Collection[UUID]) -> list[Sync]:
        def work(state: State) -> list[Sync]:
            return [_read(self._link.catalog, state, i) for i in sync_ids if i in state.syncs]

        return await self._link.transaction(work)

    async def changed_revisions(self, known: Mapping[UUID, int]) -> dict[UUID, int | None]:
        def work(state: State) -> dict[UUID, int | None]:
            found = {sync_id: state.sync(sync_id).revision for sync_id in known if sync_id in state.syncs}
            return {key: found.get(key) for key, revision in known.items() if found.get(key) != revision}

        return await self._link.transaction(work)

    async def queue_positions(self, sync_ids: Collection[UUID]) -> dict[UUID, int]:
        def work(state: State) -> dict[UUID, int]:
            catalog = self._link.catalog
            found = {i: _queue_position(catalog, state, i) for i in sync_ids if i in state.syncs}
            return {i: position for i, position in found.items() if position is not None}

        return await self._link.transaction(work)

    async def checkpoint(self, sync_id: UUID) -> bytes:
        return await self._link.transaction(lambda state: state.row(sync_id).checkpoint)

    async def latest(self, shop: Shop) -> LatestSyncs:
        def work(state: State) -> LatestSyncs:
            newest = sorted(state.of_shop(shop.shop_id), key=lambda row: row.sync.sync_id, reverse=True)
            syncs = [_read(self._link.catalog, state, row.sync.sync_id) for row in newest]
            return LatestSyncs(
                active=next((sync for sync in syncs if sync.state in ACTIVE_STATES), None),
                last_finished=next((sync for sync in syncs if sync.state.ended), None),
            )

        return await self._link.transaction(work)

    async def page(
        self,
        *,
        shop: Shop | None,
        states: Sequence[SyncState],
        before: SyncPosition | None,
        limit: int,
        of: ShopFilter = ANY_SHOP,
    ) -> list[Sync]:
        def work(state: State) -> list[Sync]:
            rows = state.of_shop(shop.shop_id) if shop else list(state.syncs.values())
            found = [
                row.sync
                for row in rows
                if (not states or row.sync.state in states) and (shop or _matches(row.sync.shop, of))
            ]
            older = [sync for sync in found if before is None or _position(sync) < _position(before)]
            newest = sorted(older, key=_position, reverse=True)[:limit]
            return [_read(self._link.catalog, state, sync.sync_id) for sync in newest]

        return await self._link.transaction(work)


def _matches(shop: Shop, of: ShopFilter) -> bool:
    return of.merchant_id in ("", shop.merchant_id) and of.domain in ("", shop.key.domain)


def _read(catalog: MemoryCatalog, state: State, sync_id: UUID) -> Sync:
    """Return the sync, a PENDING one with its position in the queue."""
    return replace(state.sync(sync_id), queue_position=_queue_position(catalog, state, sync_id))


def _queue_position(catalog: MemoryCatalog, state: State, sync_id: UUID) -> int | None:
    row = state.row(sync_id)
    if row.sync.state is not SyncState.PENDING:
        return None
    platform = row.sync.shop.key.platform
    rows = [r for r in state.syncs.values() if r.sync.shop.key.platform == platform and catalog.is_claimable(r)]
    return min(MAX_QUEUE_POSITION, sorted(rows, key=claim_order).index(row))


def _find_by_key(state: State, method: str, request_id: str, parameters: tuple[str, ...]) -> UUID | None:
    if (method, request_id) not in state.requests:
        return None
    before, sync_id = state.requests[method, request_id]
    if before != parameters:
        raise RequestIdReused(request_id)
    return sync_id


def _save_key(state: State, method: str, request_id: str, parameters: tuple[str, ...], sync_id: UUID) -> None:
    if request_id:
        state.requests[method, request_id] = parameters, sync_id


def _register(state: State, key: ShopKey) -> Shop:
    if key not in state.shops:
        state.shops[key] = Shop(shop_id=new_shop_id(), key=key)
    return state.shops[key]


def _position(sync: Sync | SyncPosition) -> tuple[datetime, UUID]:
    return sync.created_at, sync.sync_id


def _fence_of(state: State, shop: Shop) -> tuple[int, int]:
    """Return the epoch and the number of the next write, which belong to the shop: each sync continues them."""
    rows = state.of_shop(shop.shop_id)
    return (rows[-1].epoch, rows[-1].next_seq) if rows else (0, 0)


def _next_id(state: State, shop: Shop) -> UUID:
    return sync_id_of(shop.shop_id, len(state.of_shop(shop.shop_id)) + 1)


def _check_no_active_sync(state: State, shop: Shop) -> None:
    for row in state.of_shop(shop.shop_id):
        if not row.sync.state.ended:
            raise SyncAlreadyRunning(shop.key, row.sync.sync_id)


def _check_resumable(state: State, parent: SyncRow) -> None:
    sync, shop = parent.sync, parent.sync.shop.key
    if not sync.state.ended:
        raise SyncAlreadyRunning(sync.shop.key, sync.sync_id)
    if sync.state is SyncState.SUCCEEDED:
        raise SyncNotResumable(sync.sync_id, sync.state.value, "it has succeeded", shop=shop)
    if not parent.checkpoint:
        raise SyncNotResumable(sync.sync_id, sync.state.value, "it stored nothing", shop=shop)
    if state.of_shop(sync.shop.shop_id)[-1] is not parent:
        raise SyncNotResumable(
            sync.sync_id, sync.state.value, "a later sync of the shop was started", shop=sync.shop.key
        )
