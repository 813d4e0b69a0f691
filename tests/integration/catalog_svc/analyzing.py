"""A synced shop whose images are analyzed: its stores, and its analysis recomputed from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.analysis import (
    AnalysisResult,
    LeasedPage,
    LeasedTask,
    RequeueSelection,
    SubmittedResult,
    TaskFailure,
    TaskOutcome,
    Worker,
)
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopChange, ShopField, ShopKey
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.analyzers import AnalyzerStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld

ANALYZER = "quality"
OTHER_ANALYZER = "category"
_TTL = timedelta(minutes=1)


def pictured(product_id: str, *images: str, **more: Any) -> pb.Product:
    """Return a product with an item for each of these images; empty: the item has none."""
    made = product(product_id, items=len(images), **more)
    for variant, image in zip(made.variants, images, strict=True):
        if image:
            variant.image.url = f"https://cdn.example/{image}.jpg"
    return made


def result(quality: str = "0.5", *, category: str = "Shirts", model_version: str = "1") -> AnalysisResult:
    """Return a result."""
    return AnalysisResult(
        model_version=model_version,
        category=category,
        subcategory="",
        description="A shirt.",
        gender="",
        attributes={"sharpness": 0.5},
        quality_score=Decimal(quality),
        confidence_score=Decimal("0.9"),
        processing_time=timedelta(milliseconds=20),
    )


class Analyzing:
    """The stores of a replica, over a database with one shop."""

    def __init__(self, world: CatalogWorld) -> None:
        database = Database(world.engine)
        self.world = world
        self.tasks = AnalysisTaskStore(database, write_ttl=_TTL)
        self.analyzers = AnalyzerStore(database, write_ttl=_TTL)
        self.analyses = AnalysisStore(database)
        self._directory = ShopDirectoryStore(database)

    async def shop(self, key: ShopKey = SHOP) -> Shop:
        found = await self.world.shops.find(key)
        assert found is not None
        return found

    async def sync(self, *products: pb.Product) -> None:
        """Sync the shop, which has these products now."""
        await self.world.sync(MemorySource(products, batch_size=3))

    async def switch(self, *analyzers: str, backfill: bool = True, key: ShopKey = SHOP) -> None:
        """Switch these analyzers on and all others off, and visit the stored items."""
        change = ShopChange(fields=frozenset({ShopField.ANALYZERS}), analyzers=analyzers)
        shop = await self.shop(key)
        await self._directory.update(shop, change, ScheduleDefaults())
        while backfill and await self.analyzers.backfill_step(shop.shop_id):
            pass

    def worker(self, worker_id: str = "worker", *, analyzer: str = ANALYZER, max_in_flight: int = 100) -> Worker:
        return Worker(
            worker_id=worker_id,
            analyzer=analyzer,
            model_version="1",
            max_in_flight=max_in_flight,
            lease_duration=timedelta(seconds=60),
        )

    async def lease(self, worker: Worker | None = None, *, limit: int = 100) -> LeasedPage:
        """Lease tasks of the shop."""
        return await self.tasks.lease(worker or self.worker(), (await self.shop()).shop_id, limit=limit)

    async def submit(self, task: LeasedTask, outcome: AnalysisResult | TaskFailure | None = None) -> TaskOutcome:
        submitted = SubmittedResult(lease=task.lease, outcome=outcome or result())
        (stored,) = await self.tasks.submit(task.lease.shop_id, [submitted])
        return stored

    async def requeue(self, analyzer: str = ANALYZER, **which: Any) -> int:
        count, _ = await self.analyzers.requeue(await self.shop(), analyzer, RequeueSelection(**which))
        return count

    async def expire_leases(self) -> None:
        """Let all leases and delays end now."""
        await self.world.execute("UPDATE analysis_task SET available_at = clock_timestamp() - interval '1 s'")
        await self.world.execute("UPDATE analysis_queue SET due_at = now() WHERE due_at IS NOT NULL")

    async def task_images(self, *, dead: bool = False) -> list[str]:
        """Return the images with an open, or a dead, task."""
        rows = await self.world.rows(
            "SELECT image_url FROM analysis_task WHERE dead = :dead ORDER BY image_url", dead=dead
        )
        return [name_of(row["image_url"]) for row in rows]

    async def states(self) -> dict[str, str | None]:
        """Return the stored state of each item that is not deleted."""
        rows = await self.world.rows("SELECT item_id, analysis_state FROM item WHERE deleted_at IS NULL")
        return {row["item_id"]: row["analysis_state"] for row in rows}

    async def expected_states(self) -> dict[str, str | None]:
        """Return the same, derived from images, tasks and results alone."""
        rows = await self.world.rows(_EXPECTED_STATES)
        return {row["item_id"]: row["state"] for row in rows}

    async def counts(self) -> tuple[int, int, int]:
        """Return the shop's counters of pending, analyzed and failed items."""
        (row,) = await self.world.rows(
            "SELECT analysis_pending_count, analysis_analyzed_count, analysis_failed_count FROM shop_state"
        )
        pending, analyzed, failed = row.values()
        return pending, analyzed, failed

    async def check(self) -> None:
        """Check that states, counters and the queue are what images, tasks and results say."""
        states = await self.states()
        assert states == await self.expected_states()
        numbers = [list(states.values()).count(state) for state in ("PENDING", "ANALYZED", "FAILED")]
        assert await self.counts() == tuple(numbers)
        assert not await self.world.rows(_FORGOTTEN)


def name_of(image_url: str) -> str:
    """Return the name of an image of `pictured`."""
    return image_url.removeprefix("https://cdn.example/").removesuffix(".jpg")


def images(tasks: Sequence[LeasedTask]) -> list[str]:
    """Return the names of the images of tasks."""
    return [name_of(task.image_url) for task in tasks]


def new_worker_id() -> str:
    return str(uuid4())


def by_image(tasks: Sequence[LeasedTask]) -> Mapping[str, LeasedTask]:
    return {name_of(task.image_url): task for task in tasks}


def shop_ids(tasks: Sequence[LeasedTask]) -> set[UUID]:
    return {task.lease.shop_id for task in tasks}


_EXPECTED_STATES = """
    SELECT item.item_id, CASE
        WHEN cardinality(shop_state.analyzers) = 0 THEN NULL
        WHEN item.image_url = '' THEN 'NOT_APPLICABLE'
        WHEN EXISTS (SELECT FROM analysis_task AS task WHERE task.image_url = item.image_url AND NOT task.dead
            AND task.shop_id = item.shop_id AND task.analyzer = ANY(shop_state.analyzers)) THEN 'PENDING'
        WHEN EXISTS (SELECT FROM analysis_task AS task WHERE task.image_url = item.image_url AND task.dead
            AND task.shop_id = item.shop_id AND task.analyzer = ANY(shop_state.analyzers)) THEN 'FAILED'
        WHEN (SELECT count(*) FROM analysis_result AS result WHERE result.image_url = item.image_url
            AND result.shop_id = item.shop_id AND result.analyzer = ANY(shop_state.analyzers))
            = cardinality(shop_state.analyzers) THEN 'ANALYZED'
        ELSE 'MISSING' END AS state
    FROM item JOIN shop_state USING (shop_id) WHERE item.deleted_at IS NULL"""

# An open task of a switched-on analyzer whose shop is not due before the task can be leased.
_FORGOTTEN = """
    SELECT task.image_url FROM analysis_task AS task
    JOIN shop_state ON shop_state.shop_id = task.shop_id AND task.analyzer = ANY(shop_state.analyzers)
    LEFT JOIN analysis_queue AS queue ON queue.shop_id = task.shop_id AND queue.analyzer = task.analyzer
    WHERE NOT task.dead AND (queue.due_at IS NULL OR queue.due_at > task.available_at)
      AND (queue.due_at IS NULL OR queue.due_at > clock_timestamp())"""
