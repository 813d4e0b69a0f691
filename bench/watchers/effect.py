"""What watchers cost a running sync."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync

from bench.common.cluster import Replica, running_cluster
from bench.common.machine import remove_files, settle
from bench.common.measure import BenchFailed
from bench.common.store import ServedShop, Store
from bench.watchers.crowd import Crowd, watching
from bench.watchers.running import started


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A sync that was watched from before its start to its end, by any number."""

    seconds: float
    """From its `start_time` to its `end_time`: neither attaching nor the terminal snapshots are within."""
    cpu: dict[str, float]
    """Seconds by kind of process, of the watchers too, until all of them have seen the end."""
    snapshots: int
    """Sent to all watchers, their first ones left out."""


async def watched_sync(
    place: Path, store: Store, blocker: ServedShop, *, watchers: int, yielding: bool
) -> Watched:
    """A first load in fresh services on an empty database.

    It waits behind the sync of a slow shop, by the bound of running syncs per platform, until all watchers are
    there.
    """
    shop = store.shop
    settings = {"CATALOG_MAX_RUNNING_PER_PLATFORM": "1"}
    async with AsyncExitStack() as stack:
        shops = (shop, blocker)
        cluster = await stack.enter_async_context(
            running_cluster(place, shops, ca_file=store.ca_file, settings=settings)
        )
        replica = cluster.replicas[0]
        first = await started(replica.client, blocker)
        waiting = await replica.client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
        crowds = [
            await stack.enter_async_context(
                watching(place, replica.address, waiting.sync_id, watchers, yielding=yielding)
            )
            for _ in range(bool(watchers))
        ]
        await asyncio.to_thread(settle)
        before = {**cluster.cpu(), "watchers": sum(crowd.cpu_seconds() for crowd in crowds)}
        await replica.client.cancel_sync(first.sync_id)
        sync = await cluster.processes.supervise(_ended(replica, waiting.sync_id))
        _check(shop, sync)
        snapshots = await _snapshots(crowds)
        after = {**cluster.cpu(), "watchers": sum(crowd.cpu_seconds() for crowd in crowds)}
    remove_files(place)
    return Watched(
        seconds=(sync.end_time.ToNanoseconds() - sync.start_time.ToNanoseconds()) / 1e9,
        cpu={name: round(after[name] - before[name], 2) for name in after},
        snapshots=snapshots,
    )


async def _snapshots(crowds: Sequence[Crowd]) -> int:
    return sum([(await crowd.seen()).snapshots for crowd in crowds])


async def _ended(replica: Replica, sync_id: str) -> Sync:
    sync = Sync()
    async with aclosing(replica.client.watch(sync_id)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
    return sync


def _check(shop: ServedShop, sync: Sync) -> None:
    if sync.state != Sync.STATE_SUCCEEDED or sync.attempt_count != 1:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    if sync.progress.items.created_count != shop.items:
        raise BenchFailed(f"{sync.progress.items.created_count:,} items were created, not {shop.items:,}")
