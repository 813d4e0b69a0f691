"""The daily audit: a small audit of each shop with a healthy connection, one shop after the other."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import Final
from uuid import UUID

from catalogsync_common.call_context import correlated
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.failure import Failure
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import AuditAlreadyRunning, StorageUnavailable
from catalog_svc.usecases.audit_ports import AuditRecords, ExclusiveRight
from catalog_svc.usecases.audit_run import AuditRun
from catalog_svc.usecases.catalog_ports import Shops

_log = logging.getLogger(__name__)

_LEASE_TTL: Final = timedelta(minutes=5)
"""Another replica audits when the one that did has not extended its lease for so long."""
_SHOPS_PER_ROUND: Final = 10


class AuditLoop:
    """The audit loop of one replica; of all replicas only the one with the lease audits."""

    def __init__(
        self,
        *,
        records: AuditRecords,
        shops: Shops,
        audit: AuditRun,
        lease: ExclusiveRight,
        drain: Drain,
        interval: timedelta,
        sample_size: int,
        poll_interval: timedelta = timedelta(minutes=1),
    ) -> None:
        """Create the loop.

        Args:
            records: Which shops are due.
            shops: The directory of shops.
            audit: What is done with a due shop.
            lease: The right to run this loop.
            drain: Ends the loop.
            interval: Between two audits of a shop.
            sample_size: Products that are chosen at random.
            poll_interval: Between two looks for due shops, while none is.
        """
        self._records = records
        self._shops = shops
        self._audit = audit
        self._lease = lease
        self._drain = drain
        self._interval = interval
        self._sample_size = sample_size
        self._poll_interval_seconds = poll_interval.total_seconds()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Audit due shops until the drain."""
        while True:
            busy = False
            try:
                busy = await self._drain.race(self._round(heartbeat))
                heartbeat()
                if not busy:
                    await self._drain.race(asyncio.sleep(self._poll_interval_seconds * random.uniform(0.7, 1.3)))
            except ServerDraining:
                return

    async def _round(self, heartbeat: Heartbeat) -> bool:
        """Audit some due shops, unless another replica does; return whether there may be more."""
        try:
            if not await self._lease.acquire(ttl=_LEASE_TTL):
                return False
            due = await self._records.due(interval=self._interval, limit=_SHOPS_PER_ROUND)
            audited = False
            for shop_id in due:
                if not await self._lease.acquire(ttl=_LEASE_TTL):
                    return False
                audited |= await self._audit_shop(shop_id, heartbeat)
                heartbeat()
        except StorageUnavailable:
            _log.warning("cannot audit shops: the database is unavailable")
            return False
        return audited and len(due) == _SHOPS_PER_ROUND

    async def _audit_shop(self, shop_id: UUID, heartbeat: Heartbeat) -> bool:
        """Audit the shop, and return False if it still is due.

        Its failure is logged and keeps no other shop from being audited.
        """
        with correlated():
            shop = await self._shops.find(shop_id)
            if shop is None:
                return False
            try:
                await self._audit.run(shop, sample_size=self._sample_size, report=lambda _: heartbeat())
            except StorageUnavailable:
                raise
            except AuditAlreadyRunning:
                return False
            except Failure as failure:
                _log.warning("an audit failed", extra={"shop": str(shop.key), "reason": failure.reason})
            return True
