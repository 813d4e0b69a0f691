"""A process of writers of the gap experiment: `python -m tests.feed.gap_writer URL SEED KIND...`.

A writer of the kind `sync` stores batches of syncs, one of the kind `refresh` requests products as webhooks do,
and reads them as the refresh worker does. All use the stores of catalog_svc, over transactions that take random
times and are rolled back at random. They write until they are killed.

Each line of the output is a transaction that was rolled back.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import uuid4

from catalogsync.connector.v1 import connector_service_pb2 as pb
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import LeaseLost, MassDeleteBlocked, StorageUnavailable, SyncAlreadyRunning
from catalog_svc.domain.refresh import QueuedRefresh, RefreshReason, RefreshRequest
from catalog_svc.domain.shop import Shop, ShopKey, ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import Lease, StartSyncCommand, SyncMode, SyncState
from catalog_svc.source import decode
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from tests.fakes.product_source import WATERMARK, product
from tests.feed.pauses import pause
from tests.feed.slow_database import RolledBack, SlowDatabase

SHOPS: Final = tuple(ShopKey("shopify", f"gap-{number}.myshopify.com") for number in range(4))
MAX_NEW_PRODUCTS: Final = 20
"""Of a batch."""
_SHARED_PRODUCTS: Final = 40
"""Of each shop: all of its writers change them again and again."""
_BATCHES_OF_PASS: Final = 40
_LEASE_TTL: Final = timedelta(seconds=5)
"""A sync whose writer was killed is continued by another one afterwards."""
_CLAIM_TTL: Final = timedelta(milliseconds=500)
"""Of a shop's refreshes. Many writes take longer: then two refreshes of a shop run at the same time."""
_STATEMENT_TIMEOUT: Final = timedelta(minutes=1)
_HEADER: Final = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="", display_name="Gap"),
    watermark=WATERMARK,
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)
_MAY_HAPPEN: Final = (RolledBack, StorageUnavailable, LeaseLost, MassDeleteBlocked)
"""What ends a step of a writer while transactions are rolled back and the server is stopped."""


def start_command(key: ShopKey) -> StartSyncCommand:
    """Return the command that starts a sync of a shop; the sync may delete what it likes."""
    return StartSyncCommand(
        shop=key, mode=SyncMode.FULL, overlap=timedelta(), allow_mass_delete=True, request_id=str(uuid4())
    )


class RandomProducts:
    """What the platform has: most products are new, so that each of their items changes once and must be read."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._prefix = uuid4().hex[:8]
        self._count = 0

    def ids(self) -> list[str]:
        """Return the ids of products that have changed."""
        new = []
        for _ in range(self._chance.randint(1, MAX_NEW_PRODUCTS)):
            self._count += 1
            new.append(f"{self._prefix}-{self._count}")
        return new + self.shared_ids(self._chance.randint(0, 2))

    def shared_ids(self, count: int) -> list[str]:
        """Return the ids of products that other writers change as well."""
        return [f"shared-{number}" for number in self._chance.sample(range(_SHARED_PRODUCTS), count)]

    def read(self, product_id: str) -> pb.Product:
        """Return the product; one that was read before has another price, and perhaps fewer items."""
        price = f"{self._chance.randrange(100, 99_999) / 100:.2f}"
        items = self._chance.randint(1, 3) if product_id.startswith("shared") else 1
        return product(product_id, price=price, items=items)

    def batch(self, product_ids: Sequence[str]) -> SourceBatch:
        """Return a batch of these products."""
        found = pb.ProductBatch(products=map(self.read, product_ids), checkpoint=uuid4().bytes)
        return decode.batch(found, currency_code="EUR")


class SyncWriter:
    """Stores batches under the lease of whichever sync it has claimed, and ends the sync after some of them."""

    def __init__(self, engine: AsyncEngine, slow: Database, chance: Random) -> None:
        quick = Database(engine)
        self._commands = SyncCommandStore(quick)
        self._leases = LeaseStore(quick, owner=uuid4(), ttl=_LEASE_TTL)
        self._batches = BatchStore(slow, ttl=_STATEMENT_TIMEOUT)
        self._products = RandomProducts(chance)
        self._chance = chance

    async def step(self) -> None:
        """Write a pass of a shop."""
        for key in self._chance.sample(SHOPS, len(SHOPS)):
            await self._start(key)
        claimed = await self._leases.claim()
        if not claimed:
            # Refreshes find shops without an open pass meanwhile.
            await pause(0.2, 1)
            return
        lease, shop = claimed[0].lease, claimed[0].sync.shop
        await self._leases.begin(lease, _HEADER)
        for _ in range(_BATCHES_OF_PASS):
            await self._leases.renew(lease)
            lease = await self._store(lease, shop)
        await self._leases.end(lease, SyncState.SUCCEEDED)
        await pause(0.5, 1)

    async def _start(self, key: ShopKey) -> None:
        with suppress(SyncAlreadyRunning):
            await self._commands.start(start_command(key))

    async def _store(self, lease: Lease, shop: Shop) -> Lease:
        batch = self._products.batch(self._products.ids())
        if self._chance.random() < 0.1:
            stored = {one.product_id for one in batch.products}
            deleted = tuple(i for i in self._products.shared_ids(2) if i not in stored)
            batch = replace(batch, deleted_product_ids=deleted)
        while True:
            try:
                lease, _ = await self._batches.apply(lease, shop, batch, full=True, items_per_second=None)
            except RolledBack:
                continue
            return lease


class RefreshWriter:
    """Requests products of a shop as webhooks do, and refreshes whichever shop is due."""

    def __init__(self, engine: AsyncEngine, slow: Database, chance: Random) -> None:
        self._shops = ShopStore(Database(engine))
        self._requests = RefreshRequestStore(slow)
        self._queue = RefreshStore(Database(engine), ttl=_CLAIM_TTL)
        self._refreshes = RefreshStore(slow, ttl=_STATEMENT_TIMEOUT)
        self._products = RandomProducts(chance)
        self._chance = chance

    async def step(self) -> None:
        """Request products of a shop, and refresh one that is due."""
        shop = await self._shops.find(self._chance.choice(SHOPS))
        if shop is not None:
            request = RefreshRequest(reason=RefreshReason.WEBHOOK, product_ids=tuple(self._products.ids()))
            await self._requests.add(shop, request)
        for queued in await self._queue.claim(limit=1):
            await self._refresh(queued)

    async def _refresh(self, queued: QueuedRefresh) -> None:
        claim = await self._refreshes.take(queued, limit=2 * MAX_NEW_PRODUCTS)
        if claim is None:
            return
        batch = self._products.batch(claim.product_ids)
        deleted = [one for one in claim.product_ids if one.startswith("shared") and self._chance.random() < 0.02]
        if deleted:
            left = tuple(one for one in batch.products if one.product_id not in deleted)
            batch = replace(batch, products=left, deleted_product_ids=tuple(deleted))
        await self._refreshes.write(claim, batch)
        await self._refreshes.finish(queued, more=True)


async def _repeat(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await step()
        except _MAY_HAPPEN:
            await pause(0, 0.05)


def _report_roll_back() -> None:
    print(datetime.now(UTC).isoformat(), flush=True)


async def _run(url: str, seed: str, kinds: Sequence[str]) -> None:
    engine = open_engine(url, pool_size=2 * len(kinds))
    async with asyncio.TaskGroup() as writers:
        for number, kind in enumerate(kinds):
            chance = Random(f"{seed} {number}")
            slow = SlowDatabase(engine, chance, on_roll_back=_report_roll_back)
            writer = (SyncWriter if kind == "sync" else RefreshWriter)(engine, slow, chance)
            writers.create_task(_repeat(writer.step))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2], sys.argv[3:]))
