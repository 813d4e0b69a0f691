"""AnalysisWorker of the Python client against catalog_svc: results, failures, lost leases, stops and requeues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from catalogsync.catalog.v1 import analysis_pb2
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog_pb
from catalogsync_client import (
    AnalysisWorker,
    CatalogClient,
    RetryPolicy,
    TaskFailed,
    WorkerCounts,
    reasons,
    shop_ref,
)
from catalogsync_common.settings import ListenAddress
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.pgbouncer import is_pooled
from tests.waiting import forever, until, until_found, within_timeout

NAME = f"{SHOP.platform}:{SHOP.domain}"
ANALYZER = "image-quality"
IMAGES = 12
QUICK = RetryPolicy(give_up_seconds=60, initial_backoff_seconds=0.05, max_backoff_seconds=0.2)


class Recorder:
    """An analyzer that keeps what it was asked; a test sets what it does."""

    def __init__(self) -> None:
        self.tasks: list[pb.AnalysisTask] = []
        self.cancelled_count = 0
        self.act: Callable[[pb.AnalysisTask], Any] = lambda task: None
        self.score = "0.5"

    async def analyze(self, task: pb.AnalysisTask) -> pb.AnalysisResult:
        self.tasks.append(task)
        try:
            waited = self.act(task)
            if waited is not None:
                await waited
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        return pb.AnalysisResult(category="Shirts", quality_score=self.score, confidence_score="1")


@asynccontextmanager
async def working(
    client: CatalogClient, analyzer: Recorder, *, worker_id: str = "worker-1", **options: Any
) -> AsyncIterator[tuple[AnalysisWorker, asyncio.Task[None]]]:
    options = {"lease_duration": timedelta(seconds=10), "model_version": "1", "retry_policy": QUICK, **options}
    worker = AnalysisWorker(client, analyzer, name=ANALYZER, worker_id=worker_id, **options)
    task: asyncio.Task[None] = asyncio.ensure_future(worker.run())
    try:
        yield worker, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await within_timeout(task)


@pytest.fixture
async def client(world: CatalogWorld, database_url: str) -> AsyncIterator[CatalogClient]:
    """A client of catalog_svc, whose shop has 12 images and the analyzer."""
    products = [product(str(number)) for number in range(IMAGES)]
    for each in products:
        each.variants[0].image.url = f"https://cdn.example/{each.id}.jpg"
    await world.sync(MemorySource(products, batch_size=5))
    settings = CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address="127.0.0.1:1",
        stop_grace=timedelta(seconds=1),
        max_running_syncs=0,
        max_running_refreshes=0,
    )
    async with bootstrap.running(settings) as port, CatalogClient(f"127.0.0.1:{port}") as client:
        await switch(client, ANALYZER)
        yield client


async def switch(client: CatalogClient, *analyzers: str) -> None:
    await client.update_shop(
        catalog_pb.UpdateShopRequest(
            shop=shop_ref(NAME),
            update=catalog_pb.ShopUpdate(analyzers=analyzers),
            update_mask=FieldMask(paths=["analyzers"]),
        )
    )


async def counts(client: CatalogClient) -> tuple[int, int, int]:
    found = (await client.get_status(NAME)).analysis
    return found.pending_item_count, found.analyzed_item_count, found.failed_item_count


async def until_counts(client: CatalogClient, *expected: int) -> None:
    async def reached() -> bool | None:
        return (await counts(client)) == expected or None

    await until_found(reached)


async def test_each_image_is_analyzed_once_and_the_client_reads_its_result(client: CatalogClient) -> None:
    analyzer = Recorder()
    async with working(client, analyzer, max_in_flight=4) as (worker, _):
        await until(lambda: worker.counts == WorkerCounts(leased=IMAGES, stored=IMAGES))
    await until_counts(client, 0, IMAGES, 0)
    assert len({task.image_id for task in analyzer.tasks}) == IMAGES
    request = pb.ListAnalysesRequest(shop=shop_ref(NAME), analyzer=ANALYZER, page_size=5)
    assert len([each async for each in client.analyses(request)]) == IMAGES
    analyzed = catalog_pb.ListItemsRequest(
        shop=shop_ref(NAME), analysis_state=analysis_pb2.ANALYSIS_STATE_ANALYZED
    )
    items = [item async for item in client.items(analyzed)]
    assert {item.analysis.results[0].category for item in items} == {"Shirts"}
    found = await client.get_analysis(NAME, items[0].item_id)
    assert found.analyses[0].result.model_version == "1"


async def test_failures_become_dead_tasks_that_requeue_tries_again(client: CatalogClient) -> None:
    analyzer = Recorder()

    def fail(task: pb.AnalysisTask) -> None:
        raise TaskFailed("IMAGE_NOT_FOUND", "the host answered 404", permanent=True)

    analyzer.act = fail
    async with working(client, analyzer) as (worker, _):
        await until(lambda: worker.counts.dead == IMAGES)
        await until_counts(client, 0, 0, IMAGES)
        dead = [
            each async for each in client.dead_tasks(pb.ListDeadTasksRequest(shop=shop_ref(NAME), page_size=5))
        ]
        assert {each.failure.reason for each in dead} == {"IMAGE_NOT_FOUND"}
        assert len(dead) == IMAGES
        analyzer.act = lambda task: None
        request = pb.RequeueTasksRequest(shop=shop_ref(NAME), analyzer=ANALYZER, dead=True)
        assert await client.requeue(request) == IMAGES
        await until(lambda: worker.counts.stored == IMAGES)
    await until_counts(client, 0, IMAGES, 0)
    newer = pb.RequeueTasksRequest(shop=shop_ref(NAME), analyzer=ANALYZER, other_than_model_version="2")
    assert await client.requeue(newer) == IMAGES
    newer.other_than_model_version = "1"
    assert await client.requeue(newer) == 0


async def test_an_invalid_result_becomes_a_failure_that_names_the_field(client: CatalogClient) -> None:
    analyzer = Recorder()

    def act(task: pb.AnalysisTask) -> None:
        analyzer.score = "1.5" if task.item_id == "3-1" else "1"

    analyzer.act = act
    async with working(client, analyzer) as (worker, _):
        await until(lambda: worker.counts.stored == IMAGES - 1 and worker.counts.retry >= 1)
    (failed,) = (await client.get_analysis(NAME, "3-1")).analyses
    assert failed.failure.reason == "RESULT_INVALID"
    assert "quality_score" in failed.failure.message


async def test_leases_in_progress_are_extended_and_given_back_at_the_end(
    client: CatalogClient, world: CatalogWorld
) -> None:
    stuck, other = Recorder(), Recorder()
    stuck.act = lambda task: forever()

    async def extended() -> bool | None:
        rows = await world.rows(
            "SELECT available_at > :first AS extended FROM analysis_task WHERE available_at > now()", first=first
        )
        return (len(rows) == 3 and all(row["extended"] for row in rows)) or None

    async with working(client, stuck, max_in_flight=3) as (worker, _):
        await until(lambda: len(stuck.tasks) == 3)
        rows = await world.rows("SELECT max(available_at) AS latest FROM analysis_task")
        first = rows[0]["latest"]
        await until_found(extended)
    assert worker.counts == WorkerCounts(leased=3, returned=3)
    async with working(client, other, worker_id="worker-2", max_in_flight=50) as (second, _):
        await until(lambda: second.counts.stored == IMAGES)
    assert {task.attempt for task in other.tasks} == {1}


async def test_work_whose_lease_expired_is_cancelled_and_its_late_result_is_not_stored(
    client: CatalogClient, world: CatalogWorld
) -> None:
    slow, quick = Recorder(), Recorder()
    slow.act = lambda task: forever()
    async with working(client, slow, max_in_flight=3) as (first, _):
        await until(lambda: len(slow.tasks) == 3)
        await world.execute("UPDATE analysis_task SET available_at = clock_timestamp() - interval '1 s'")
        await world.execute("UPDATE analysis_queue SET due_at = now() WHERE due_at IS NOT NULL")
        async with working(client, quick, worker_id="worker-2", max_in_flight=50) as (second, _):
            await until(lambda: second.counts.stored + first.counts.leased >= IMAGES and first.counts.lost >= 1)
    assert slow.cancelled_count >= first.counts.lost >= 1
    assert first.counts.stored == 0


async def test_an_analyzer_that_the_shop_does_not_use_cannot_be_requeued(client: CatalogClient) -> None:
    await switch(client)
    with pytest.raises(reasons.AnalyzerNotEnabled):
        await client.requeue(pb.RequeueTasksRequest(shop=shop_ref(NAME), analyzer=ANALYZER, dead=True))
