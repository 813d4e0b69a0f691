"""The audit loop and VerifyCatalog: which shops are audited when, and how an audit ends early.

The event loop's clock skips to the next timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from catalogsync_common.drain import Drain, ServerDraining

from catalog_svc.domain.audit import AuditProgress, AuditResult, AuditSample, SettledProducts, StoredState
from catalog_svc.domain.errors import ShopNotFound, SourceFailed, StorageCause, StorageUnavailable
from catalog_svc.domain.refresh import RefreshClaim
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.source import SourceBatch
from catalog_svc.metrics import NullAuditMetrics
from catalog_svc.settings import CatalogSettings
from catalog_svc.usecases.audit_loop import AuditLoop
from catalog_svc.usecases.audit_run import AuditDependencies, AuditRun
from catalog_svc.usecases.verify_catalog import VerifyCatalog
from tests.fakes.exclusive_right import Right
from tests.fakes.product_source import MemorySource
from tests.fakes.skipping_loop import skipping

DAY = timedelta(days=1)


class EmptyShops:
    """Shops without products, as the catalog and its records have them."""

    def __init__(self, names: Sequence[str]) -> None:
        keys = [ShopKey("shopify", f"{name}.myshopify.com") for name in names]
        self.shops = {shop.shop_id: shop for shop in (Shop(shop_id=uuid4(), key=key) for key in keys)}
        self.attempts: dict[UUID, list[float]] = {shop_id: [] for shop_id in self.shops}
        """The times of the loop at which audits began, by shop."""
        self.ended: list[UUID] = []
        self.failures: dict[UUID, Exception] = {}
        """Raised by the next audit of a shop."""
        self.hold: asyncio.Event | None = None
        """When set, audits wait for it."""
        self.cancelled = 0
        self.owners: dict[str, UUID] = {}

    async def find(self, ref: ShopRef) -> Shop | None:
        return self.shops.get(ref) if isinstance(ref, UUID) else None

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        raise NotImplementedError

    async def shop(self, ref: ShopRef) -> Shop:
        found = await self.find(ref)
        if found is None:
            raise ShopNotFound(ref)
        return found

    async def due(self, *, interval: timedelta, limit: int) -> list[UUID]:
        now = asyncio.get_running_loop().time()
        last = {shop_id: times[-1] if times else -1e9 for shop_id, times in self.attempts.items()}
        due = [shop_id for shop_id, at in last.items() if at + interval.total_seconds() <= now]
        return sorted(due, key=lambda shop_id: last[shop_id])[:limit]

    async def begin(self, shop: Shop) -> None:
        self.attempts[shop.shop_id].append(asyncio.get_running_loop().time())

    async def end(self, shop: Shop, result: AuditResult) -> None:
        self.ended.append(shop.shop_id)

    async def sample(self, shop: Shop, *, size: int, seed: int) -> AuditSample:
        if shop.shop_id in self.failures:
            raise self.failures.pop(shop.shop_id)
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return AuditSample(product_ids=())

    async def state(self, shop: Shop, product_ids: Collection[str], item_ids: Collection[str]) -> StoredState:
        raise NotImplementedError

    async def take(self, shop: Shop, claim_id: UUID, product_ids: Sequence[str]) -> RefreshClaim:
        raise NotImplementedError

    async def settle(
        self,
        claim: RefreshClaim,
        batch: SourceBatch,
        *,
        suspected: Collection[str],
        overlap: timedelta,
        repair: bool = True,
    ) -> SettledProducts:
        raise NotImplementedError

    async def release(self, claim: RefreshClaim) -> None:
        raise NotImplementedError

    async def correct_counters(self, shop: Shop) -> None:
        raise NotImplementedError

    async def request_full_sync(self, shop: Shop) -> None:
        raise NotImplementedError

    def run(self) -> AuditRun:
        return AuditRun(
            AuditDependencies(
                catalog=self,
                records=self,
                new_right=lambda shop, audit_id: Right(self.owners, str(shop.shop_id), audit_id),
                source=MemorySource(),
                metrics=NullAuditMetrics(),
                overlap=timedelta(),
            )
        )


@dataclass(slots=True)
class Running:
    """The loop of one replica."""

    shops: EmptyShops
    drain: Drain = field(default_factory=Drain)
    beats: int = 0
    owner: UUID = field(default_factory=uuid4)

    def start(self) -> asyncio.Task[None]:
        loop = AuditLoop(
            records=self.shops,
            shops=self.shops,
            audit=self.shops.run(),
            lease=Right(self.shops.owners, "audits", self.owner),
            drain=self.drain,
            interval=DAY,
            sample_size=5,
        )
        return asyncio.create_task(loop.run(self._beat))

    def _beat(self) -> None:
        self.beats += 1

    async def for_days(self, days: float) -> None:
        task = self.start()
        await asyncio.sleep(days * DAY.total_seconds())
        self.drain.start()
        await task


@skipping
async def test_each_shop_is_audited_once_a_day() -> None:
    shops = EmptyShops([f"shop{n}" for n in range(25)])
    running = Running(shops)
    await running.for_days(2.5)
    assert {len(times) for times in shops.attempts.values()} == {3}
    assert running.beats > 1_000


@skipping
async def test_of_two_replicas_one_audits() -> None:
    shops = EmptyShops(["one", "two"])
    shops.hold = asyncio.Event()
    replicas = [Running(shops), Running(shops)]
    tasks = [replica.start() for replica in replicas]
    await asyncio.sleep(3_600)
    assert sum(map(len, shops.attempts.values())) == 1
    shops.hold.set()
    await asyncio.sleep(3_600)
    assert sum(map(len, shops.attempts.values())) == 2
    for replica in replicas:
        replica.drain.start()
    await asyncio.gather(*tasks)


@skipping
async def test_a_shop_that_cannot_be_read_keeps_no_other_from_being_audited_and_waits_for_a_day() -> None:
    shops = EmptyShops(["broken", "fine"])
    broken, fine = shops.shops
    shops.failures[broken] = SourceFailed(reason="SOURCE_UNREACHABLE", message="away", transient=True)
    await Running(shops).for_days(0.5)
    assert (len(shops.attempts[broken]), len(shops.attempts[fine])) == (1, 1)
    assert shops.ended == [fine]


@skipping
async def test_shops_that_somebody_else_verifies_are_tried_again_after_a_pause() -> None:
    """Ten of them are a whole round, after which the loop must not begin the next one at once."""
    shops = EmptyShops([f"shop{n}" for n in range(10)])
    shops.owners.update({str(shop_id): uuid4() for shop_id in shops.shops})
    running = Running(shops)
    await running.for_days(1 / 24)
    assert all(not times for times in shops.attempts.values())
    assert running.beats < 2_000


@skipping
async def test_while_the_database_is_unavailable_the_loop_lives_on() -> None:
    shops = EmptyShops(["one", "two"])
    first, second = shops.shops
    shops.failures[first] = StorageUnavailable(cause=StorageCause.UNREACHABLE)
    await Running(shops).for_days(0.5)
    assert second in shops.ended


@skipping
async def test_the_drain_ends_an_audit_in_the_middle_and_frees_the_shop() -> None:
    shops = EmptyShops(["one"])
    shops.hold = asyncio.Event()
    running = Running(shops)
    task = running.start()
    await asyncio.sleep(5)
    running.drain.start()
    await task
    assert shops.cancelled == 1
    assert set(shops.owners) == {"audits"}


def verify(shops: EmptyShops, drain: Drain) -> VerifyCatalog:
    return VerifyCatalog(read=shops, audit=shops.run(), drain=drain)


@skipping
async def test_while_an_audit_reads_its_progress_is_repeated_every_ten_seconds() -> None:
    shops = EmptyShops(["one"])
    (shop_id,) = shops.shops
    shops.hold = asyncio.Event()
    times: list[float] = []
    async with aclosing(verify(shops, Drain())(shop_id, sample_size=3)) as events:
        async for event in events:
            times.append(asyncio.get_running_loop().time())
            if isinstance(event, AuditResult):
                break
            assert event == AuditProgress(products_checked=0, product_count=0)
            if len(times) == 4:
                shops.hold.set()
    assert times == [0, 10, 20, 30, 30]


@skipping
async def test_a_caller_that_goes_away_ends_the_audit() -> None:
    shops = EmptyShops(["one"])
    (shop_id,) = shops.shops
    shops.hold = asyncio.Event()
    async with aclosing(verify(shops, Drain())(shop_id, sample_size=3)) as events:
        await anext(events)
        await asyncio.sleep(1)
    assert shops.cancelled == 1
    assert shops.owners == {}


@skipping
async def test_the_drain_ends_a_call_with_its_own_error() -> None:
    shops, drain = EmptyShops(["one"]), Drain()
    (shop_id,) = shops.shops
    shops.hold = asyncio.Event()
    async with aclosing(verify(shops, drain)(shop_id, sample_size=3)) as events:
        await anext(events)
        drain.start()
        with pytest.raises(ServerDraining):
            await anext(events)
    assert (shops.cancelled, shops.owners) == (1, {})
    with pytest.raises(ServerDraining):
        await anext(verify(shops, drain)(shop_id, sample_size=3))


@skipping
async def test_a_failure_of_the_audit_is_the_failure_of_the_call() -> None:
    shops = EmptyShops(["one"])
    (shop_id,) = shops.shops
    shops.failures[shop_id] = SourceFailed(reason="SOURCE_UNREACHABLE", message="away", transient=True)
    with pytest.raises(SourceFailed):
        _ = [event async for event in verify(shops, Drain())(shop_id, sample_size=3)]
    assert shops.owners == {}


def test_no_shop_is_audited_unless_the_operator_wants_it() -> None:
    assert not CatalogSettings().audit_every
