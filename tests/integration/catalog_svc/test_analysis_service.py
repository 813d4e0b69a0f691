"""AnalysisService over gRPC: streams of tasks, results, heartbeats, lists, and what a request may not contain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import analysis_pb2
from catalogsync.catalog.v1 import analysis_service_pb2 as pb
from catalogsync.catalog.v1 import catalog_service_pb2 as catalog_pb
from catalogsync.catalog.v1.analysis_service_pb2_grpc import AnalysisServiceStub
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.status import read_failure_now
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from catalog_svc.domain.shop import ShopKey
from catalog_svc.rpc import convert_analysis
from tests.fakes.product_source import MemorySource
from tests.integration.catalog_svc.analyzing import ANALYZER, Analyzing, name_of, pictured
from tests.integration.catalog_svc.catalog_server import connected
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.waiting import within_timeout

REF = catalog_pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain)
Stream = grpc.aio.UnaryStreamCall[pb.LeaseTasksRequest, pb.LeaseTasksResponse]


@pytest.fixture
async def analyzing(world: CatalogWorld) -> Analyzing:
    """A shop with three images, and the analyzer switched on."""
    analyzing = Analyzing(world)
    await analyzing.sync(pictured("1", "a", "b"), pictured("2", "c"))
    await analyzing.switch(ANALYZER)
    return analyzing


@pytest.fixture
async def channel(analyzing: Analyzing, database_url: str) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(database_url) as channel:
        yield channel


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> AnalysisServiceStub:
    return AnalysisServiceStub(channel)


def lease(stub: Any, worker_id: str = "worker", *, max_in_flight: int = 10) -> Stream:
    request = pb.LeaseTasksRequest(worker_id=worker_id, analyzer=ANALYZER, max_in_flight=max_in_flight)
    stream: Stream = stub.LeaseTasks(request)
    return stream


async def next_tasks(stream: Stream) -> list[pb.AnalysisTask]:
    """Return the tasks of the next message that has some."""
    while True:
        message = await within_timeout(stream.read())
        assert isinstance(message, pb.LeaseTasksResponse)
        if message.tasks:
            return list(message.tasks)


async def is_heartbeat(stream: Stream) -> bool:
    """Return whether the next message has no tasks."""
    message = await within_timeout(stream.read())
    assert isinstance(message, pb.LeaseTasksResponse)
    return not message.tasks


async def leased(analyzing: Analyzing) -> list[pb.AnalysisTask]:
    """Lease all tasks without a stream, whose end could give them back."""
    return [convert_analysis.task(task) for task in (await analyzing.lease()).tasks]


def analyzed(task: pb.AnalysisTask, quality: str = "0.5", **more: Any) -> pb.TaskResult:
    found = pb.AnalysisResult(quality_score=quality, confidence_score="1", **more)
    return pb.TaskResult(lease_id=task.lease_id, analysis=found)


async def submit(stub: Any, *results: pb.TaskResult, worker_id: str = "worker") -> list[int]:
    response = await stub.SubmitResults(pb.SubmitResultsRequest(worker_id=worker_id, results=results))
    return [outcome.outcome for outcome in response.outcomes]


async def test_a_worker_gets_the_tasks_of_a_shop_with_what_it_must_know(stub: AnalysisServiceStub) -> None:
    stream = lease(stub)
    tasks = await next_tasks(stream)
    by_name = {name_of(task.image_url): task for task in tasks}
    assert sorted(by_name) == ["a", "b", "c"]
    assert (by_name["c"].item_id, by_name["c"].product_id, by_name["c"].product_title) == ("2-1", "2", "Shirt")
    assert [task.attempt for task in tasks] == [1, 1, 1]
    stream.cancel()


async def test_a_result_frees_a_slot_at_once_and_is_readable_everywhere(
    channel: grpc.aio.Channel, stub: AnalysisServiceStub
) -> None:
    stream = lease(stub, max_in_flight=1)
    seen: list[str] = []
    for quality in ("0.9", "0.2", "0.5"):
        (task,) = await next_tasks(stream)
        seen.append(name_of(task.image_url))
        outcomes = await submit(stub, analyzed(task, quality, category="Shirts", description="A shirt."))
        assert outcomes == [pb.TaskOutcome.OUTCOME_STORED]
    stream.cancel()
    assert sorted(seen) == ["a", "b", "c"]
    catalog = CatalogServiceStub(channel)
    status = await catalog.GetStatus(catalog_pb.GetStatusRequest(shop=REF))
    assert (status.analyzed_item_count, status.analysis.pending_item_count) == (3, 0)
    items = await catalog.ListItems(
        catalog_pb.ListItemsRequest(shop=REF, analysis_state=analysis_pb2.ANALYSIS_STATE_ANALYZED)
    )
    assert [item.item_id for item in items.items] == ["1-1", "1-2", "2-1"]
    assert items.items[0].analysis.results[0].category == "Shirts"
    changes = await catalog.ListItemChanges(catalog_pb.ListItemChangesRequest(shop=REF))
    assert {item.analysis.state for item in changes.items} == {analysis_pb2.ANALYSIS_STATE_ANALYZED}
    page = await stub.ListAnalyses(pb.ListAnalysesRequest(shop=REF, analyzer=ANALYZER, page_size=2))
    rest = await stub.ListAnalyses(
        pb.ListAnalysesRequest(shop=REF, analyzer=ANALYZER, page_size=2, page_token=page.next_page_token)
    )
    scores = [one.result.quality_score for one in (*page.analyses, *rest.analyses)]
    assert (scores, rest.next_page_token) == (["0.2", "0.5", "0.9"], "")
    answer = await stub.GetAnalysis(pb.GetAnalysisRequest(shop=REF, item_id="1-1"))
    assert answer.state == analysis_pb2.ANALYSIS_STATE_ANALYZED
    assert answer.analyses[0].result.description == "A shirt."


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"category": "Shirts"}, ["0.2", "0.9"]),
        ({"category": "Shirts", "min_quality_score": "0.5"}, ["0.9"]),
        ({"max_quality_score": "0.5"}, ["0.2", "0.5"]),
        ({"min_quality_score": "0.3", "max_quality_score": "0.9"}, ["0.5", "0.9"]),
        ({"state": analysis_pb2.ANALYSIS_STATE_PENDING}, []),
    ],
)
async def test_results_are_listed_by_category_and_score(
    stub: AnalysisServiceStub, analyzing: Analyzing, filters: dict[str, Any], found: list[str]
) -> None:
    tasks = await leased(analyzing)
    scores = ("0.9", "0.2", "0.5")
    categories = ("Shirts", "Shirts", "Shoes")
    await submit(
        stub,
        *(
            analyzed(task, score, category=category)
            for task, score, category in zip(tasks, scores, categories, strict=True)
        ),
    )
    page = await stub.ListAnalyses(pb.ListAnalysesRequest(shop=REF, analyzer=ANALYZER, **filters))
    assert [one.result.quality_score for one in page.analyses] == found


async def test_a_waiting_worker_is_woken_by_an_analyzer_that_is_switched_on(
    channel: grpc.aio.Channel, stub: AnalysisServiceStub, analyzing: Analyzing
) -> None:
    await analyzing.switch()
    stream = lease(stub)
    assert await is_heartbeat(stream)
    request = catalog_pb.UpdateShopRequest(
        shop=REF,
        update=catalog_pb.ShopUpdate(analyzers=[ANALYZER]),
        update_mask=FieldMask(paths=["analyzers"]),
    )
    updated = await CatalogServiceStub(channel).UpdateShop(request)
    assert list(updated.shop.analyzers) == [ANALYZER]
    assert len(await next_tasks(stream)) == 3
    stream.cancel()


async def test_a_reconnected_worker_gets_no_more_than_its_slots(stub: AnalysisServiceStub) -> None:
    held = lease(stub, max_in_flight=2)
    first = await next_tasks(held)
    assert len(first) == 2
    for _ in range(20):
        stream = lease(stub, max_in_flight=2)
        assert await is_heartbeat(stream)
        stream.cancel()
    stream = lease(stub, max_in_flight=2)
    await submit(stub, analyzed(first[0]))
    taken = [asyncio.ensure_future(next_tasks(one)) for one in (held, stream)]
    done, _ = await within_timeout(asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED))
    assert [len(one.result()) for one in done] == [1]
    for one in taken:
        one.cancel()
    await asyncio.gather(*taken, return_exceptions=True)
    held.cancel()
    stream.cancel()


async def test_a_shop_with_many_tasks_does_not_keep_others_waiting(
    stub: AnalysisServiceStub, analyzing: Analyzing
) -> None:
    """Of 8 places a shop with 50 tasks, which came first, gets no more than half."""
    other = ShopKey("shopify", "other.myshopify.com")
    await analyzing.sync(*(pictured(f"{n}", f"{n}") for n in range(50)))
    created = await analyzing.world.create_sync(other)
    await analyzing.world.commands.cancel(created.sync_id)
    await _store(analyzing, other, 4)
    stream = lease(stub, max_in_flight=8)
    leased: list[pb.AnalysisTask] = []
    while len(leased) < 8:
        leased += await next_tasks(stream)
    assert sorted([task.shop_id for task in leased].count(shop) for shop in {t.shop_id for t in leased}) == [4, 4]
    stream.cancel()


async def test_extended_and_lost_leases_are_named(stub: AnalysisServiceStub, analyzing: Analyzing) -> None:
    tasks = await leased(analyzing)
    await submit(stub, analyzed(tasks[0]))
    request = pb.ExtendLeasesRequest(worker_id="worker", lease_ids=[task.lease_id for task in tasks])
    answer = await stub.ExtendLeases(request)
    assert list(answer.extended_lease_ids) == [task.lease_id for task in tasks[1:]]
    assert list(answer.lost_lease_ids) == [tasks[0].lease_id]
    given_back = pb.ExtendLeasesRequest(
        worker_id="worker", lease_ids=[tasks[1].lease_id], lease_duration=Duration()
    )
    await stub.ExtendLeases(given_back)
    stream = lease(stub, "other")
    (again,) = await next_tasks(stream)
    stream.cancel()
    assert (again.image_id, again.attempt) == (tasks[1].image_id, 1)


async def test_dead_tasks_are_listed_and_queued_again(stub: AnalysisServiceStub, analyzing: Analyzing) -> None:
    tasks = await leased(analyzing)
    failure = pb.TaskFailure(reason="IMAGE_NOT_FOUND", message="404", permanent=True)
    failed = [pb.TaskResult(lease_id=task.lease_id, failure=failure) for task in tasks]
    assert await submit(stub, *failed) == [pb.TaskOutcome.OUTCOME_DEAD] * 3
    first = await stub.ListDeadTasks(pb.ListDeadTasksRequest(shop=REF, page_size=2))
    rest = await stub.ListDeadTasks(
        pb.ListDeadTasksRequest(shop=REF, page_size=2, page_token=first.next_page_token)
    )
    assert [(one.item_id != "", one.failure.reason) for one in (*first.tasks, *rest.tasks)] == [
        (True, "IMAGE_NOT_FOUND")
    ] * 3
    requeued = await stub.RequeueTasks(pb.RequeueTasksRequest(shop=REF, analyzer=ANALYZER, dead=True))
    assert (requeued.requeued_count, requeued.remaining) == (3, False)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RequeueTasks(pb.RequeueTasksRequest(shop=REF, analyzer="other", dead=True))
    assert read_failure_now(caught.value).reason == "ANALYZER_NOT_ENABLED"


async def test_a_stream_to_a_worker_that_has_gone_gives_its_tasks_back(
    stub: AnalysisServiceStub, analyzing: Analyzing
) -> None:
    """Tasks are either received by the worker or leased again, whenever it goes away."""
    for number in range(10):
        stream = lease(stub, f"gone-{number}")
        await asyncio.sleep(0)
        stream.cancel()
    await analyzing.expire_leases()
    stays = lease(stub, "stays")
    assert len(await next_tasks(stays)) == 3
    stays.cancel()


TASK = pb.TaskResult(lease_id="x")


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("LeaseTasks", pb.LeaseTasksRequest(analyzer=ANALYZER), "worker_id"),
        ("LeaseTasks", pb.LeaseTasksRequest(worker_id="w", analyzer="Quality"), "analyzer"),
        ("LeaseTasks", pb.LeaseTasksRequest(worker_id="w", analyzer="a", max_in_flight=101), "max_in_flight"),
        (
            "LeaseTasks",
            pb.LeaseTasksRequest(worker_id="w", analyzer="a", lease_duration=Duration(seconds=9)),
            "lease_duration",
        ),
        (
            "LeaseTasks",
            pb.LeaseTasksRequest(worker_id="w", analyzer="a", lease_duration=Duration()),
            "lease_duration",
        ),
        ("ExtendLeases", pb.ExtendLeasesRequest(worker_id="w"), "lease_ids"),
        ("ExtendLeases", pb.ExtendLeasesRequest(worker_id="w", lease_ids=["x"]), "lease_ids[0]"),
        ("SubmitResults", pb.SubmitResultsRequest(worker_id="w"), "results"),
        ("SubmitResults", pb.SubmitResultsRequest(worker_id="w", results=[TASK]), "results[0].lease_id"),
        ("SubmitResults", pb.SubmitResultsRequest(worker_id="w", results=[TASK]), "results[0]"),
        ("ListAnalyses", pb.ListAnalysesRequest(shop=REF), "analyzer"),
        (
            "ListAnalyses",
            pb.ListAnalysesRequest(shop=REF, analyzer="a", min_quality_score="2"),
            "min_quality_score",
        ),
        (
            "ListAnalyses",
            pb.ListAnalysesRequest(shop=REF, analyzer="a", state=analysis_pb2.ANALYSIS_STATE_NOT_APPLICABLE),
            "state",
        ),
        ("RequeueTasks", pb.RequeueTasksRequest(shop=REF, analyzer="a"), "images"),
        (
            "RequeueTasks",
            pb.RequeueTasksRequest(shop=REF, analyzer="a", image_ids=pb.ImageIds(ids=["zz"])),
            "image_ids.ids[0]",
        ),
    ],
)
async def test_an_invalid_field_is_named(stub: Any, method: str, request_: Any, field: str) -> None:
    call = getattr(stub, method)(request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if method == "LeaseTasks" else call)
    failure = read_failure_now(caught.value)
    assert field in [violation.field for violation in failure.violations]


@pytest.mark.parametrize("score", ["", "1.1", "-0.1", "0.1234567", "NaN", "1e-1", ".5"])
async def test_a_score_is_a_decimal_from_0_to_1(
    stub: AnalysisServiceStub, analyzing: Analyzing, score: str
) -> None:
    tasks = await leased(analyzing)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await submit(stub, analyzed(tasks[0], score))
    failure = read_failure_now(caught.value)
    assert [v.field for v in failure.violations] == ["results[0].analysis.quality_score"]


async def _store(analyzing: Analyzing, key: ShopKey, count: int) -> None:
    """Sync another shop with `count` images, and switch the analyzer on."""
    await analyzing.switch(ANALYZER, key=key)
    created = await analyzing.world.create_sync(key)

    source = MemorySource([pictured(f"o{n}", f"o{n}") for n in range(count)])
    source.platform_shop_id = "4712"
    await analyzing.world.supervisor(source).run(await analyzing.world.claim())
    assert (await analyzing.world.syncs.get(created.sync_id)).state.value == "SUCCEEDED"
