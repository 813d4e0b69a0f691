"""Forgetting what nobody needs any more, in small steps beside the work."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.domain.shop import Shop
from catalog_svc.usecases.ports import PurgeableRecords

_log = logging.getLogger(__name__)
_SHOPS_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """How long what is kept."""

    syncs: timedelta = timedelta(days=30)
    """Ended ones, with what they set aside; each shop's latest and its last successful one always."""
    latest_syncs: int = 20
    requests: timedelta = timedelta(days=7)
    """request_ids; the contract promises 7 days."""
    deleted: timedelta = timedelta(days=90)
    """Items and products that the platform no longer has."""


class Retention:
    """The loop of one replica; others may do the same at the same time."""

    def __init__(
        self,
        *,
        leftovers: PurgeableRecords,
        drain: Drain,
        keeping: RetentionPolicy,
        every: timedelta = timedelta(hours=1),
    ) -> None:
        self._leftovers = leftovers
        self._drain = drain
        self._keeping = keeping
        self._every = every.total_seconds()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Forgets about once in `every`, until the drain."""
        # Soon after the start: a replica that is replaced often would never come to it.
        rest = self._every * random.uniform(0, 0.25)
        while True:
            try:
                await self._drain.race(asyncio.sleep(rest))
                await self.forget(heartbeat)
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("cannot forget what is old: the database does not answer")
            heartbeat()
            rest = self._every * random.uniform(0.7, 1.3)

    async def forget(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Once over all shops; an unexpected error of one is logged. Raises StorageUnavailable, ServerDraining."""
        forgotten, after = 0, UUID(int=0)
        while shops := await self._leftovers.shops(after=after, limit=_SHOPS_AT_ONCE):
            for shop in shops:
                try:
                    forgotten += await self._forget_of(shop)
                except (StorageUnavailable, ServerDraining):
                    raise
                except Exception:
                    _log.exception("cannot forget what is old of a shop", extra={"shop": str(shop.key)})
                heartbeat()
            after = shops[-1].shop_id
        if forgotten:
            _log.info("forgot what is old", extra={"rows": forgotten})

    async def _forget_of(self, shop: Shop) -> int:
        keep, leftovers = self._keeping, self._leftovers
        # Requests first, since they keep their syncs; items before the products that they belong to.
        return sum(
            [
                await self._all(lambda: leftovers.purge_requests(shop, older_than=keep.requests)),
                await self._all(
                    lambda: leftovers.purge_syncs(shop, older_than=keep.syncs, keep_latest=keep.latest_syncs)
                ),
                await self._all(lambda: leftovers.purge_seen(shop)),
                await self._all(lambda: leftovers.purge_items(shop, older_than=keep.deleted)),
                await self._all(lambda: leftovers.purge_products(shop, older_than=keep.deleted)),
            ]
        )

    async def _all(self, forget: Callable[[], Awaitable[int]]) -> int:
        forgotten = 0
        while rows := await forget():
            forgotten += rows
            if self._drain.started:
                raise ServerDraining
        return forgotten
