"""Retention: purges records that are older than the retention policy allows, in small transactions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import StorageUnavailable
from catalog_svc.usecases.catalog_ports import PurgeableRecords

_log = logging.getLogger(__name__)

_LEASE_TTL = timedelta(minutes=5)
"""Another replica purges when the one that did has not extended its lease for so long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPolicy:
    """How long records are kept."""

    syncs: timedelta = timedelta(days=30)
    """Ended syncs and their issues, at least; they are dropped by the month. Each shop's last few syncs are always
    kept, without the issues of those that ended earlier."""
    request_ids: timedelta = timedelta(days=7)
    """The contract promises 7 days."""
    deleted_records: timedelta = timedelta(days=90)
    """Items and products that the platform has deleted."""
    changes: timedelta = timedelta(days=7)
    """Change events of all shops: a follower of many shops that was away for longer starts over."""
    shop_deletions: timedelta = timedelta(days=7)
    """Reports of deletions of shops, from the end of the deletion. The contract promises a week."""

    analysis_workers: timedelta = timedelta(days=7)
    """Workers that have leased no analysis tasks for so long; each lease restores its row."""

    @property
    def partitions(self) -> timedelta:
        """A sync stays as long as a request that may be repeated refers to it."""
        return max(self.syncs, self.request_ids)


class Retention:
    """The purge loop of one replica; of all replicas only the one with the lease purges."""

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
        """Purge old records once, unless another replica does; an unexpected error of one kind is logged.

        Raises:
            StorageUnavailable: the database is unavailable.
            ServerDraining: the drain has started.
        """
        policy, records = self._policy, self._records
        steps: dict[str, Callable[[], Awaitable[int]]] = {
            "syncs": lambda: records.purge_unpartitioned(older_than=policy.partitions),
            "requests": lambda: records.purge_requests(older_than=policy.request_ids),
            "deletions of shops": lambda: records.purge_deletions(older_than=policy.shop_deletions),
            "change events": lambda: records.purge_changes(older_than=policy.changes),
            "analysis workers": lambda: records.purge_workers(older_than=policy.analysis_workers),
            "seen ids": records.purge_seen,
            "deleted items and products": lambda: records.purge_deleted(older_than=policy.deleted_records),
        }
        if not await records.acquire(ttl=_LEASE_TTL):
            return
        await self._guarded("partitions", self._change_partitions)
        for name, step in steps.items():
            await self._guarded(name, partial(self._repeat, step, heartbeat))

    async def _guarded(self, name: str, step: Callable[[], Awaitable[int]]) -> None:
        """Run a step, so that its unexpected error keeps no other one from running."""
        try:
            purged = await step()
        except (StorageUnavailable, ServerDraining):
            raise
        except Exception:
            _log.exception("cannot purge old records", extra={"kind": name})
        else:
            if purged:
                _log.info("old records purged", extra={"kind": name, "count": purged})

    async def _change_partitions(self) -> int:
        await self._records.create_partitions()
        return await self._records.drop_partitions(older_than=self._policy.partitions)

    async def _repeat(self, step: Callable[[], Awaitable[int]], heartbeat: Heartbeat) -> int:
        """Call `step` until it has deleted nothing, or the lease is lost; return how many rows it has deleted."""
        purged = 0
        while await self._records.acquire(ttl=_LEASE_TTL):
            rows = await step()
            if not rows:
                break
            purged += rows
            heartbeat()
            if self._drain.started:
                raise ServerDraining
        return purged
