"""The refresh worker: how often it reads a platform, what it does with failures, and how many shops it reads.

The clock of the database is the event loop's, which skips to the next timer: sleeps take no time, and are exact.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.drain import Drain

from catalog_svc.domain.errors import SourceFailed
from catalog_svc.domain.refresh import PendingRefreshes, RefreshReason, RefreshRequest, RefreshResult
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.source import SourceEvent, SourceRequest
from catalog_svc.domain.sync import BlockedDeletion, SyncError, SyncMode, SyncState, SyncTrigger
from catalog_svc.metrics import NullRefreshMetrics
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.refresh_run import RefreshDependencies, RefreshRun
from catalog_svc.usecases.refresh_worker import RefreshWorker
from tests.contract.catalog_stores.conftest import Replica as Stores
from tests.contract.catalog_stores.conftest import batch
from tests.contract.catalog_stores.steps import REVOKED, apply, full_sync, started_sync, sweep_and_succeed
from tests.fakes.memory_batches import MemoryBatches, MemorySweeps
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink, Outcome
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_refreshes import MemoryRefreshes, MemoryRefreshRequests
from tests.fakes.memory_state import State
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.product_source import MemorySource, product
from tests.fakes.skipping_loop import skipping

T = TypeVar("T")
SHOP = ShopKey("shopify", "demo.myshopify.com")
UNREACHABLE = SourceFailed(reason="SOURCE_UNREACHABLE", message="no answer", transient=True)
UNAUTHORIZED = SourceFailed(reason="SOURCE_UNAUTHORIZED", message="connect the shop again", transient=False)
BLOCKED = SyncError(reason="MASS_DELETE_BLOCKED", message="8 of 10 items would be deleted")
MAX_PRODUCTS = 1_000


class ClockedCatalog(MemoryCatalog):
    """A database whose clock is that of the event loop."""

    def commit(self, work: Callable[[State], T], writer: MemoryLink) -> T:
        self.now = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())
        return super().commit(work, writer)


class TimedSource(MemorySource):
    """A source that notes when it is read by ids, and how many reads of each shop overlap."""

    def __init__(self, products: Iterable[pb.Product] = (), *, seconds: float = 0.0) -> None:
        super().__init__(products)
        self.seconds = seconds
        """That each read takes."""
        self.times: list[float] = []
        self.reading: Counter[ShopKey] = Counter()
        self.most_of_shop = 0
        self.most = 0

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        self.times.append(asyncio.get_running_loop().time())
        self.reading[request.shop] += 1
        self.most_of_shop = max(self.most_of_shop, *self.reading.values())
        self.most = max(self.most, self.reading.total())
        try:
            await asyncio.sleep(self.seconds)
            async for event in super().fetch(request):
                yield event
        finally:
            self.reading[request.shop] -= 1


class CountingMetrics(NullRefreshMetrics):
    """Metrics that keep what was counted."""

    def __init__(self) -> None:
        self.read = RefreshResult()
        self.failures: list[str] = []
        self.pending: PendingRefreshes | None = None

    def refresh_read(self, platform: str, result: RefreshResult) -> None:
        self.read += result

    def refresh_failed(self, platform: str, reason: str) -> None:
        self.failures.append(reason)


@dataclass
class World:
    """A database, and replicas with refresh workers."""

    source: ProductSource
    catalog: MemoryCatalog = field(default_factory=ClockedCatalog)
    metrics: CountingMetrics = field(default_factory=CountingMetrics)

    def __post_init__(self) -> None:
        self.link = MemoryLink(self.catalog)
        self.stores = stores_of(self.link, self.catalog)
        self.drain = Drain()
        self.workers: list[RefreshWorker] = []

    def worker(self, *, max_running: int = 8, max_per_platform: int = 8) -> RefreshWorker:
        link = MemoryLink(self.catalog)
        refreshes = MemoryRefreshes(link, ttl=timedelta(minutes=2))
        dependencies = RefreshDependencies(
            refreshes=refreshes,
            source=self.source,
            commands=MemorySyncCommands(link),
            metrics=self.metrics,
            wake_sync_worker=lambda: None,
            overlap=timedelta(minutes=5),
        )
        worker = RefreshWorker(
            refreshes=refreshes,
            refresh=RefreshRun(dependencies),
            drain=self.drain,
            max_running=max_running,
            max_per_platform=max_per_platform,
        )
        self.workers.append(worker)
        return worker

    @asynccontextmanager
    async def running(self, *workers: RefreshWorker) -> AsyncIterator[None]:
        """Run the workers, one if none is given, until the drain at the end."""
        tasks = [asyncio.create_task(worker.run()) for worker in workers or (self.worker(),)]
        try:
            yield
        finally:
            self.drain.start()
            await asyncio.gather(*tasks)

    async def request(self, shop: Shop, *product_ids: str) -> None:
        """Request products at the first replica."""
        request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=product_ids)
        await self.stores.requests.add(shop, request)
        if self.workers:
            self.workers[0].wake()

    @property
    def titles(self) -> dict[str, str]:
        products = self.catalog.state.products.items()
        return {pid: row.record.title for (_, pid), row in products if not row.deleted}

    @property
    def waiting(self) -> set[str]:
        return {pid for (_, pid), row in self.catalog.state.refreshes.items() if row.is_unread}

    def syncs(self, shop: Shop) -> list[tuple[SyncMode, SyncTrigger]]:
        """Return mode and trigger of the shop's syncs, the first one of `loaded` left out."""
        return [(row.sync.mode, row.sync.trigger) for row in self.catalog.state.of_shop(shop.shop_id)][1:]


def stores_of(link: MemoryLink, catalog: MemoryCatalog) -> Stores:
    return Stores(
        commands=MemorySyncCommands(link),
        leases=MemoryLeases(link),
        batches=MemoryBatches(link),
        sweeps=MemorySweeps(link),
        syncs=MemorySyncs(link),
        requests=MemoryRefreshRequests(link, max_products=MAX_PRODUCTS),
        refreshes=MemoryRefreshes(link, ttl=catalog.ttl),
    )


async def loaded(world: World, *products: pb.Product, key: ShopKey = SHOP) -> Shop:
    """Return a shop whose first sync has stored these products."""
    return (await full_sync(world.stores, *products, shop=key)).shop


# -- how often a platform is read


@skipping
async def test_200_requests_for_one_product_in_a_second_cost_at_most_4_reads() -> None:
    source = TimedSource([product("1", title="0")], seconds=0.05)
    world = World(source)
    shop = await loaded(world, product("1", title="old"))
    async with world.running():
        for n in range(200):
            source.products = [product("1", title=str(n))]
            await world.request(shop, "1")
            await asyncio.sleep(0.005)
        await asyncio.sleep(2)
    assert 1 <= len(source.times) <= 4
    assert world.titles == {"1": "199"}
    assert world.waiting == set()


@skipping
async def test_a_product_is_read_soon_after_the_coalescing_delay() -> None:
    source = TimedSource([product("1", title="new")])
    world = World(source)
    shop = await loaded(world, product("1"))
    async with world.running():
        await asyncio.sleep(10.4)
        requested_at = asyncio.get_running_loop().time()
        await world.request(shop, "1")
        await asyncio.sleep(1)
    (read_at,) = source.times
    assert 0.3 <= read_at - requested_at <= 0.4


@skipping
async def test_600_products_are_read_in_three_groups_without_a_pause_between_them() -> None:
    source = TimedSource([product(f"{n}", title="new") for n in range(600)], seconds=0.01)
    world = World(source)
    shop = await loaded(world, product("0"))
    async with world.running():
        await world.request(shop, *(f"{n}" for n in range(600)))
        await asyncio.sleep(2)
    assert [len(ids) for ids in source.requested_ids] == [250, 250, 100]
    assert source.times[-1] - source.times[0] <= 0.2
    assert len(world.titles) == 600


@skipping
async def test_two_replicas_never_read_one_shop_at_the_same_time() -> None:
    source = TimedSource([product("1", title="new")], seconds=0.4)
    world = World(source)
    shop = await loaded(world, product("1"))
    async with world.running(world.worker(), world.worker()):
        for _ in range(40):
            await world.request(shop, "1")
            await asyncio.sleep(0.1)
    assert source.most_of_shop == 1
    assert len(source.times) > 2


@skipping
async def test_a_replica_reads_a_bounded_number_of_shops_and_of_each_platform() -> None:
    source = TimedSource([product("1")], seconds=1.0)
    world = World(source)
    keys = [ShopKey("shopify", f"{n}.myshopify.com") for n in range(5)]
    keys += [ShopKey("woocommerce", f"{n}.example") for n in range(5)]
    shops = [await loaded(world, product("1"), key=key) for key in keys]
    most_of_platform = 0

    async def observe() -> None:
        nonlocal most_of_platform
        while True:
            reading = Counter(key.platform for key, count in source.reading.items() if count)
            most_of_platform = max(most_of_platform, *reading.values(), 0)
            await asyncio.sleep(0.05)

    async with world.running(world.worker(max_running=3, max_per_platform=2)):
        observing = asyncio.create_task(observe())
        for shop in shops:
            await world.request(shop, "1")
        await asyncio.sleep(20)
        observing.cancel()
    assert (source.most, most_of_platform) == (3, 2)
    assert len(source.times) == len(shops)
    assert world.waiting == set()


# -- failures


@skipping
async def test_a_shop_that_cannot_be_read_is_tried_with_backoff_and_smaller_groups() -> None:
    source = TimedSource([product(str(n), title="new") for n in range(200)])
    source.by_id_failures = {number: [UNREACHABLE] for number in range(1, 5)}
    world = World(source)
    shop = await loaded(world, product("0"))
    async with world.running():
        await world.request(shop, *(str(n) for n in range(200)))
        await asyncio.sleep(60)
    delays = [later - earlier for earlier, later in pairwise(source.times[:5])]
    # A poll comes up to 1.3 s after the shop is due.
    assert all(2**n <= delay <= 2**n + 1.5 for n, delay in enumerate(delays)), delays
    assert [len(ids) for ids in source.requested_ids[:5]] == [200, 125, 62, 31, 15]
    assert world.metrics.failures == ["SOURCE_UNREACHABLE"] * 4
    assert world.waiting == set()
    assert len(world.titles) == 200


@skipping
async def test_a_product_that_cannot_be_read_is_isolated_and_the_others_are_stored() -> None:
    class PoisonedSource(TimedSource):
        async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
            if "7" in request.product_ids:
                self.times.append(asyncio.get_running_loop().time())
                raise SourceFailed(reason="INTERNAL", message="a bug", transient=False)
            async for event in super().fetch(request):
                yield event

    source = PoisonedSource([product(str(n), title="new") for n in range(20)])
    world = World(source)
    shop = await loaded(world, *(product(str(n), title="old") for n in range(20)))
    async with world.running():
        await world.request(shop, *(str(n) for n in range(20)))
        await asyncio.sleep(3_600)
    assert {pid for pid, title in world.titles.items() if title == "old"} == {"7"}
    assert world.waiting == set()


@skipping
async def test_the_pause_that_a_platform_demands_is_kept() -> None:
    source = TimedSource([product("1")])
    limited = SourceFailed(
        reason="SOURCE_RATE_LIMITED", message="", transient=True, retry_after=timedelta(seconds=30)
    )
    source.by_id_failures = {1: [limited]}
    world = World(source)
    shop = await loaded(world, product("1"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(60)
    assert 30 <= source.times[1] - source.times[0] <= 32


@skipping
async def test_rejected_credentials_are_shown_by_one_sync_and_the_products_wait() -> None:
    source = TimedSource([product("1")])
    source.by_id_failures = {number: [UNAUTHORIZED] for number in range(1, 100)}
    world = World(source)
    shop = await loaded(world, product("1"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(10)
        assert world.syncs(shop) == [(SyncMode.INCREMENTAL, SyncTrigger.SCHEDULE)]
        claimed = await world.stores.claim()
        await world.stores.leases.end(claimed.lease, SyncState.FAILED, REVOKED)
        await asyncio.sleep(3_600)
        assert len(world.syncs(shop)) == 1
        assert world.waiting == {"1"}


@skipping
async def test_a_read_that_does_not_end_is_given_up_and_repeated() -> None:
    source = TimedSource([product("1", title="new")], seconds=3_600)
    world = World(source)
    shop = await loaded(world, product("1"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(60)
        source.seconds = 0
        await asyncio.sleep(60)
    assert world.metrics.failures == ["CONNECTOR_UNAVAILABLE"]
    assert world.titles == {"1": "new"}
    assert source.reading.total() == 0


@skipping
async def test_nothing_is_deleted_unless_the_read_was_complete() -> None:
    class EndlessSource(TimedSource):
        async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
            events = [event async for event in super().fetch(request)]
            for event in events[:-1] if len(self.times) == 1 else events:
                yield event

    source = EndlessSource()
    world = World(source)
    shop = await loaded(world, product("1"), product("2"), product("3"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(1)
        assert set(world.titles) == {"1", "2", "3"}
        await asyncio.sleep(5)
    assert world.metrics.failures == ["SOURCE_INCOMPLETE"]
    assert set(world.titles) == {"2", "3"}


@skipping
async def test_a_database_that_fails_during_the_write_loses_no_product() -> None:
    source = TimedSource([product("1", title="new")])
    world = World(source)
    shop = await loaded(world, product("1"))
    worker = world.worker()
    async with world.running(worker):
        await world.request(shop, "1")
        # The claim and the take succeed, the write and what follows do not.
        worker_link: MemoryLink = worker._refreshes._link  # type: ignore[attr-defined]
        read_before = len(source.times)
        while len(source.times) == read_before:
            await asyncio.sleep(0.01)
        worker_link.outcomes.extend([Outcome.NOT_APPLIED] * 2)
        await asyncio.sleep(300)
    assert world.titles == {"1": "new"}
    assert world.waiting == set()


# -- what is left to a sync


@skipping
async def test_a_shop_that_was_never_read_is_left_to_its_first_sync() -> None:
    source = TimedSource([product("1")])
    world = World(source)
    pending = await world.stores.create_sync()
    async with world.running():
        await world.request(pending.shop, "1")
        await asyncio.sleep(5)
    assert (source.times, world.waiting, world.titles) == ([], set(), {})
    assert world.catalog.state.refresh_queue == {}


@skipping
async def test_prices_in_another_currency_are_not_stored_and_a_sync_reads_everything() -> None:
    source = TimedSource([product("1", title="new")])
    source.by_id_currency = "USD"
    world = World(source)
    shop = await loaded(world, product("1", title="old"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(2)
    assert world.titles == {"1": "old"}
    assert (len(world.syncs(shop)), world.waiting) == (1, set())


@skipping
async def test_deletions_above_the_deletion_guard_are_decided_by_a_full_sync() -> None:
    source = TimedSource()
    world = World(source)
    shop = await loaded(world, *(product(str(n)) for n in range(10)))
    async with world.running():
        await world.request(shop, *(str(n) for n in range(8)))
        await asyncio.sleep(2)
        assert world.syncs(shop) == [(SyncMode.FULL, SyncTrigger.SCHEDULE)]
        # Two passes that agree allow the deletion: webhooks do not start the second one.
        await world.request(shop, *(str(n) for n in range(8)))
        await asyncio.sleep(60)
        claimed = await world.stores.claim()
        blocked = BlockedDeletion(digest=b"1", count=8)
        await world.stores.leases.end(claimed.lease, SyncState.FAILED, BLOCKED, blocked=blocked)
        await world.request(shop, *(str(n) for n in range(8)))
        await asyncio.sleep(60)
    assert len(world.titles) == 10
    assert len(world.syncs(shop)) == 1
    assert world.waiting == set()


@skipping
async def test_the_sync_for_too_many_products_is_started_when_the_running_one_has_ended() -> None:
    source = TimedSource()
    world = World(source)
    shop = await loaded(world, product("1"))
    running = await started_sync(world.stores)
    async with world.running():
        await world.request(shop, *(str(n) for n in range(MAX_PRODUCTS + 1)))
        await asyncio.sleep(60)
        assert len(world.syncs(shop)) == 1
        lease = await apply(world.stores, running, batch(product("1")))
        await sweep_and_succeed(world.stores, running, lease)
        await asyncio.sleep(60)
    assert world.syncs(shop)[1:] == [(SyncMode.INCREMENTAL, SyncTrigger.SCHEDULE)]
    assert source.times == []


# -- the drain


@skipping
async def test_the_drain_hands_a_shop_over_to_another_replica_at_once() -> None:
    source = TimedSource([product("1", title="new")], seconds=30)
    world = World(source)
    shop = await loaded(world, product("1", title="old"))
    async with world.running():
        await world.request(shop, "1")
        await asyncio.sleep(5)
    assert source.reading.total() == 0
    source.seconds = 0
    world.drain = Drain()
    handed_over_at = asyncio.get_running_loop().time()
    async with world.running(world.worker()):
        await asyncio.sleep(5)
    assert source.times[-1] - handed_over_at <= 1.5
    assert world.titles == {"1": "new"}


@skipping
async def test_the_products_of_a_replica_that_died_are_read_when_its_claim_has_ended() -> None:
    source = TimedSource([product("1", title="new")])
    world = World(source)
    shop = await loaded(world, product("1", title="old"))
    await world.request(shop, "1")
    await asyncio.sleep(1)
    (queued,) = await world.stores.refreshes.claim(limit=1)
    await world.stores.refreshes.take(queued, limit=9)
    async with world.running():
        await asyncio.sleep(60)
    assert world.titles == {"1": "new"}
    assert world.waiting == set()
