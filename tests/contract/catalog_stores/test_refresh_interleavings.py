"""Random interleavings of syncs, refreshes and changes at the platform: no product goes back to an older version.

The title of a product is the number of its last change at the platform. Each step is one read or one write; what
was read may be written at any later time, or never. A page may be as old as the beginning of its pass, like that
of a bulk export.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.refresh import QueuedRefresh, RefreshClaim, RefreshReason, RefreshRequest
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import ClaimedSync, Lease, SyncMode, SyncState
from tests.contract.catalog_stores.conftest import MemoryStores, PostgresStores, Stores, batch
from tests.contract.catalog_stores.steps import REVOKED, apply, full_sync, started_sync
from tests.fakes.product_source import product

IDS = tuple("123")
STEPS = 200
MAX_REFRESHES = 4
"""Claims whose read has begun; all but the last one have been replaced."""


@dataclass
class RunningRefresh:
    """A claim, and what was read for it."""

    queued: QueuedRefresh
    claim: RefreshClaim
    read: SourceBatch | None = None


@dataclass
class Walk:
    """One random sequence of steps."""

    stores: Stores
    rng: random.Random
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))
    stored: dict[str, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))
    """The newest version that was seen in the catalog."""
    sync: ClaimedSync | None = None
    lease: Lease | None = None
    pages: list[SourceBatch] = field(default_factory=list)
    """What was read and is not stored yet, in order."""
    exported: dict[str, int] = field(default_factory=dict)
    """The versions when the pass began."""
    unread: list[str] = field(default_factory=list)
    """Products that the pass has not read yet."""
    checkpoint: int = 0
    refreshes: list[RunningRefresh] = field(default_factory=list)

    async def run(self) -> None:
        self.replica = self.stores.replica()
        self.shop = (await full_sync(self.replica, *self.products(self.versions))).shop
        for _ in range(STEPS):
            await self.rng.choice(self.steps())()
            await self.check()
        await self.settle()

    def steps(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Return the steps that are possible now, some of them twice: those are twice as likely."""
        steps = [self.change, self.request]
        if self.sync is None:
            steps.append(self.start)
        elif self.unread or self.pages:
            steps += [self.read_page] * 2 * bool(self.unread) + [self.store_page] * 2 * bool(self.pages)
            steps += [self.fail_and_resume] * (self.lease != self.sync.lease)
        else:
            steps.append(self.succeed)
        if len(self.refreshes) < MAX_REFRESHES:
            steps.append(self.claim)
        steps += [self.read_by_id] * any(one.read is None for one in self.refreshes)
        steps += [self.write] * any(one.read is not None for one in self.refreshes)
        return steps + [self.fail] * (len(self.refreshes) == MAX_REFRESHES)

    def products(self, versions: dict[str, int]) -> list[pb.Product]:
        return [product(product_id, title=str(version)) for product_id, version in versions.items()]

    async def check(self) -> None:
        """Check that no product went back to an older version."""
        for product_id, (title, _) in (await self.stores.products()).items():
            assert int(title) >= self.stored[product_id], product_id
            self.stored[product_id] = int(title)

    # -- the platform

    async def change(self) -> None:
        self.versions[self.rng.choice(IDS)] += 1

    async def request(self) -> None:
        """Let the platform send a webhook, whether something has changed or not."""
        ids = tuple(self.rng.sample(IDS, self.rng.randint(1, len(IDS))))
        await self.replica.requests.add(self.shop, RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=ids))

    # -- a sync

    async def start(self) -> None:
        self.sync = await started_sync(self.replica, SyncMode.FULL)
        self.lease, self.checkpoint = self.sync.lease, 0
        self.exported, self.unread = dict(self.versions), self.rng.sample(IDS, len(IDS))

    async def read_page(self) -> None:
        """Read the next products as they are, or as they were when the pass began."""
        page = [self.unread.pop() for _ in range(min(2, len(self.unread)))]
        source = self.rng.choice([self.versions, self.exported])
        self.checkpoint += 1
        read = self.products({product_id: source[product_id] for product_id in page})
        self.pages.append(batch(*read, checkpoint=str(self.checkpoint).encode()))

    async def store_page(self) -> None:
        assert self.sync is not None
        self.lease = await apply(self.replica, self.sync, self.pages.pop(0), self.lease)

    async def fail_and_resume(self) -> None:
        """End the sync and continue its pass; what was read and not stored is read again."""
        assert self.sync is not None
        assert self.lease is not None
        for page in self.pages:
            self.unread += [each.product_id for each in page.products]
        self.pages = []
        failed = await self.replica.leases.end(self.lease, SyncState.FAILED, REVOKED)
        await self.replica.commands.resume(failed.sync_id, request_id="", correlation_id="")
        self.sync = await self.replica.claim()
        self.lease = self.sync.lease

    async def succeed(self) -> None:
        assert self.lease is not None
        await self.replica.leases.end(self.lease, SyncState.SUCCEEDED)
        self.sync = self.lease = None

    # -- refreshes

    async def claim(self) -> None:
        """Claim the shop, also if a replica that is slow or dead has claimed it."""
        await self.stores.make_due()
        for queued in await self.replica.refreshes.claim(limit=1):
            claim = await self.replica.refreshes.take(queued, limit=self.rng.randint(1, len(IDS)))
            assert claim is not None
            if claim.product_ids:
                self.refreshes.append(RunningRefresh(queued, claim))
            else:
                await self.replica.refreshes.finish(queued)

    async def read_by_id(self) -> None:
        one = self.rng.choice([one for one in self.refreshes if one.read is None])
        one.read = batch(*self.products({i: self.versions[i] for i in one.claim.product_ids}))

    async def write(self) -> None:
        one = self.rng.choice([one for one in self.refreshes if one.read is not None])
        assert one.read is not None
        await self.replica.refreshes.write(one.claim, one.read)
        await self.replica.refreshes.finish(one.queued)
        self.refreshes.remove(one)

    async def fail(self) -> None:
        """Let a read fail, or its replica die."""
        one = self.refreshes.pop(self.rng.randrange(len(self.refreshes)))
        if self.rng.random() < 0.7:
            await self.replica.refreshes.fail(one.queued, delay=timedelta())

    async def settle(self) -> None:
        """End the sync, and refresh what waits: then the catalog is what the platform is."""
        for product_id in IDS:
            self.versions[product_id] += 1
        await self.replica.requests.add(self.shop, RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=IDS))
        while self.sync is not None:
            while self.unread:
                await self.read_page()
            while self.pages:
                await self.store_page()
                await self.check()
            await self.succeed()
        for _ in range(20):
            await self.claim()
            for one in self.refreshes:
                read = batch(*self.products({i: self.versions[i] for i in one.claim.product_ids}))
                await self.replica.refreshes.write(one.claim, read)
                await self.replica.refreshes.finish(one.queued)
            self.refreshes = []
            await self.check()
        assert self.stored == self.versions


@pytest.mark.parametrize("seed", range(30))
async def test_no_product_goes_back_to_an_older_version_in_memory(seed: int) -> None:
    await Walk(MemoryStores(), random.Random(seed)).run()


@pytest.mark.parametrize("seed", range(4))
async def test_no_product_goes_back_to_an_older_version_on_postgresql(engine: AsyncEngine, seed: int) -> None:
    await Walk(PostgresStores(engine), random.Random(seed)).run()
