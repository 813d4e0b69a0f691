"""`make bench-analysis`: how fast and how soon do workers get tasks, and what does the analysis cost a first load?

Two replicas run over one PostgreSQL; the workers are four, in the process of the benchmark. They do no work: what
is measured is the queue.

1. Throughput: the tasks of one shop, leased and submitted in batches of 50; also while another transaction stays
   open, so that dead rows cannot be removed.
2. Pick-up: from the call that makes a task to its receipt by an idle worker, on the same replica and on the other.
3. Fairness: ten shops get ten tasks each, alone, and beside a shop with many tasks that the workers are busy with.
4. First load: shops of the same size are synced for the first time, in turn with and without an analyzer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog_pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel
from google.protobuf.field_mask_pb2 import FieldMask

from bench.analysis.workers import ANALYZER, Worker, running_workers
from bench.common.cluster import Cluster, running_cluster
from bench.common.load import first_load
from bench.common.machine import settle
from bench.common.measure import BenchFailed, percentile
from bench.common.report import Target, print_result, print_targets
from bench.common.stack import temporary_directory
from bench.common.store import ServedShop, numbered_shop_spec, running_store
from bench.read.rows import ITEMS_PER_PRODUCT, analyze, generate_shop
from catalog_svc.storage.engine import open_engine

MIN_TASKS_PER_SECOND: Final = 2_000
MIN_SHARE_WITH_OPEN_TRANSACTION: Final = 0.8
MAX_OWN_P95_MS: Final = 50
MAX_OTHER_P95_MS: Final = 1_500
MAX_DELAY_RATIO: Final = 2.0
MIN_LOAD_RATIO: Final = 0.9
MAX_DELAY_SECONDS: Final = 5.0
"""A delay of small shops up to this meets the target, whatever its ratio."""
_UNATTENDED: Final = "unattended"
"""An analyzer without workers: the tasks of the first loads stay open."""
_SMALL_SHOPS: Final = 10
_SMALL_TASKS: Final = 10
_WORKERS: Final = 4
_WORK_SECONDS: Final = 0.05
"""Of each task in the measurement of fairness."""
_BUSY_AFTER: Final = 200
"""Results, after which the workers are taken to be busy."""
_IDLE_SECONDS: Final = 3.0
"""Without a task for so long, a worker is idle."""
_MAX_PICK_UP_SECONDS: Final = 30.0
_LIVE_SHARE: Final = 0.88
"""Of the products of a generated shop, about: the others are deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What is analyzed and loaded."""

    tasks: int
    pick_ups: int
    backlog: int
    """Tasks of the large shop in the measurement of fairness."""
    load_items: int
    loads: int


FULL: Final = Size(tasks=20_000, pick_ups=100, backlog=100_000, load_items=50_000, loads=3)
SMOKE: Final = Size(tasks=2_000, pick_ups=20, backlog=5_000, load_items=10_000, loads=1)


@dataclass(kw_only=True, slots=True)
class Found:
    """What was measured."""

    backfill_items_per_second: float = 0.0
    tasks_per_second: float = 0.0
    with_open_transaction: float = 0.0
    own_ms: list[float] = field(default_factory=list)
    other_ms: list[float] = field(default_factory=list)
    alone_seconds: list[float] = field(default_factory=list)
    beside_seconds: list[float] = field(default_factory=list)
    loads_off: list[float] = field(default_factory=list)
    """Items per second."""
    loads_on: list[float] = field(default_factory=list)


class Bench:
    """A cluster, and the calls of its two replicas."""

    def __init__(self, cluster: Cluster, size: Size, found: Found) -> None:
        self._cluster = cluster
        self._size = size
        self._found = found
        self._channels = [open_channel(replica.address) for replica in cluster.replicas]
        self._catalog = CatalogServiceStub(self._channels[0])
        self._analysis = AnalysisServiceStub(self._channels[0])
        self._addresses = [replica.address for replica in cluster.replicas]

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()

    async def generate(self, domain: str, images: int) -> catalog_pb.ShopRef:
        """Store a shop with about so many images."""
        engine = open_engine(self._cluster.database_url, pool_size=1, command_timeout=None)
        try:
            async with engine.begin() as connection:
                items = round(images / _LIVE_SHARE) * ITEMS_PER_PRODUCT
                shop = await generate_shop(connection, domain=domain, items=items)
            async with engine.connect() as connection:
                await analyze(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        finally:
            await engine.dispose()
        return catalog_pb.ShopRef(shop_id=str(shop.shop_id))

    async def switch_on(self, shop: catalog_pb.ShopRef, analyzer: str = ANALYZER) -> int:
        """Switch an analyzer on, wait for the backfill, and return the number of items that are pending."""
        await self._catalog.UpdateShop(
            catalog_pb.UpdateShopRequest(
                shop=shop,
                update=catalog_pb.ShopUpdate(analyzers=[analyzer]),
                update_mask=FieldMask(paths=["analyzers"]),
            )
        )
        while True:
            status = await self._catalog.GetStatus(catalog_pb.GetStatusRequest(shop=shop))
            if status.analysis.pending_item_count == status.item_with_image_count:
                return status.analysis.pending_item_count
            await asyncio.sleep(0.05)

    async def requeue(self, shop: catalog_pb.ShopRef, **images: object) -> int:
        """Queue images again; return how many."""
        request = pb.RequeueTasksRequest(shop=shop, analyzer=ANALYZER, **images)  # type: ignore[arg-type]
        return (await self._analysis.RequeueTasks(request)).requeued_count

    async def throughput(self) -> None:
        shop = await self.generate("throughput.example", self._size.tasks)
        begin = time.perf_counter()
        items = await self.switch_on(shop)
        self._found.backfill_items_per_second = items / (time.perf_counter() - begin)
        self._found.tasks_per_second = await self._drain(items // ITEMS_PER_PRODUCT)
        await self._requeue_all(shop)
        connection = await asyncpg.connect(self._cluster.database_url.replace("+asyncpg", ""))
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_current_xact_id()")
                self._found.with_open_transaction = await self._drain(items // ITEMS_PER_PRODUCT)
        finally:
            await connection.close()

    async def _requeue_once(self, shop: catalog_pb.ShopRef) -> None:
        """Queue the images of a small shop again while workers run, but not what they complete meanwhile."""
        await self.requeue(shop, other_than_model_version="none")

    async def _requeue_all(self, shop: catalog_pb.ShopRef) -> None:
        """Queue all images again, while no worker runs."""
        while await self.requeue(shop, other_than_model_version="none"):
            pass

    async def _drain(self, tasks: int) -> float:
        """Return how many tasks per second the workers lease and submit until none is left."""
        settle()
        begin = time.perf_counter()
        async with running_workers([self._addresses[0]] * _WORKERS) as workers:
            await _until(lambda: sum(worker.stored for worker in workers) >= tasks)
            return tasks / (time.perf_counter() - begin)

    async def pick_up(self) -> None:
        shop = await self.generate("pick-up.example", self._size.pick_ups)
        await self.switch_on(shop)
        for address, latencies in zip(self._addresses, (self._found.own_ms, self._found.other_ms), strict=True):
            async with running_workers([address], record=True) as (worker,):
                await self._requeue_once(shop)
                for image_id in await _images_until_idle(worker):
                    # The worker waits again once its last result is stored.
                    await asyncio.sleep(0.05)
                    begin = time.perf_counter()
                    if not await self.requeue(shop, image_ids=pb.ImageIds(ids=[image_id])):
                        raise BenchFailed("the last result of an image was not stored in time")
                    async with asyncio.timeout(_MAX_PICK_UP_SECONDS):
                        received, _ = await worker.received.get()
                    latencies.append((received - begin) * 1000)

    async def fairness(self) -> None:
        small = [await self.generate(f"small-{n}.example", _SMALL_TASKS) for n in range(_SMALL_SHOPS)]
        images = {shop.shop_id: await self.switch_on(shop) // ITEMS_PER_PRODUCT for shop in small}
        async with self._workers() as workers:
            await self._finish(workers, images)
            self._found.alone_seconds = await self._requeue_and_finish(workers, images)
        large = await self.generate("large.example", self._size.backlog)
        await self.switch_on(large)
        async with self._workers() as workers:
            await _until(lambda: sum(worker.stored for worker in workers) >= _BUSY_AFTER)
            self._found.beside_seconds = await self._requeue_and_finish(workers, images)

    def _workers(self) -> AbstractAsyncContextManager[list[Worker]]:
        addresses = [self._addresses[0]] * _WORKERS
        return running_workers(addresses, max_in_flight=25, work_seconds=_WORK_SECONDS)

    async def _requeue_and_finish(self, workers: Sequence[Worker], images: Mapping[str, int]) -> list[float]:
        """Return after how many seconds each of these shops, whose tasks are made now, has all results."""
        for worker in workers:
            worker.stored_by_shop.clear()
        begin = {}
        for shop_id in images:
            begin[shop_id] = time.perf_counter()
            await self._requeue_once(catalog_pb.ShopRef(shop_id=shop_id))
        await self._finish(workers, images)
        ends = {shop: max(worker.last_stored_at.get(shop, 0.0) for worker in workers) for shop in images}
        return [ends[shop] - begin[shop] for shop in images]

    async def _finish(self, workers: Sequence[Worker], images: Mapping[str, int]) -> None:
        """Wait until the workers have stored so many results of each of these shops."""

        def finished() -> bool:
            return all(
                sum(worker.stored_by_shop[shop] for worker in workers) >= count for shop, count in images.items()
            )

        await _until(finished)

    async def first_loads(self, shops: Sequence[ServedShop]) -> None:
        """Load half of the shops with the analyzer switched on, and half without, in turn."""
        for number, shop in enumerate(shops):
            settle()
            on = number % 2 == 1
            if on:
                registered = await self._catalog.RegisterShop(
                    catalog_pb.RegisterShopRequest(platform=shop.name.platform, domain=shop.name.domain)
                )
                await self.switch_on(catalog_pb.ShopRef(shop_id=registered.shop.shop.shop_id), _UNATTENDED)
            times = await first_load(self._cluster.replicas[0].client, shop)
            rates = self._found.loads_on if on else self._found.loads_off
            rates.append(shop.items / (times.end - times.start))


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  The benchmark samples what the workers count.
        await asyncio.sleep(0.005)


async def _images_until_idle(worker: Worker) -> list[str]:
    """Return the images of the tasks that the worker gets until there are no more, and at least one."""
    images = [(await worker.received.get())[1].image_id]
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                images.append((await worker.received.get())[1].image_id)
        except TimeoutError:
            return images


async def _run(directory: Path, size: Size) -> Found:
    found = Found()
    specs = [numbered_shop_spec("shopify", number, size.load_items) for number in range(2 * size.loads)]
    async with (
        running_store(directory / "store", specs) as store,
        running_cluster(directory / "services", store.shops, ca_file=store.ca_file, replicas=2) as cluster,
    ):
        bench = Bench(cluster, size, found)

        async def measure() -> None:
            await bench.first_loads(store.shops)
            print(f"first loads: off {found.loads_off}, on {found.loads_on}", flush=True)
            await bench.throughput()
            print(f"{found.tasks_per_second:,.0f} tasks/s, {found.with_open_transaction:,.0f} beside", flush=True)
            await bench.pick_up()
            own, other = (percentile(values, 95) for values in (found.own_ms, found.other_ms))
            print(f"pick-up p95 {own:.0f} ms, other replica {other:.0f} ms", flush=True)
            await bench.fairness()

        try:
            await cluster.processes.supervise(measure())
        finally:
            await bench.close()
    return found


def _targets(found: Found) -> list[Target]:
    alone, beside = max(found.alone_seconds), max(found.beside_seconds)
    ratio = statistics.median(found.loads_on) / statistics.median(found.loads_off)
    share = found.with_open_transaction / found.tasks_per_second
    return [
        Target(
            name="tasks leased and submitted",
            value=round(found.tasks_per_second),
            unit="tasks/s",
            wanted=MIN_TASKS_PER_SECOND,
            at="least",
        ),
        Target(
            name="beside an open transaction, of the rate without",
            value=round(share, 2),
            unit="x",
            wanted=MIN_SHARE_WITH_OPEN_TRANSACTION,
            at="least",
        ),
        Target(
            name="pick-up by an idle worker, same replica, p95",
            value=round(percentile(found.own_ms, 95), 1),
            unit="ms",
            wanted=MAX_OWN_P95_MS,
            at="most",
        ),
        Target(
            name="pick-up by an idle worker, other replica, p95",
            value=round(percentile(found.other_ms, 95)),
            unit="ms",
            wanted=MAX_OTHER_P95_MS,
            at="most",
        ),
        _delay_target(alone, beside),
        Target(
            name="first load with an analyzer, of the rate without",
            value=round(ratio, 2),
            unit="x",
            wanted=MIN_LOAD_RATIO,
            at="least",
        ),
    ]


def _delay_target(alone: float, beside: float) -> Target:
    """Return the target in seconds if it is met, else the one as a ratio: either of them is enough."""
    if beside <= MAX_DELAY_SECONDS:
        return Target(
            name="small shops beside a large one, slowest",
            value=round(beside, 2),
            unit="s",
            wanted=MAX_DELAY_SECONDS,
            at="most",
        )
    return Target(
        name="small shops beside a large one, slowest, times alone",
        value=round(beside / alone, 2),
        unit="x",
        wanted=MAX_DELAY_RATIO,
        at="most",
    )


def main() -> None:
    """Print the figures, the targets and the RESULT line."""
    parser = argparse.ArgumentParser(prog="python -m bench.analysis", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="2,000 tasks, 10,000 items")
    size = SMOKE if parser.parse_args().smoke else FULL
    with temporary_directory("analysis") as directory:
        found = asyncio.run(_run(directory, size))
    targets = _targets(found)
    print_targets(targets)
    print_result(
        "analysis",
        {
            "targets": [target.to_json() for target in targets],
            "tasks": size.tasks,
            "backlog": size.backlog,
            "backfill_items_per_second": round(found.backfill_items_per_second),
            "pick_up_own_ms": [round(percentile(found.own_ms, p), 1) for p in (50, 95, 99)],
            "pick_up_other_ms": [round(percentile(found.other_ms, p), 1) for p in (50, 95, 99)],
            "small_shops_alone_seconds": round(max(found.alone_seconds), 2),
            "small_shops_beside_seconds": round(max(found.beside_seconds), 2),
            "loads_off_items_per_second": [round(rate) for rate in found.loads_off],
            "loads_on_items_per_second": [round(rate) for rate in found.loads_on],
        },
    )


if __name__ == "__main__":
    main()
