"""The stores under the contract tests: over PostgreSQL, and in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.shop import ShopKey, ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceHeader
from catalog_svc.domain.sync import ClaimedSync, StartSyncCommand, Sync, SyncMode
from catalog_svc.source import decode
from catalog_svc.storage.batches import BatchStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.leases import LeaseStore
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.storage.sweeps import SweepStore
from catalog_svc.storage.sync_commands import SyncCommandStore
from catalog_svc.storage.syncs import SyncStore
from catalog_svc.usecases.ports import Batches, Leases, Sweeps, SyncCommands, Syncs
from catalog_svc.usecases.refresh_ports import Refreshes, RefreshRequests
from tests.fakes.memory_batches import MemoryBatches, MemorySweeps
from tests.fakes.memory_catalog import MemoryCatalog, MemoryLink
from tests.fakes.memory_leases import MemoryLeases
from tests.fakes.memory_refreshes import MemoryRefreshes, MemoryRefreshRequests
from tests.fakes.memory_sync_commands import MemorySyncCommands, MemorySyncs
from tests.fakes.product_source import WATERMARK
from tests.integration.catalog_svc.conftest import CatalogWorld

SHOP = ShopKey("shopify", "demo.myshopify.com")
HEADER = SourceHeader(
    profile=ShopProfile(currency_code="EUR", platform_shop_id="4711", display_name="Demo"),
    watermark=WATERMARK,
    strategy="paging",
    served_api_version="2026-10",
    estimated_product_count=None,
    estimated_item_count=None,
)

MAX_REFRESHES = 50
"""Products of a shop that may wait for a refresh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """The stores of one replica."""

    commands: SyncCommands
    leases: Leases
    batches: Batches
    sweeps: Sweeps
    syncs: Syncs
    requests: RefreshRequests
    refreshes: Refreshes

    async def create_sync(self, mode: SyncMode = SyncMode.FULL, shop: ShopKey = SHOP, **more: object) -> Sync:
        values: dict[str, object] = {"request_id": "", "allow_mass_delete": False, "traceparent": ""} | more
        return await self.commands.start(
            StartSyncCommand(
                shop=shop,
                mode=mode,
                overlap=timedelta(minutes=5),
                request_id=str(values["request_id"]),
                allow_mass_delete=bool(values["allow_mass_delete"]),
                traceparent=str(values["traceparent"]),
            )
        )

    async def claim(self) -> ClaimedSync:
        (claimed,) = await self.leases.claim()
        return claimed


class Stores(Protocol):
    """A database, and replicas over it."""

    def replica(self) -> Replica: ...

    async def expire(self, sync_id: UUID) -> None:
        """Let the lease of the sync expire."""
        ...

    async def make_due(self) -> None:
        """Let all shops with products to refresh be due, also those that are claimed."""
        ...

    async def products(self) -> dict[str, tuple[str, bool]]:
        """Return title and whether it is live, by product id."""
        ...

    async def items(self) -> dict[str, tuple[str, str, bool]]:
        """Return SKU, digits of the price and whether it is live, by item id."""
        ...

    async def stock(self) -> dict[str, tuple[int | None, bool]]:
        """Return stock quantity and availability, by item id."""
        ...

    async def seen(self) -> set[str]:
        """Return the seen ids of all passes."""
        ...


class PostgresStores:
    """`Stores` over the database of the test."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._world = CatalogWorld(engine)

    def replica(self) -> Replica:
        database, ttl = Database(self._world.engine), timedelta(seconds=15)
        return Replica(
            commands=SyncCommandStore(database),
            leases=LeaseStore(database, owner=uuid4(), ttl=ttl),
            batches=BatchStore(database, ttl=ttl),
            sweeps=SweepStore(database, ttl=ttl),
            syncs=SyncStore(database),
            requests=RefreshRequestStore(database, max_products=MAX_REFRESHES),
            refreshes=RefreshStore(database, ttl=ttl),
        )

    async def expire(self, sync_id: UUID) -> None:
        await self._world.expire_lease(sync_id)

    async def make_due(self) -> None:
        await self._world.execute("UPDATE refresh_queue SET due_at = now()")

    async def products(self) -> dict[str, tuple[str, bool]]:
        rows = await self._world.rows("SELECT product_id, title, deleted_at IS NULL AS live FROM product")
        return {row["product_id"]: (row["title"], row["live"]) for row in rows}

    async def items(self) -> dict[str, tuple[str, str, bool]]:
        rows = await self._world.rows(
            "SELECT item_id, sku, price::text AS price, deleted_at IS NULL AS live FROM item"
        )
        return {row["item_id"]: (row["sku"], row["price"], row["live"]) for row in rows}

    async def stock(self) -> dict[str, tuple[int | None, bool]]:
        rows = await self._world.rows("SELECT item_id, stock_quantity, available FROM item")
        return {row["item_id"]: (row["stock_quantity"], row["available"]) for row in rows}

    async def seen(self) -> set[str]:
        return {row["product_id"] for row in await self._world.rows("SELECT product_id FROM sync_seen")}


class MemoryStores:
    """`Stores` over a catalog in memory."""

    def __init__(self) -> None:
        self.catalog = MemoryCatalog()

    def replica(self) -> Replica:
        link = MemoryLink(self.catalog)
        return Replica(
            commands=MemorySyncCommands(link),
            leases=MemoryLeases(link),
            batches=MemoryBatches(link),
            sweeps=MemorySweeps(link),
            syncs=MemorySyncs(link),
            requests=MemoryRefreshRequests(link, max_products=MAX_REFRESHES),
            refreshes=MemoryRefreshes(link, ttl=self.catalog.ttl),
        )

    async def expire(self, sync_id: UUID) -> None:
        self.catalog.advance_clock(self.catalog.ttl * 2)

    async def make_due(self) -> None:
        self.catalog.advance_clock(timedelta(hours=1))

    async def products(self) -> dict[str, tuple[str, bool]]:
        stored = self.catalog.state.products.items()
        return {pid: (product.record.title, not product.deleted) for (_, pid), product in stored}

    async def items(self) -> dict[str, tuple[str, str, bool]]:
        stored = self.catalog.state.items.items()
        return {iid: (item.record.sku, str(item.record.price), not item.deleted) for (_, iid), item in stored}

    async def stock(self) -> dict[str, tuple[int | None, bool]]:
        stored = self.catalog.state.items.items()
        return {iid: (item.record.stock_quantity, item.record.available) for (_, iid), item in stored}

    async def seen(self) -> set[str]:
        return {pid for seen in self.catalog.state.seen.values() for pid in seen}


@pytest.fixture(params=["postgres", "memory"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        return MemoryStores()
    return PostgresStores(request.getfixturevalue("engine"))


@pytest.fixture
def replica(stores: Stores) -> Replica:
    return stores.replica()


def batch(*products: pb.Product, checkpoint: bytes = b"1", **more: Iterable[object]) -> SourceBatch:
    """Return a batch as a source sends it."""
    message = pb.ProductBatch(products=products, checkpoint=checkpoint, **more)  # type: ignore[arg-type]
    return decode.batch(message, currency_code="EUR")
