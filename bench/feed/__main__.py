"""`make bench-feed`: how fast and how soon does the item feed deliver, and what do its followers cost?

Two replicas run over one PostgreSQL. Consumers are a process of their own.

1. Catch-up: one consumer reads a whole shop from the beginning, on one replica.
2. Latency: one consumer on each replica follows a shop while it is synced; each run changes 1 % of the products.
What
   the replica of the consumer has stored itself is told apart from what the other one has stored.
3. Followers: thousands follow shops that do not change; what each adds to the memory of its replica.
4. Paused consumers: a shop is synced, in turn without followers and with ones that stop reading after their first
   message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from catalogsync.catalog.v1.catalog_service_pb2 import Sync

from bench.common.cluster import Cluster, Replica, running_cluster
from bench.common.machine import private_mb, settle
from bench.common.measure import BenchFailed, check_succeeded, percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, Store, running_store, shop_spec
from bench.read.rows import GeneratedShop, analyze, generate_shop
from catalog_svc.storage.engine import open_engine

MIN_ITEMS_PER_SECOND: Final = 30_000
MAX_OWN_P99_MS: Final = 100
MAX_OTHER_P99_MS: Final = 500
MAX_FOLLOWER_KB: Final = 50
_IDLE_CPU_SECONDS: Final = 0.1
"""Of two replicas, within a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What is stored and followed."""

    items: int
    """Of the shop that is read from the beginning."""
    catch_ups: int
    changing_items: int
    """Of the shop that is synced while it is followed."""
    syncs: int
    followed_shops: int
    followers: int
    paused: int
    """Consumers that do not read, 20 at most: a shop has no more watchers by default."""


FULL: Final = Size(
    items=500_000, catch_ups=3, changing_items=50_000, syncs=8, followed_shops=1_000, followers=5_000, paused=20
)
SMOKE: Final = Size(
    items=50_000, catch_ups=1, changing_items=5_000, syncs=4, followed_shops=50, followers=250, paused=20
)


@dataclass(kw_only=True, slots=True)
class Found:
    """What was measured."""

    items_per_second: list[float] = field(default_factory=list)
    catalog_cpu_per_million: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)
    other_ms: list[float] = field(default_factory=list)
    follower_kb: float = 0.0
    seconds_alone: list[float] = field(default_factory=list)
    seconds_with_paused: list[float] = field(default_factory=list)
    paused_mb: float = 0.0
    """What the paused consumers add to the memory of their replica."""


async def _generate(cluster: Cluster, size: Size) -> tuple[GeneratedShop, list[GeneratedShop]]:
    engine = open_engine(cluster.database_url, pool_size=1, command_timeout=None)
    try:
        async with engine.begin() as connection:
            large = await generate_shop(connection, domain="large.myshopify.com", items=size.items)
            small = [
                await generate_shop(connection, domain=f"followed-{number}.myshopify.com", items=5)
                for number in range(size.followed_shops)
            ]
        async with engine.connect() as connection:
            await analyze(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        return large, small
    finally:
        await engine.dispose()


@asynccontextmanager
async def _consumers(
    replica: Replica, shop_ids: Sequence[str], *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of consumers; afterwards end it."""
    command = ("-m", "bench.feed.consumer_process", "--address", replica.address, *options, *shop_ids)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, limit=1 << 30
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise BenchFailed("the consumers have ended too early")
    document: dict[str, Any] = json.loads(line)
    return document


async def _catch_up(cluster: Cluster, shop: GeneratedShop, size: Size, found: Found) -> None:
    replica = cluster.replicas[0]
    for _ in range(size.catch_ups):
        cpu = cluster.cpu()["catalog_svc"]
        async with _consumers(replica, [str(shop.shop_id)], "--until-caught-up") as process:
            result = await _line(process)
        (seconds,) = result["seconds"]
        found.items_per_second.append(result["items"] / seconds)
        used = cluster.cpu()["catalog_svc"] - cpu
        found.catalog_cpu_per_million.append(used / result["items"] * 1e6)
        print(f"caught up with {result['items']:,} items in {seconds:.1f} s", flush=True)


async def _latency(cluster: Cluster, store: Store, shop: ServedShop, size: Size, found: Found) -> None:
    first = await _sync(cluster, shop)
    for number in range(size.syncs):
        await store.set_generation((number + 1) % 2)
        started = [await replica.started_sync_count() for replica in cluster.replicas]
        async with (
            _consumers(cluster.replicas[0], [first.shop.shop_id]) as one,
            _consumers(cluster.replicas[1], [first.shop.shop_id]) as two,
        ):
            await asyncio.gather(_line(one), _line(two))
            await _sync(cluster, shop)
            # A poll of the other replica, and then some.
            await asyncio.sleep(1)
            for process in (one, two):
                process.send_signal(signal.SIGTERM)
            latencies = [(await _line(process))["latencies_ms"] for process in (one, two)]
        counts = [await replica.started_sync_count() for replica in cluster.replicas]
        ran = [after > before for before, after in zip(started, counts, strict=True)]
        for is_own, values in zip(ran, latencies, strict=True):
            (found.own_ms if is_own else found.other_ms).extend(values)
        print(f"sync {number + 1}: {[len(values) for values in latencies]} changes received", flush=True)


async def _paused(cluster: Cluster, store: Store, shop: ServedShop, size: Size, found: Found) -> None:
    replica = cluster.replicas[0]
    shop_id = (await _sync(cluster, shop)).shop.shop_id
    for number in range(size.syncs):
        await store.set_generation(number % 2)
        settle()
        found.seconds_alone.append(_seconds(await _sync(cluster, shop)))
        before = private_mb(replica.catalog_pid)
        await store.set_generation((number + 1) % 2)
        async with _consumers(replica, [shop_id], "--count", str(size.paused), "--pause") as process:
            await _line(process)
            await _idle(cluster)
            found.seconds_with_paused.append(_seconds(await _sync(cluster, shop)))
            found.paused_mb = max(found.paused_mb, private_mb(replica.catalog_pid) - before)
    print(f"alone {found.seconds_alone}, with paused consumers {found.seconds_with_paused}", flush=True)


async def _idle(cluster: Cluster) -> None:
    """Wait until the buffers of all connections are full: then the replicas have nothing to do."""
    used = _IDLE_CPU_SECONDS
    while used >= _IDLE_CPU_SECONDS:
        before = cluster.cpu()["catalog_svc"]
        await asyncio.sleep(1)
        used = cluster.cpu()["catalog_svc"] - before


def _seconds(sync: Sync) -> float:
    return round((sync.end_time.ToNanoseconds() - sync.start_time.ToNanoseconds()) / 1e9, 2)


async def _sync(cluster: Cluster, shop: ServedShop) -> Sync:
    client = cluster.replicas[0].client
    sync = await client.start_sync(shop.name, mode=Sync.MODE_FULL, request_id=str(uuid4()))
    async for snapshot in client.watch(sync.sync_id, after_revision=sync.revision):
        sync = snapshot
    check_succeeded(shop, sync)
    return sync


async def _followers(cluster: Cluster, shops: Sequence[GeneratedShop], size: Size, found: Found) -> None:
    replica = cluster.replicas[0]
    settle()
    before = private_mb(replica.catalog_pid)
    ids = [str(shop.shop_id) for shop in shops]
    async with _consumers(replica, ids, "--count", str(size.followers)) as process:
        await _line(process)
        # Several checkpoints of each.
        await asyncio.sleep(25)
        found.follower_kb = (private_mb(replica.catalog_pid) - before) * 1024 / size.followers


async def _run(directory: Path, size: Size) -> Found:
    found = Found()
    spec = shop_spec("shopify", size.changing_items)
    async with (
        running_store(directory / "store", [spec], generations=2) as store,
        running_cluster(
            directory / "services",
            store.shops,
            ca_file=store.ca_file,
            replicas=2,
            settings={"CATALOG_MAX_WATCHERS_PER_SHOP": "10000"},
        ) as cluster,
    ):
        large, small = await _generate(cluster, size)

        async def measure() -> None:
            await _followers(cluster, small, size, found)
            await _catch_up(cluster, large, size, found)
            await _latency(cluster, store, store.shops[0], size, found)
            await _paused(cluster, store, store.shops[0], size, found)

        await cluster.processes.supervise(measure())
    return found


def _targets(found: Found) -> list[Target]:
    rate, other = statistics.median(found.items_per_second), found.other_ms
    targets = [
        Target(
            name="catch-up of one consumer",
            value=round(rate),
            unit="items/s",
            wanted=MIN_ITEMS_PER_SECOND,
            at="least",
        ),
        Target(
            name="memory of a follower",
            value=round(found.follower_kb, 1),
            unit="KB",
            wanted=MAX_FOLLOWER_KB,
            at="most",
        ),
    ]
    slower = statistics.median(found.seconds_with_paused) / statistics.median(found.seconds_alone)
    targets += [
        Target(
            name="sync beside paused consumers, times alone",
            value=round(slower, 2),
            unit="x",
            wanted=1.05,
            at="most",
        ),
        Target(
            name="memory of paused consumers", value=round(found.paused_mb, 1), unit="MB", wanted=20, at="most"
        ),
    ]
    for name, values, wanted in (
        ("stored to received, same replica, p99", found.own_ms, MAX_OWN_P99_MS),
        ("stored to received, other replica, p99", other, MAX_OTHER_P99_MS),
    ):
        if values:
            targets.append(
                Target(name=name, value=round(percentile(values, 99)), unit="ms", wanted=wanted, at="most")
            )
    return targets


def main() -> None:
    """Print the figures, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="50,000 items, 250 followers")
    size = SMOKE if parser.parse_args().smoke else FULL
    with temporary_directory("feed") as directory:
        found = asyncio.run(_run(directory, size))
    rows = [
        (name, *(f"{percentile(values, percent):,.0f}" for percent in (50, 99, 100)), f"{len(values):,}")
        for name, values in (("same replica", found.own_ms), ("other replica", found.other_ms))
        if values
    ]
    print_table("Stored to received", ("", "p50 ms", "p99 ms", "max ms", "items"), rows)
    targets = _targets(found)
    print_targets(targets)
    print_result(
        "feed",
        {
            "targets": [target.to_json() for target in targets],
            "items": size.items,
            "followers": size.followers,
            "items_per_second": [round(rate) for rate in found.items_per_second],
            "catalog_cpu_seconds_per_million": [round(value, 1) for value in found.catalog_cpu_per_million],
        },
    )


if __name__ == "__main__":
    main()
