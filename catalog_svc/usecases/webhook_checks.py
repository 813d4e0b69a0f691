"""The check of webhooks: repairs the webhooks of each shop, daily and when they are silent."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from catalogsync_common.call_context import correlated
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.failure import Failure
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed, StorageUnavailable
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.webhook_health import NO_WEBHOOK_SECRET, EnsuredWebhooks, WebhookCheckOutcome
from catalog_svc.usecases.audit_ports import ExclusiveRight
from catalog_svc.usecases.catalog_ports import Shops
from catalog_svc.usecases.ports import Platforms

_log = logging.getLogger(__name__)

_LEASE_TTL: Final = timedelta(minutes=5)
"""Longer than a call to a platform may take. Another replica checks when the lease was not extended in time."""
_SHOPS_PER_ROUND: Final = 40
_CONCURRENCY: Final = 4
_RETRY_INTERVAL: Final = timedelta(hours=1)
"""After a check that must be repeated, and between two checks of a shop while its webhooks are silent."""


class WebhookSetup(Protocol):
    """Creates and repairs webhooks on the platforms."""

    async def ensure(self, shop: ShopKey, address: str) -> EnsuredWebhooks:
        """Create and enable the webhooks of the shop at `address`. Raises SourceFailed, InvalidRequest."""
        ...


class WebhookRecords(Protocol):
    """The checks of the webhooks of shops."""

    async def due(
        self, *, interval: timedelta, retry_interval: timedelta, platforms: Sequence[str], limit: int
    ) -> list[UUID]:
        """Return healthy shops of these platforms whose webhooks must be checked, silent ones first."""
        ...

    async def repaired(self, shop: Shop, found: EnsuredWebhooks) -> None:
        """Record a check. If it has repaired something, the webhooks are not silent any more."""
        ...

    async def failed(self, shop: Shop, failure: Failure, *, must_retry: bool) -> None:
        """Record a check that failed, and whether it must be repeated soon."""
        ...

    async def postpone(self, shop: Shop) -> None:
        """Record that a check of the shop did not end; it must be repeated soon."""
        ...


class WebhookCheckMetrics(Protocol):
    """Counts checks of webhooks by this replica."""

    def webhooks_checked(self, outcome: WebhookCheckOutcome) -> None:
        """Count a check by its outcome."""
        ...


class WebhookChecks:
    """The loop of one replica; of all replicas only the one with the lease checks webhooks."""

    def __init__(
        self,
        *,
        records: WebhookRecords,
        shops: Shops,
        platforms: Platforms,
        setup: WebhookSetup,
        lease: ExclusiveRight,
        drain: Drain,
        metrics: WebhookCheckMetrics,
        address: str,
        interval: timedelta,
        poll_interval: timedelta = timedelta(minutes=1),
    ) -> None:
        """Create the loop.

        Args:
            records: Which shops are due.
            shops: The directory of shops.
            platforms: The platforms that the connector supports.
            setup: Creates and repairs webhooks.
            lease: The right to run this loop.
            drain: Ends the loop.
            metrics: Where checks are counted.
            address: The URL to which platforms deliver; "{platform}" and "{domain}" stand for those of the shop.
            interval: Between two checks of a shop.
            poll_interval: Between two looks for due shops, while none is.
        """
        self._records = records
        self._shops = shops
        self._platforms = platforms
        self._setup = setup
        self._lease = lease
        self._drain = drain
        self._metrics = metrics
        self._address = address
        self._interval = interval
        self._poll_interval_seconds = poll_interval.total_seconds()

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Check due shops until the drain."""
        while True:
            try:
                busy = await self._drain.race(self._round(heartbeat))
                heartbeat()
                if not busy:
                    await self._drain.race(asyncio.sleep(self._poll_interval_seconds * random.uniform(0.7, 1.3)))
            except ServerDraining:
                with suppress(StorageUnavailable):
                    await self._lease.release()
                return

    async def _round(self, heartbeat: Heartbeat) -> bool:
        """Check some due shops, unless another replica does; return whether there may be more."""
        try:
            if not await self._lease.acquire(ttl=_LEASE_TTL):
                return False
            due = await self._records.due(
                interval=self._interval,
                retry_interval=_RETRY_INTERVAL,
                platforms=await self._webhook_platforms(),
                limit=_SHOPS_PER_ROUND,
            )
            for first in range(0, len(due), _CONCURRENCY):
                if not await self._lease.acquire(ttl=_LEASE_TTL):
                    return False
                await self._check_shops(due[first : first + _CONCURRENCY])
                heartbeat()
        except StorageUnavailable:
            _log.warning("cannot check webhooks: the database is unavailable")
            return False
        except ConnectorUnavailable:
            _log.warning("cannot check webhooks: connector_svc is unavailable")
            return False
        return len(due) == _SHOPS_PER_ROUND

    async def _webhook_platforms(self) -> list[str]:
        found = [await self._platforms.find(name) for name in await self._platforms.names()]
        return [platform.name for platform in found if platform is not None and platform.webhooks]

    async def _check_shops(self, shop_ids: Sequence[UUID]) -> None:
        checks = (self._check(shop_id) for shop_id in shop_ids)
        for outcome in await asyncio.gather(*checks, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _check(self, shop_id: UUID) -> None:
        """Repair the webhooks of a shop and record the result.

        Its failure is recorded and keeps no other shop from being checked, unless the connector does not answer.
        """
        with correlated():
            shop = await self._shops.find(shop_id)
            if shop is None:
                return
            address = self._address.replace("{platform}", shop.key.platform).replace("{domain}", shop.key.domain)
            try:
                found = await self._setup.ensure(shop.key, address)
            except ConnectorUnavailable:
                # It says nothing about the shop; but one for which the call never ends must not stay the first.
                await self._records.postpone(shop)
                raise
            except Failure as failure:
                await self._record_failure(shop, failure)
                return
            await self._records.repaired(shop, found)
            self._metrics.webhooks_checked(
                WebhookCheckOutcome.REPAIRED if found.repaired else WebhookCheckOutcome.UNCHANGED
            )
            if found.repaired or found.inactive:
                counts = {"repaired": found.repaired, "inactive": found.inactive}
                _log.warning("webhooks repaired", extra={"shop": str(shop.key), **counts})

    async def _record_failure(self, shop: Shop, failure: Failure) -> None:
        must_retry = isinstance(failure, SourceFailed) and failure.transient
        await self._records.failed(shop, failure, must_retry=must_retry)
        if failure.reason == NO_WEBHOOK_SECRET:
            self._metrics.webhooks_checked(WebhookCheckOutcome.NOT_SET_UP)
            return
        self._metrics.webhooks_checked(WebhookCheckOutcome.FAILED)
        _log.warning("webhooks cannot be checked", extra={"shop": str(shop.key), "reason": failure.reason})
