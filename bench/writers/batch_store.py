"""Ours: the whole transaction of a batch, with fence, comparison, seen ids, checkpoint and progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from bench.measure import BenchFailed
from bench.writers.catalog import Batch, FullProduct
from bench.writers.database import Database
from bench.writers.writer import Prepare, Store
from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord
from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, SyncMode, SyncState
from catalog_svc.storage import database as storage
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore

_TTL: Final = timedelta(seconds=15)
_SHOP: Final = ShopKey("shopify", "bench.myshopify.com")
_HEADER: Final = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="1", display_name="Bench"),
    watermark=datetime(2026, 11, 1, tzinfo=UTC),
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)


@asynccontextmanager
async def batch_store(database: Database) -> AsyncIterator[Prepare]:
    """One full sync: taken up before the first batch, ended and tidied up after the last, none of it timed."""
    engine = open_engine(database.url)
    try:
        data = storage.Database(engine)
        leases = LeaseStore(data, owner=uuid4(), ttl=_TTL)
        await SyncCommandStore(data).start(StartSyncCommand(shop=_SHOP, mode=SyncMode.FULL, overlap=timedelta(0)))
        claims = await leases.claim()
        if not claims:
            raise BenchFailed("nobody can take up the sync that was ordered")
        (claimed,) = claims
        await leases.begin(claimed.lease, _HEADER)
        run = _Run(claimed, BatchStore(data, ttl=_TTL))
        yield run.prepared
        await leases.end(run.lease, SyncState.SUCCEEDED)
        await SweepStore(data, ttl=_TTL).finalize(run.lease)
    finally:
        await engine.dispose()


class _Run:
    def __init__(self, claimed: ClaimedSync, store: BatchStore) -> None:
        self.lease = claimed.lease
        self._shop = claimed.sync.shop
        self._store = store

    def prepared(self, batch: Batch) -> Store:
        source = SourceBatch(
            products=tuple(map(_incoming, batch)),
            issues=(),
            # About as long as a real one.
            checkpoint=batch[-1].record.product_id.zfill(100).encode(),
        )
        return partial(self._apply, source)

    async def _apply(self, batch: SourceBatch) -> None:
        self.lease, _ = await self._store.apply(self.lease, self._shop, batch, full=True, items_per_second=None)


def _incoming(product: FullProduct) -> IncomingProduct:
    return IncomingProduct(
        product_id=product.record.product_id,
        content_hash=product.record.content_hash,
        item_count=len(product.items),
        variants_complete=True,
        unpack=partial(_unpacked, product),
    )


def _unpacked(product: FullProduct) -> tuple[ProductRecord, list[ItemRecord]]:
    return product.record, product.items
