"""Ordering a sync."""

from __future__ import annotations

from collections.abc import Callable

from catalog_svc.domain.sync import StartSyncCommand, Sync
from catalog_svc.usecases.ports import Platforms, Shops, SyncCommands
from catalog_svc.usecases.supported import check_supported


class StartSync:
    """Takes an order for a sync; the work itself is picked up by a worker, of this replica or another."""

    def __init__(
        self, *, shops: Shops, commands: SyncCommands, platforms: Platforms, wake_worker: Callable[[], None]
    ) -> None:
        self._shops = shops
        self._commands = commands
        self._platforms = platforms
        self._wake_worker = wake_worker

    async def __call__(self, order: StartSyncCommand) -> Sync:
        """The PENDING sync, or the one that the same request_id started before.

        Raises InvalidRequest for a platform or domain that nobody supports, SyncAlreadyRunning, RequestIdReused,
        and ConnectorUnavailable when a shop never seen before cannot be looked up.
        """
        if await self._shops.find(order.shop) is None:
            # A shop that is registered was checked when it was new: a connector that is away does not hold it up.
            await check_supported(self._platforms, order.shop)
        sync = await self._commands.start(order)
        self._wake_worker()
        return sync
