"""The two cases: all watchers on one sync, and watchers spread over many syncs of other replicas.

Each case is measured in two ways: what the watchers cost and receive while nothing else runs, and how much they
slow a first load that runs on the same replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync

from bench.common import machine
from bench.common.cluster import Cluster, Replica, running_cluster
from bench.common.load import start_running_sync
from bench.common.machine import remove_files, settle
from bench.common.measure import BenchFailed
from bench.common.store import ServedShop, Store
from bench.watch.many_syncs import other_replicas
from bench.watch.watchers import Received, Watchers, attached_watchers

_WARM_UP_SECONDS = 2
"""The buffers of a sync grow at its start; memory is measured after that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What watchers cost and received."""

    watchers: int
    syncs: int
    kb_each: float
    """Private memory of catalog_svc with the watchers minus without, divided by their number; 1,000 bytes."""
    catalog_cpu: float
    """Share of one CPU while they watched, with what else catalog_svc did."""
    received: Received


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A first load that ran on the replica of the watchers."""

    seconds: float
    """From its `start_time` to its `end_time`: neither attaching nor terminal snapshots are within."""
    cpu: dict[str, float]
    """Seconds by kind of process, those of the watchers too."""
    snapshots: int
    """Received by all watchers, without the first one of each."""


async def cost_on_one_sync(place: Path, shop: ServedShop, *, ca_file: str, watchers: int, seconds: float) -> Cost:
    """Measure watchers that attach to a running sync of a slow shop and see it cancelled."""
    async with running_cluster(place, [shop], ca_file=ca_file) as cluster:
        replica = cluster.replicas[0]
        sync = await start_running_sync(replica.client, shop)
        await asyncio.sleep(_WARM_UP_SECONDS)
        async with _measured(place, cluster, [sync.sync_id], watchers, seconds) as (attached, kb_each, cpu):
            await replica.client.cancel_sync(sync.sync_id)
            received = await attached.received()
    return Cost(watchers=watchers, syncs=1, kb_each=kb_each, catalog_cpu=cpu, received=received)


async def cost_over_many_syncs(place: Path, *, syncs: int, watchers: int, seconds: float) -> Cost:
    """Measure watchers of syncs that run on other replicas and end together."""
    async with (
        running_cluster(place, [], ca_file="") as cluster,
        other_replicas(place, cluster, syncs) as others,
    ):
        await asyncio.sleep(_WARM_UP_SECONDS)
        async with _measured(place, cluster, others.sync_ids, watchers, seconds) as (attached, kb_each, cpu):
            await others.end()
            received = await attached.received()
    return Cost(watchers=watchers, syncs=syncs, kb_each=kb_each, catalog_cpu=cpu, received=received)


@asynccontextmanager
async def _measured(
    place: Path, cluster: Cluster, sync_ids: Sequence[str], watchers: int, seconds: float
) -> AsyncIterator[tuple[Watchers, float, float]]:
    """Yield the watchers after so many seconds, the memory of each in KB, and the share of a CPU."""
    pid = cluster.replicas[0].catalog_pid
    before = machine.private_mb(pid)
    async with attached_watchers(place, cluster.replicas[0].address, sync_ids, watchers) as attached:
        cpu = machine.cpu_seconds(pid)
        with_watchers = machine.private_mb(pid)
        await cluster.processes.supervise(asyncio.sleep(seconds))
        cpu = machine.cpu_seconds(pid) - cpu
        after = max(with_watchers, machine.private_mb(pid))
        yield attached, (after - before) * 1000 / watchers, cpu / seconds


async def load_watched_itself(
    place: Path, store: Store, blocker: ServedShop, *, watchers: int, low_priority: bool
) -> Load:
    """Run a first load that all watchers watch, in fresh services on an empty database.

    It waits behind the sync of a slow shop, by the limit of running syncs per platform, until all are attached.
    """
    shop = store.shop
    settings = {"CATALOG_MAX_RUNNING_PER_PLATFORM": "1"}
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            running_cluster(place, (shop, blocker), ca_file=store.ca_file, settings=settings)
        )
        replica = cluster.replicas[0]
        first = await start_running_sync(replica.client, blocker)
        waiting = await replica.client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
        attached = [
            await stack.enter_async_context(
                attached_watchers(place, replica.address, [waiting.sync_id], watchers, low_priority=low_priority)
            )
            for _ in range(bool(watchers))
        ]
        await asyncio.to_thread(settle)
        before = _cpu(cluster, attached)
        await replica.client.cancel_sync(first.sync_id)
        sync = await cluster.processes.supervise(_ended(replica, waiting.sync_id))
        snapshots = sum([(await each.received()).snapshots for each in attached])
        load = _load(shop, sync, before, _cpu(cluster, attached), snapshots)
    remove_files(place)
    return load


async def load_beside_watched_syncs(
    place: Path, store: Store, *, syncs: int, watchers: int, low_priority: bool
) -> Load:
    """Run a first load on a replica whose watchers watch syncs of other replicas, which advance in any case."""
    shop = store.shop
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(place, (shop,), ca_file=store.ca_file))
        replica = cluster.replicas[0]
        others = await stack.enter_async_context(other_replicas(place, cluster, syncs))
        attached = [
            await stack.enter_async_context(
                attached_watchers(place, replica.address, others.sync_ids, watchers, low_priority=low_priority)
            )
            for _ in range(bool(watchers))
        ]
        await asyncio.to_thread(settle)
        before = _cpu(cluster, attached)
        started_sync = await replica.client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
        sync = await cluster.processes.supervise(_ended(replica, started_sync.sync_id))
        after = _cpu(cluster, attached)
        await others.end()
        snapshots = sum([(await each.received()).snapshots for each in attached])
        load = _load(shop, sync, before, after, snapshots)
    remove_files(place)
    return load


def _cpu(cluster: Cluster, attached: Sequence[Watchers]) -> dict[str, float]:
    return {**cluster.cpu(), "watchers": sum(each.cpu_seconds() for each in attached)}


async def _ended(replica: Replica, sync_id: str) -> Sync:
    sync = Sync()
    async with aclosing(replica.client.watch(sync_id)) as snapshots:
        async for snapshot in snapshots:
            sync = snapshot
    return sync


def _load(shop: ServedShop, sync: Sync, before: dict[str, float], after: dict[str, float], snapshots: int) -> Load:
    if sync.state != Sync.STATE_SUCCEEDED or sync.attempt_count != 1:
        raise BenchFailed(f"the sync of {shop.name} ended as {Sync.State.Name(sync.state)}: {sync.error.message}")
    if sync.progress.items.created_count != shop.items:
        raise BenchFailed(f"{sync.progress.items.created_count:,} items were created, not {shop.items:,}")
    return Load(
        seconds=(sync.end_time.ToNanoseconds() - sync.start_time.ToNanoseconds()) / 1e9,
        cpu={name: round(after[name] - before[name], 2) for name in after},
        snapshots=snapshots,
    )
