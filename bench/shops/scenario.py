"""What bench-shops does: many small shops are loaded, alone or beside a large one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from catalogsync_cli.client import CatalogClient

from bench.common import machine
from bench.common.cluster import KINDS, Cluster, running_cluster
from bench.common.load import Followed, beside_large, first_load
from bench.common.stack import Store, running_store, workplace
from bench.common.store import ServedShop, Stores, numbered_shop, running_stores, shop_of

SMALL_KINDS = ("shopify", "woocommerce-10.3")
LARGE_KIND = "woocommerce-10.3"
LEAST_ITEMS, MOST_ITEMS = 50, 250
"""Of a small shop."""
PROCESSES = (*KINDS, "stores")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How many shops, and how large a one beside them."""

    shops: int
    """Small ones that are ordered in a burst."""
    singles: int
    """Small ones that are synced before it, one after the other."""
    items: int
    """Of the large shop, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Who serves: the small shops, and the large one as a store of its own."""

    small: Stores
    large: Store
    singles: int
    """So many of the small shops are synced one after the other, the others in a burst."""

    @property
    def large_shop(self) -> ServedShop:
        """The large one as it is told to a cluster."""
        store = self.large
        return ServedShop(
            name=store.name, base_url=store.base_url, credentials=store.credentials, items=store.items
        )

    @property
    def shops(self) -> tuple[ServedShop, ...]:
        """All of them."""
        return (*self.small.shops, self.large_shop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """All small shops once, alone or not."""

    singles: Sequence[Followed]
    burst: Sequence[Followed]
    burst_seconds: float
    """Until the last one's end was seen."""
    cpu: dict[str, float]
    """Seconds during the burst, by kind of process."""
    large_items: int = 0
    """Read of the large shop during the burst."""
    large_ended: int = 0
    """Syncs of the large shop that ended while the small ones ran; 0 if it is large enough."""


async def _alone(place: Path, stage: Stage) -> Act:
    async with running_cluster(place, stage.shops, ca_file=stage.small.ca_file) as cluster:
        return await cluster.family.supervise(_small(cluster, stage, lambda: 0))


async def _together(place: Path, stage: Stage) -> Act:
    async with running_cluster(place, stage.shops, ca_file=stage.small.ca_file) as cluster:
        return await cluster.family.supervise(_beside(cluster, stage))


async def _beside(cluster: Cluster, stage: Stage) -> Act:
    async with beside_large(cluster.replicas[0].client, stage.large_shop) as large:
        act = await _small(cluster, stage, lambda: large.items)
        return replace(act, large_ended=large.ended_syncs)


async def _small(cluster: Cluster, stage: Stage, large_items: Callable[[], int]) -> Act:
    client, shops = cluster.replicas[0].client, stage.small.shops
    singles = [await first_load(client, shop) for shop in shops[: stage.singles]]
    cpu, items, begin = _cpu(cluster, stage), large_items(), time.monotonic()
    burst = await asyncio.gather(*(first_load(client, shop) for shop in shops[stage.singles :]))
    seconds = time.monotonic() - begin
    return Act(
        singles=singles,
        burst=burst,
        burst_seconds=seconds,
        cpu={kind: after - cpu[kind] for kind, after in _cpu(cluster, stage).items()},
        large_items=large_items() - items,
    )


def _cpu(cluster: Cluster, stage: Stage) -> dict[str, float]:
    return {**cluster.cpu(), "stores": machine.cpu_seconds(stage.small.pid) + machine.cpu_seconds(stage.large.pid)}


async def _teach(place: Path, stage: Stage) -> None:
    """Has every answer worked out."""
    async with running_cluster(place, stage.shops, ca_file=stage.small.ca_file) as cluster:
        client = cluster.replicas[0].client
        await cluster.family.supervise(_all(client, stage.shops))


async def _all(client: CatalogClient, shops: Sequence[ServedShop]) -> None:
    await asyncio.gather(*(first_load(client, shop) for shop in shops))


async def acts(size: Size, rounds: int) -> tuple[list[Act], list[Act]]:
    """Plays both ways in turn, `rounds` times each: alone, and beside the large shop."""
    alone, together = [], []
    async with AsyncExitStack() as stack:
        place = stack.enter_context(workplace("shops"))
        stage = await _stage(stack, place, size)
        await _teach(place / "taught", stage)
        for number in range(rounds):
            alone.append(await _alone(place / f"alone-{number}", stage))
            together.append(await _together(place / f"together-{number}", stage))
    return alone, together


async def _stage(stack: AsyncExitStack, place: Path, size: Size) -> Stage:
    large = await stack.enter_async_context(
        running_store(place / "large", shop_of(LARGE_KIND, size.items), remember=True)
    )
    tls = Path(large.ca_file).parent
    specs = _small_shops(size.shops + size.singles)
    small = await stack.enter_async_context(running_stores(place / "small", specs, tls=tls))
    return Stage(small=small, large=large, singles=size.singles)


def _small_shops(count: int) -> list[str]:
    """Every size of both platforms, in no order that tells a size."""
    kinds = islice(cycle(SMALL_KINDS), count)
    spread = MOST_ITEMS - LEAST_ITEMS
    # 7,919 is prime: the sizes are even over the range whatever part of the shops is looked at.
    sizes = [LEAST_ITEMS + number * 7_919 % (spread + 1) for number in range(count)]
    return [
        numbered_shop(kind, number, size) for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]
