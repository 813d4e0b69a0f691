"""The catalog's stores over a real PostgreSQL, and a supervisor whose source is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from catalogsync_common.drain import Drain
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.source import SourceHeader
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, Sync, SyncMode
from catalog_svc.metrics import NullSyncMetrics
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.storage.syncs import IssueStore, SyncStore
from catalog_svc.usecases.ports import ProductSource
from catalog_svc.usecases.read_catalog import ReadCatalog
from catalog_svc.usecases.sync_execution import SyncDependencies
from catalog_svc.usecases.sync_hub import SyncHub
from catalog_svc.usecases.sync_limits import RunConfig
from catalog_svc.usecases.worker import SyncSupervisor
from tests.conftest import as_owner
from tests.fakes.known_platforms import KnownPlatforms
from tests.fakes.product_source import WATERMARK
from tests.waiting import until as until
from tests.waiting import until_found

SHOP = ShopKey("shopify", "demo.myshopify.com")
HEADER = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="4711", display_name="Demo"),
    watermark=WATERMARK,
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)


class RecordingHub(SyncHub):
    """A hub that records the published syncs."""

    def __init__(self, syncs: SyncStore) -> None:
        super().__init__(syncs, poll_interval=timedelta(milliseconds=50))
        self.published: list[Sync] = []

    def publish(self, sync: Sync) -> None:
        self.published.append(sync)
        super().publish(sync)


class CatalogWorld:
    """One replica's view of a database."""

    def __init__(self, engine: AsyncEngine, *, ttl: timedelta = timedelta(minutes=5)) -> None:
        database = Database(engine)
        self.engine = engine
        self.owner = as_owner(engine)
        self.drain = Drain()
        self.shops = ShopStore(database)
        self.syncs = SyncStore(database)
        self.commands = SyncCommandStore(database)
        self.issues = IssueStore(database)
        self.items = ItemStore(database)
        self.products = ProductStore(database)
        self.statuses = StatusStore(database)
        self.batches = BatchStore(database, ttl=ttl)
        self.leases = LeaseStore(database, owner=uuid4(), ttl=ttl)
        self.sweeps = SweepStore(database, ttl=ttl)
        self.hub = RecordingHub(self.syncs)
        self.published = self.hub.published

    def supervisor(self, source: ProductSource, **config: Any) -> SyncSupervisor:
        """Return a supervisor whose syncs read from `source`, with short delays."""
        quick: dict[str, Any] = {
            "renew_interval": timedelta(seconds=5),
            "max_retry_delay": timedelta(milliseconds=20),
        }
        dependencies = SyncDependencies(
            leases=self.leases,
            batches=self.batches,
            source=source,
            sweeps=self.sweeps,
            hub=self.hub,
            metrics=NullSyncMetrics(),
            config=RunConfig(**(quick | config)),
        )
        return SyncSupervisor(dependencies, drain=self.drain)

    async def create_sync(self, shop: ShopKey = SHOP, mode: SyncMode = SyncMode.FULL, **more: Any) -> Sync:
        """Create a PENDING sync."""
        return await self.commands.start(
            StartSyncCommand(shop=shop, mode=mode, overlap=timedelta(minutes=5), **more)
        )

    async def claim(self) -> ClaimedSync:
        """Claim the one claimable sync."""

        async def claim() -> ClaimedSync | None:
            # A write of its last owner may hold the row lock for a moment.
            claims = await self.leases.claim()
            return claims[0] if claims else None

        return await until_found(claim)

    async def sync(self, source: ProductSource, mode: SyncMode = SyncMode.FULL, **config: Any) -> Sync:
        """Create a sync, run it to its end, and return it."""
        created = await self.create_sync(mode=mode)
        await self.supervisor(source, **config).run(await self.claim())
        return await self.syncs.get(created.sync_id)

    def reader(self) -> ReadCatalog:
        """Return the use case that reads the catalog."""
        return ReadCatalog(
            shops=self.shops,
            items=self.items,
            products=self.products,
            statuses=self.statuses,
            platforms=KnownPlatforms(),
            defaults=ScheduleDefaults(),
        )

    async def rows(self, query: str, **values: object) -> list[Mapping[Any, Any]]:
        """Return the rows of a query, of all shops."""
        async with self.owner.connect() as connection:
            return list((await connection.execute(text(query), values)).mappings())

    async def own_rows(self, query: str) -> list[Mapping[Any, Any]]:
        """Return the rows of a query on a connection of the service, such as one about its session."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(query))).mappings())

    async def execute(self, statement: str, **values: object) -> None:
        """Change the database directly, as the owner of the tables."""
        async with self.owner.begin() as connection:
            await connection.execute(text(statement), values)

    async def expire_lease(self, sync_id: UUID) -> None:
        """Expire the lease, as if its owner had not renewed it for longer than the TTL."""
        await self.execute(
            "UPDATE sync_queue SET lease_until = clock_timestamp() - interval '1 s' WHERE sync_id = :id",
            id=sync_id,
        )


@pytest.fixture
async def world(engine: AsyncEngine) -> CatalogWorld:
    return CatalogWorld(engine)
