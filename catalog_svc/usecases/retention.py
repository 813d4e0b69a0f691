"""Retention: purges records that are older than the retention policy allows, in small transactions."""

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
_SHOPS_PER_PAGE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """How long records are kept."""

    syncs: timedelta = timedelta(days=30)
    """Ended syncs and their issues; each shop's latest and its last successful one are always kept."""
    latest_syncs: int = 20
    """How many of each shop's latest syncs are always kept."""
    request_ids: timedelta = timedelta(days=7)
    """The contract promises 7 days."""
    deleted_records: timedelta = timedelta(days=90)
    """Items and products that the platform has deleted."""


class Retention:
    """The purge loop of one replica; other replicas may purge at the same time."""

    def __init__(
        self,
        *,
        records: PurgeableRecords,
        drain: Drain,
        policy: RetentionPolicy,
        interval: timedelta = timedelta(hours=1),
    ) -> None:
        self._records = records
        self._drain = drain
        self._policy = policy
        self._interval_seconds = interval.total_seconds()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Purge about once per interval, until the drain."""
        # The first purge comes soon after the start: a replica that is replaced often would never get to it.
        delay = self._interval_seconds * random.uniform(0, 0.25)
        while True:
            try:
                await self._drain.race(asyncio.sleep(delay))
                await self.purge(heartbeat)
            except ServerDraining:
                return
            except StorageUnavailable:
                _log.warning("cannot purge old records: the database is unavailable")
            heartbeat()
            delay = self._interval_seconds * random.uniform(0.7, 1.3)

    async def purge(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Purge the records of all shops once; an unexpected error of one shop is logged.

        Raises:
            StorageUnavailable: the database is unavailable.
            ServerDraining: the drain has started.
        """
        purged, after = 0, UUID(int=0)
        while shops := await self._records.shops(after=after, limit=_SHOPS_PER_PAGE):
            for shop in shops:
                try:
                    purged += await self._purge_shop(shop)
                except (StorageUnavailable, ServerDraining):
                    raise
                except Exception:
                    _log.exception("cannot purge the old records of a shop", extra={"shop": str(shop.key)})
                heartbeat()
            after = shops[-1].shop_id
        if purged:
            _log.info("old records purged", extra={"rows": purged})

    async def _purge_shop(self, shop: Shop) -> int:
        policy, records = self._policy, self._records
        # Requests first, since they keep their syncs; items before the products that they belong to.
        steps: tuple[Callable[[], Awaitable[int]], ...] = (
            lambda: records.purge_requests(shop, older_than=policy.request_ids),
            lambda: records.purge_syncs(shop, older_than=policy.syncs, keep_latest=policy.latest_syncs),
            lambda: records.purge_seen(shop),
            lambda: records.purge_items(shop, older_than=policy.deleted_records),
            lambda: records.purge_products(shop, older_than=policy.deleted_records),
        )
        return sum([await self._repeat(step) for step in steps])

    async def _repeat(self, step: Callable[[], Awaitable[int]]) -> int:
        """Call `step` until it has deleted nothing, and return how many rows it has deleted."""
        purged = 0
        while rows := await step():
            purged += rows
            if self._drain.started:
                raise ServerDraining
        return purged
