"""What watchers take and get while a sync runs at the pace of its shop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench.common import machine
from bench.common.cluster import running_cluster
from bench.common.store import ServedShop
from bench.watchers.crowd import Seen, watching
from bench.watchers.running import started


@dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """A crowd of watchers on one sync."""

    watchers: int
    kb_each: float
    """Private memory of catalog_svc with them, less without, divided; 1,000 bytes."""
    catalog_cpu: float
    """Of one CPU, while they watched, with what the sync took."""
    seen: Seen


async def present(place: Path, shop: ServedShop, *, ca_file: str, watchers: int, seconds: float) -> Present:
    """A crowd that attaches to a running sync of a slow shop, watches for a while and sees it cancelled."""
    async with running_cluster(place, [shop], ca_file=ca_file) as cluster:
        replica = cluster.replicas[0]
        sync = await started(replica.client, shop)
        # The sync's own buffers have had time to grow.
        await asyncio.sleep(2)
        before = machine.private_mb(replica.catalog_pid)
        async with watching(place, replica.address, sync.sync_id, watchers) as crowd:
            cpu = machine.cpu_seconds(replica.catalog_pid)
            attached = machine.private_mb(replica.catalog_pid)
            await cluster.processes.supervise(asyncio.sleep(seconds))
            cpu = machine.cpu_seconds(replica.catalog_pid) - cpu
            after = max(attached, machine.private_mb(replica.catalog_pid))
            await replica.client.cancel_sync(sync.sync_id)
            seen = await crowd.seen()
    return Present(
        watchers=watchers,
        kb_each=(after - before) * 1000 / watchers,
        catalog_cpu=cpu / seconds,
        seen=seen,
    )
