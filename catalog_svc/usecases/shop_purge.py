"""Shop purge: deletes the rows of shops that are being deleted, in small transactions, in the background."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.usecases.catalog_ports import ShopDeletions

_log = logging.getLogger(__name__)

_LEASE_TTL: Final = timedelta(seconds=30)
"""Another replica purges when the one that did has not extended its lease for so long."""
_MAX_SHOPS: Final = 100
"""Deletions that are looked at together, the oldest ones."""
_CHUNKS_PER_TURN: Final = 20
"""Then it is the next shop's turn: a small shop does not wait for a large one. The lease is extended before each
turn."""


class ShopPurge:
    """The purge loop of one replica; of all replicas only the one with the lease purges."""

    def __init__(
        self, *, deletions: ShopDeletions, drain: Drain, poll_interval: timedelta = timedelta(seconds=3)
    ) -> None:
        self._deletions = deletions
        self._drain = drain
        self._poll_interval_seconds = poll_interval.total_seconds()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Purge now instead of at the next poll."""
        self._wake.set()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Purge until the drain, then let another replica continue."""
        while True:
            try:
                await self._drain.race(self._wait_for_poll())
                self._wake.clear()
                await self.purge(heartbeat)
            except ServerDraining:
                with suppress(StorageUnavailable):
                    await self._deletions.release()
                return
            except StorageUnavailable:
                _log.warning("cannot purge deleted shops: the database is unavailable")
            heartbeat()

    async def purge(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Purge all shops that are being deleted, unless another replica does, in turns of some chunks each.

        An unexpected error of one shop is logged and holds up no other shop.

        Raises:
            StorageUnavailable: the database is unavailable.
            ServerDraining: the drain has started.
        """
        finished: set[UUID] = set()
        while True:
            active = await self._deletions.active(limit=_MAX_SHOPS)
            shop_ids = [shop_id for shop_id in active if shop_id not in finished]
            if not shop_ids:
                return
            for shop_id in shop_ids:
                if not await self._deletions.acquire(ttl=_LEASE_TTL):
                    return
                if not await self._purge_turn(shop_id, heartbeat):
                    finished.add(shop_id)

    async def _purge_turn(self, shop_id: UUID, heartbeat: Heartbeat) -> bool:
        """Purge some chunks of a shop; return whether it needs another turn: not after an unexpected error."""
        for _ in range(_CHUNKS_PER_TURN):
            if self._drain.started:
                raise ServerDraining
            try:
                goes_on = await self._deletions.purge(shop_id)
            except StorageUnavailable:
                raise
            except Exception:
                _log.exception("cannot purge a deleted shop", extra={"shop_id": str(shop_id)})
                return False
            heartbeat()
            if not goes_on:
                await self._log_end(shop_id)
                return False
        return True

    async def _log_end(self, shop_id: UUID) -> None:
        deletion = await self._deletions.find(shop_id)
        if deletion is not None:
            counts = {"products": deletion.products, "items": deletion.items, "syncs": deletion.syncs}
            _log.info("shop deleted", extra={"shop_id": str(shop_id), **counts})

    async def _wait_for_poll(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_interval_seconds * random.uniform(0.7, 1.3)):
                await self._wake.wait()
