"""Audits over a real PostgreSQL, with a source in memory, and falsifications behind the catalog's back."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.audit import AuditProgress, AuditResult
from catalog_svc.domain.shop import Shop
from catalog_svc.metrics import NullAuditMetrics
from catalog_svc.storage.audit_records import AuditRecordStore, audit_lease
from catalog_svc.storage.audits import AuditStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.refresh_requests import RefreshRequestStore
from catalog_svc.storage.refreshes import RefreshStore
from catalog_svc.usecases.audit_ports import ExclusiveRight
from catalog_svc.usecases.audit_run import AuditDependencies, AuditRun
from tests.fakes.product_source import WATERMARK, MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld

TTL = timedelta(minutes=2)
OVERLAP = timedelta(minutes=5)
LONG_AGO = WATERMARK - timedelta(days=3)


def dated(product_id: str, at: datetime = LONG_AGO, *, items: int = 2, **fields: str) -> pb.Product:
    """Return a product that the platform changed last at this time."""
    made = product(product_id, items=items, **fields)
    made.update_time.FromDatetime(at)
    made.tags.extend(["a", "b"])
    made.images.add(id="i", url=f"https://cdn.example/{product_id}.png", width=3, height=4)
    made.options.add(name="Size", values=["S", "M"])
    for number, variant in enumerate(made.variants):
        variant.options.add(name="Size", value="SM"[number % 2])
        variant.stock_quantity = 5
        variant.weight = "0.50"
        variant.update_time.FromDatetime(at)
    return made


class Auditing:
    """An audit of a replica, over a database with one synced shop."""

    def __init__(self, world: CatalogWorld, source: MemorySource) -> None:
        database = Database(world.engine)
        self.world = world
        self.source = source
        self.store = AuditStore(database, ttl=TTL)
        self.records = AuditRecordStore(database)
        self.requests = RefreshRequestStore(database)
        self.refreshes = RefreshStore(database, ttl=TTL)
        self.woken = 0
        self.seed = 7
        self.run_audit = AuditRun(
            AuditDependencies(
                catalog=self.store,
                records=self.records,
                new_right=self.right,
                source=source,
                metrics=NullAuditMetrics(),
                overlap=OVERLAP,
                wake_refresh_worker=self._wake,
                new_seed=lambda: self.seed,
            )
        )

    def right(self, shop: Shop, audit_id: UUID) -> ExclusiveRight:
        return audit_lease(Database(self.world.engine), shop, audit_id)

    def _wake(self) -> None:
        self.woken += 1

    async def shop(self) -> Shop:
        shop = await self.world.shops.find(SHOP)
        assert shop is not None
        return shop

    async def audit(self, *, size: int = 1_000, progress: list[AuditProgress] | None = None) -> AuditResult:
        report = progress.append if progress is not None else lambda _: None
        return await self.run_audit.run(await self.shop(), sample_size=size, report=report)

    async def falsify(self, statement: str, **values: object) -> None:
        """Change rows by SQL: neither hash, position nor times change."""
        await self.world.execute(statement, **values)

    async def position(self) -> int:
        (row,) = await self.world.rows("SELECT feed_position FROM shop_state")
        return int(row["feed_position"])

    async def tables(self) -> tuple[list[object], list[object]]:
        """Return all live rows, without times and positions of the catalog."""
        query = """
            SELECT (to_jsonb({0}) - ARRAY['shop_id', 'feed_position', 'created_at', 'updated_at'])::text AS row
            FROM {0} WHERE deleted_at IS NULL ORDER BY 1"""
        products, items = [await self.world.rows(query.format(table)) for table in ("product", "item")]
        return [row["row"] for row in products], [row["row"] for row in items]

    async def check_counters(self) -> None:
        """Check that the shop's counters are those of its rows."""
        (row,) = await self.world.rows("""
            SELECT product_count, item_count, item_with_image_count,
                (SELECT count(*) FROM product WHERE deleted_at IS NULL) AS products,
                (SELECT count(*) FROM item WHERE deleted_at IS NULL) AS items,
                (SELECT count(*) FROM item WHERE deleted_at IS NULL AND image_url <> '') AS images
            FROM shop_state""")
        counters = (row["product_count"], row["item_count"], row["item_with_image_count"])
        assert counters == (row["products"], row["items"], row["images"])

    async def left_rows(self) -> list[object]:
        """Return the rows of product_refresh."""
        return list(await self.world.rows("SELECT product_id, pending, reader, refreshed FROM product_refresh"))


async def open_audit(world: CatalogWorld, source: MemorySource) -> Auditing:
    """Sync the shop from the source, and return its audit."""
    await world.sync(source)
    return Auditing(world, source)
