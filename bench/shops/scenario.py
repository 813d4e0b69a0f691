"""The scenario of the shops benchmark: many small shops are loaded, alone or beside a large shop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from bench.common import machine
from bench.common.cluster import PROCESS_KINDS, Cluster, running_cluster
from bench.common.load import SyncTimes, background_load, first_load, first_loads
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, Store, numbered_shop_spec, running_store, shop_spec

SMALL_KINDS = ("shopify", "woocommerce-10.3")
LARGE_KIND = "woocommerce-10.3"
SMALL_SHOP_MIN_ITEMS, SMALL_SHOP_MAX_ITEMS = 50, 250
PROCESSES = (*PROCESS_KINDS, "stores")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Number of small shops, and size of the large one."""

    shops: int
    """Small shops whose syncs are started in a burst."""
    singles: int
    """Small shops that are synced before the burst, one after the other."""
    items: int
    """Items of the large shop, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """The running stores: one process for all small shops, one for the large shop."""

    small: Store
    large: Store
    singles: int
    """So many of the small shops are synced one after the other, the others in a burst."""

    @property
    def shops(self) -> tuple[ServedShop, ...]:
        """All shops."""
        return (*self.small.shops, self.large.shop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """First loads of all small shops, alone or beside the large shop."""

    singles: Sequence[SyncTimes]
    burst: Sequence[SyncTimes]
    burst_seconds: float
    """Until the end of the last sync was seen."""
    cpu: dict[str, float]
    """CPU seconds during the burst, by kind of process."""
    large_items: int = 0
    """Items of the large shop that were read during the burst."""
    large_ended: int = 0
    """Syncs of the large shop that ended meanwhile; 0 if it is large enough."""


async def measure(size: Size, rounds: int) -> tuple[list[Measurement], list[Measurement]]:
    """Return `rounds` measurements of the small shops alone, and as many beside the large shop, alternating."""
    alone, together = [], []
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_directory("shops"))
        stores = await _start_stores(stack, directory, size)
        await _warm_up(directory / "warm-up", stores)
        for number in range(rounds):
            alone.append(await _measure_alone(directory / f"alone-{number}", stores))
            together.append(await _measure_together(directory / f"together-{number}", stores))
    return alone, together


async def _start_stores(stack: AsyncExitStack, directory: Path, size: Size) -> Stores:
    large = await stack.enter_async_context(
        running_store(directory / "large", [shop_spec(LARGE_KIND, size.items)])
    )
    tls = Path(large.ca_file).parent
    specs = _small_shop_specs(size.shops + size.singles)
    small = await stack.enter_async_context(running_store(directory / "small", specs, tls=tls))
    return Stores(small=small, large=large, singles=size.singles)


def _small_shop_specs(count: int) -> list[str]:
    """Return shops of both platforms and all sizes, with no relation between number and size."""
    kinds = islice(cycle(SMALL_KINDS), count)
    spread = SMALL_SHOP_MAX_ITEMS - SMALL_SHOP_MIN_ITEMS
    # 7,919 is prime: the sizes are evenly distributed over the range in any part of the shops.
    sizes = [SMALL_SHOP_MIN_ITEMS + number * 7_919 % (spread + 1) for number in range(count)]
    return [
        numbered_shop_spec(kind, number, size)
        for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]


async def _warm_up(directory: Path, stores: Stores) -> None:
    """Have every answer computed and cached."""
    async with running_cluster(directory, stores.shops, ca_file=stores.small.ca_file) as cluster:
        await cluster.processes.supervise(first_loads(cluster.replicas[0].client, stores.shops))


async def _measure_alone(directory: Path, stores: Stores) -> Measurement:
    async with running_cluster(directory, stores.shops, ca_file=stores.small.ca_file) as cluster:
        return await cluster.processes.supervise(_measure_small_shops(cluster, stores, lambda: 0))


async def _measure_together(directory: Path, stores: Stores) -> Measurement:
    async with running_cluster(directory, stores.shops, ca_file=stores.small.ca_file) as cluster:
        return await cluster.processes.supervise(_measure_beside_large(cluster, stores))


async def _measure_beside_large(cluster: Cluster, stores: Stores) -> Measurement:
    async with background_load(cluster.replicas[0].client, stores.large.shop) as large:
        measurement = await _measure_small_shops(cluster, stores, lambda: large.items)
        return replace(measurement, large_ended=large.ended_syncs)


async def _measure_small_shops(cluster: Cluster, stores: Stores, large_items: Callable[[], int]) -> Measurement:
    client, shops = cluster.replicas[0].client, stores.small.shops
    singles = [await first_load(client, shop) for shop in shops[: stores.singles]]
    cpu, items, begin = _cpu(cluster, stores), large_items(), time.monotonic()
    burst = await first_loads(client, shops[stores.singles :])
    seconds = time.monotonic() - begin
    return Measurement(
        singles=singles,
        burst=burst,
        burst_seconds=seconds,
        cpu={kind: after - cpu[kind] for kind, after in _cpu(cluster, stores).items()},
        large_items=large_items() - items,
    )


def _cpu(cluster: Cluster, stores: Stores) -> dict[str, float]:
    store_cpu = machine.cpu_seconds(stores.small.pid) + machine.cpu_seconds(stores.large.pid)
    return {**cluster.cpu(), "stores": store_cpu}
