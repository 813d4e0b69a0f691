"""Ending a sync early, and going on with one that ended early."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import Orders


class ChangeSync:
    """Cancels and resumes."""

    def __init__(
        self,
        *,
        orders: Orders,
        publish: Callable[[Sync], None],
        abandon: Callable[[Sync], None],
        wake_worker: Callable[[], None],
    ) -> None:
        self._orders = orders
        self._publish = publish
        self._abandon = abandon
        self._wake_worker = wake_worker

    async def cancel(self, sync_id: UUID) -> Sync:
        """The sync, CANCELLED from now on; whoever runs it notices within a second, and a job that the platform
        runs for it is ended.

        Raises SyncNotFound, SyncNotCancellable.
        """
        sync = await self._orders.cancel(sync_id)
        self._publish(sync)
        self._abandon(sync)
        return sync

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """A new sync that goes on from the checkpoint of this one.

        Raises SyncNotFound, SyncNotResumable, SyncAlreadyRunning, RequestIdReused.
        """
        sync = await self._orders.resume(sync_id, request_id=request_id, correlation_id=correlation_id)
        self._wake_worker()
        return sync
