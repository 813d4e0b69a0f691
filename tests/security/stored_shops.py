"""Two shops of two merchants, with the same ids and full data, in one database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from catalogsync.connector.v1 import connector_service_pb2 as connector
from catalogsync.errors.v1 import issue_reason_pb2
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.analysis import SubmittedResult, TaskFailure, Worker
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopChange, ShopField, ShopKey
from catalog_svc.domain.sync import Sync
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from tests.fakes.product_source import MemorySource
from tests.integration.catalog_svc.analyzing import ANALYZER, pictured, result
from tests.integration.catalog_svc.conftest import CatalogWorld

KEYS: Final = {
    "merchant-a": ShopKey("shopify", "a.myshopify.com"),
    "merchant-b": ShopKey("shopify", "b.myshopify.com"),
}
"""By merchant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredShop:
    """A shop and its syncs; every text of it contains its merchant."""

    shop: Shop
    finished: Sync
    pending: Sync
    """Created once both shops are stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoShops:
    """The database of the test: `a` is the caller's shop, and `b` is not."""

    engine: AsyncEngine
    owner: AsyncEngine
    a: StoredShop
    b: StoredShop


async def store_shop(engine: AsyncEngine, merchant: str) -> Sync:
    """Store a shop with rows in every table: the ids of products, items and issues are those of the other shop."""
    world, key = CatalogWorld(engine), KEYS[merchant]
    directory = ShopDirectoryStore(Database(engine))
    await directory.register(key, merchant_id=merchant, caller_name=merchant, defaults=ScheduleDefaults())

    async def sync(source: MemorySource) -> Sync:
        created = await world.create_sync(key, request_id=f"first {merchant}")
        await world.supervisor(source).run(await world.claim())
        return await world.syncs.get(created.sync_id)

    await directory.update(
        await _stored(world, key),
        ShopChange(fields=frozenset({ShopField.ANALYZERS}), analyzers=(ANALYZER,)),
        ScheduleDefaults(),
    )
    source = MemorySource(
        [pictured(str(n), f"{merchant}{n}", "", title=f"Shirt of {merchant}", sku="S") for n in range(6)]
    )
    source.display_name = merchant
    source.issues = [
        connector.RecordIssue(
            reason=issue_reason_pb2.ISSUE_REASON_INVALID_PRICE, product_id="0", message=merchant, field=merchant
        )
    ]
    finished = await sync(source)
    await _analyze(world, finished.shop, merchant)
    # One that was stopped leaves seen ids, and the deletion of a product a tombstone.
    await world.commands.cancel((await world.create_sync(key)).sync_id)
    values = {"shop_id": finished.shop.shop_id, "pass_id": finished.sync_id}
    await world.execute("INSERT INTO sync_seen VALUES (:shop_id, :pass_id, '0')", **values)
    await world.execute(
        "INSERT INTO obsolete_pass (shop_id, pass_id) VALUES (:shop_id, :pass_id) ON CONFLICT DO NOTHING", **values
    )
    await world.execute(
        "INSERT INTO product_refresh (shop_id, product_id, reason) VALUES (:shop_id, '0', 'WEBHOOK')",
        shop_id=finished.shop.shop_id,
    )
    await world.execute(
        "INSERT INTO shop_audit (shop_id, attempted_at) VALUES (:shop_id, now())", shop_id=finished.shop.shop_id
    )
    await world.execute("INSERT INTO shop_webhooks (shop_id) VALUES (:shop_id)", shop_id=finished.shop.shop_id)
    await world.execute(
        "INSERT INTO refresh_queue (shop_id, platform, due_at) VALUES (:shop_id, 'shopify', now())",
        shop_id=finished.shop.shop_id,
    )
    await world.execute(
        "INSERT INTO sync_history SELECT * FROM sync WHERE sync_id = :pass_id", pass_id=finished.sync_id
    )
    await world.execute(
        "INSERT INTO shop_deletion (shop_id, platform, domain, merchant_id, ended_at)"
        " VALUES (:shop_id, 'shopify', :domain, :merchant, now())",
        shop_id=finished.shop.shop_id,
        domain=key.domain,
        merchant=merchant,
    )
    return finished


async def _stored(world: CatalogWorld, key: ShopKey) -> Shop:
    shop = await world.shops.find(key)
    assert shop is not None
    return shop


async def _analyze(world: CatalogWorld, shop: Shop, merchant: str) -> None:
    """Analyze images of the shop: one has a result, one is dead, and the others wait."""
    tasks = AnalysisTaskStore(Database(world.engine), write_ttl=timedelta(minutes=1))
    worker = Worker(
        worker_id=merchant,
        analyzer=ANALYZER,
        model_version="1",
        max_in_flight=2,
        lease_duration=timedelta(minutes=1),
    )
    analyzed, dead = (await tasks.lease(worker, shop.shop_id, limit=2)).tasks
    gone = TaskFailure(reason="IMAGE_NOT_FOUND", message=merchant, permanent=True)
    found = replace(result(), description=merchant)
    await tasks.submit(
        shop.shop_id,
        [
            SubmittedResult(lease=analyzed.lease, outcome=found),
            SubmittedResult(lease=dead.lease, outcome=gone),
        ],
    )
