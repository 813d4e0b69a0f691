"""Ending a sync early, and going on with one that ended early."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from catalog_svc.domain.sync import Sync
from catalog_svc.usecases.ports import SyncCommands


class ChangeSync:
    """Cancels and resumes."""

    def __init__(
        self,
        *,
        commands: SyncCommands,
        publish: Callable[[Sync], None],
        cancel_platform_job: Callable[[Sync], None],
        wake_worker: Callable[[], None],
    ) -> None:
        self._commands = commands
        self._publish = publish
        self._cancel_platform_job = cancel_platform_job
        self._wake_worker = wake_worker

    async def cancel(self, sync_id: UUID) -> Sync:
        """The sync, CANCELLED from now on; whoever runs it notices within a second, and a job that the platform
        runs for it is ended.

        Raises SyncNotFound, SyncNotCancellable.
        """
        sync = await self._commands.cancel(sync_id)
        self._publish(sync)
        self._cancel_platform_job(sync)
        return sync

    async def resume(self, sync_id: UUID, *, request_id: str, correlation_id: str) -> Sync:
        """A new sync that goes on from the checkpoint of this one.

        Raises SyncNotFound, SyncNotResumable, SyncAlreadyRunning, RequestIdReused.
        """
        sync = await self._commands.resume(sync_id, request_id=request_id, correlation_id=correlation_id)
        self._wake_worker()
        return sync
