"""Leases and lists of the analysis read little more than they return, however many tasks and results a shop has.

As in `test_read_plans`, what is compared is the number of rows that PostgreSQL read, not time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.read.rows import GeneratedShop, analyze, generate_shop, generate_small_shops
from catalog_svc.domain.analysis import (
    AnalysisCursor,
    AnalysisFilter,
    AnalysisState,
    SubmittedResult,
    TaskOutcome,
    Worker,
)
from catalog_svc.domain.catalog_reads import ItemFilter
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.analysis_tasks import AnalysisTaskStore
from catalog_svc.storage.analyzers import AnalyzerStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.items import ItemStore
from tests.conftest import copied_database
from tests.integration.catalog_svc.analyzing import ANALYZER, result
from tests.integration.catalog_svc.plans import Plan, explain, recorded

ITEMS: Final = 20_000
TASKS: Final = 100_000
DEAD: Final = 2_000
RESULTS: Final = 50_000
SMALL_SHOPS: Final = 20_000
LEASED: Final = 300
"""The first tasks of the shop, in the order of leases."""
LIMIT: Final = 100
FEW_ROWS: Final = 5 * LIMIT

# Each product has an image of its own, which its items share.
_SET_IMAGES: Final = """
    UPDATE item SET image_hash = decode(md5(image_url), 'hex'), analysis_state = CASE
        WHEN product_id::bigint % 50 = 0 THEN 'FAILED' WHEN product_id::bigint % 2 = 0 THEN 'ANALYZED'
        ELSE 'PENDING' END
    WHERE shop_id = :shop_id AND deleted_at IS NULL"""
_SET_ANALYZERS: Final = "UPDATE shop_state SET analyzers = ARRAY[:analyzer] WHERE shop_id = :shop_id"
# The images of the items first: what is leased next has items.
_INSERT_TASKS: Final = f"""
    INSERT INTO analysis_task (shop_id, analyzer, image_hash, image_url, feed_position, dead, failure_reason,
        available_at, worker_id, attempt_count)
    SELECT :shop_id, :analyzer, decode(md5(url), 'hex'), url, n / 250, n > {TASKS}, '',
        now() + CASE WHEN n <= {LEASED} THEN interval '1 h' ELSE interval '-1 h' END,
        CASE WHEN n <= {LEASED} THEN 'worker' || n % 3 END, 1
    FROM (
        SELECT row_number() OVER (ORDER BY place, url) AS n, url
        FROM (
            SELECT DISTINCT 0 AS place, image_url AS url FROM item WHERE shop_id = :shop_id AND deleted_at IS NULL
            UNION ALL SELECT 1, 'https://cdn.example/more/' || k FROM generate_series(1, :tasks) AS k) AS image
        ORDER BY 1 LIMIT {TASKS + DEAD}) AS image"""
_INSERT_RESULTS: Final = f"""
    INSERT INTO analysis_result (shop_id, analyzer, image_hash, image_url, model_version, category, subcategory,
        description, gender, attributes, quality_score, confidence_score, task_position, task_epoch)
    SELECT :shop_id, :analyzer, decode(md5(url), 'hex'), url, '1', 'Category ' || n % 20, '', '', '', '{{}}',
        (n % 1000) / 1000.0, 0.9, 1, 1
    FROM (
        SELECT n, CASE WHEN n % 10 = 0 THEN 'https://cdn.example/' || n / 10 || '.jpg'
            ELSE 'https://cdn.example/more/' || n END AS url
        FROM generate_series(1, {RESULTS}) AS n) AS image"""
_QUEUE_SHOP: Final = """
    INSERT INTO analysis_queue (shop_id, analyzer, due_at, virtual_time) VALUES (:shop_id, :analyzer, now(), 7)"""
_BEGIN_BACKFILL: Final = "UPDATE shop_state SET analysis_backfill_after = '' WHERE shop_id = :shop_id"
# What the planner knows of the images of items.
_KNOWN_IMAGES: Final = """
    SELECT 1 - null_frac FROM pg_stats WHERE tablename = 'item' AND attname = 'image_hash'
    UNION ALL SELECT 0 ORDER BY 1 DESC LIMIT 1"""
# Autovacuum could analyze the table too early, or hold its lock while the backfill analyzes it.
_DISABLE_AUTOVACUUM: Final = "ALTER TABLE item SET (autovacuum_enabled = false)"
_QUEUE_SMALL_SHOPS: Final = f"""
    INSERT INTO analysis_queue (shop_id, analyzer, due_at, virtual_time)
    SELECT gen_random_uuid(), :analyzer, CASE WHEN n % 10 = 0 THEN now() END, n % 5000
    FROM generate_series(1, {SMALL_SHOPS}) AS n"""
_GENERATE: Final = (_SET_IMAGES, _SET_ANALYZERS, _INSERT_TASKS, _INSERT_RESULTS, _QUEUE_SHOP, _QUEUE_SMALL_SHOPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzedShop:
    """A database with one shop whose images are analyzed, and the queue of many others."""

    engine: AsyncEngine
    """With the role of the service."""
    large: GeneratedShop

    @property
    def shop(self) -> Shop:
        return Shop(shop_id=self.large.shop_id, key=ShopKey("shopify", self.large.domain))

    @property
    def tasks(self) -> AnalysisTaskStore:
        return AnalysisTaskStore(Database(self.engine), write_ttl=timedelta(minutes=1))

    @property
    def analyses(self) -> AnalysisStore:
        return AnalysisStore(Database(self.engine))


@pytest.fixture(scope="module")
async def analyzed(postgres_url: str) -> AsyncIterator[AnalyzedShop]:
    async with copied_database(postgres_url) as url:
        owner = open_engine(url, pool_size=1, command_timeout=None)
        async with owner.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            await generate_small_shops(connection, SMALL_SHOPS)
            large = await generate_shop(connection, domain="large.example", items=ITEMS)
            values = {"shop_id": large.shop_id, "analyzer": ANALYZER, "tasks": TASKS + DEAD}
            for statement in _GENERATE:
                used = {name: value for name, value in values.items() if f":{name}" in statement}
                await connection.execute(text(statement), used)
        async with owner.connect() as connection:
            autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await analyze(autocommit)
            await autocommit.execute(text("VACUUM (ANALYZE) analysis_task, analysis_result, analysis_queue"))
        await owner.dispose()
        engine = open_engine(service_url(url), pool_size=1, command_timeout=None)
        yield AnalyzedShop(engine=engine, large=large)
        await engine.dispose()


async def plans(analyzed: AnalyzedShop, call: Awaitable[object]) -> list[Plan]:
    """Return the plans of the statements that a call executes."""
    with recorded(analyzed.engine) as statements:
        assert await call
    assert statements
    return [await explain(analyzed.engine, statement) for statement in statements]


def check(found: list[Plan], *, at_most: int) -> None:
    for plan in found:
        assert plan.rows_read <= at_most, f"{plan.rows_read} rows read by {plan.statement}: {plan.text}"
        assert not plan.full_scans, f"{plan.full_scans}: {plan.statement}: {plan.text}"


def worker(worker_id: str = "worker0", *, max_in_flight: int = 100_000) -> Worker:
    return Worker(
        worker_id=worker_id,
        analyzer=ANALYZER,
        model_version="1",
        max_in_flight=max_in_flight,
        lease_duration=timedelta(minutes=1),
    )


async def test_a_lease_reads_what_it_returns_and_what_is_leased_before_it(analyzed: AnalyzedShop) -> None:
    """Of 100,000 open tasks. Its leases, its tasks, and for each of them an item and a product."""
    call = analyzed.tasks.lease(worker(), analyzed.shop.shop_id, limit=LIMIT)
    check(await plans(analyzed, call), at_most=FEW_ROWS + 2 * LEASED)


async def test_a_lease_from_the_last_leased_position_on_reads_nothing_before_it(analyzed: AnalyzedShop) -> None:
    call = analyzed.tasks.lease(worker("worker9"), analyzed.shop.shop_id, limit=LIMIT, from_position=200)
    check(await plans(analyzed, call), at_most=FEW_ROWS)


async def test_a_worker_without_a_free_slot_reads_its_own_leases_alone(analyzed: AnalyzedShop) -> None:
    call = analyzed.tasks.lease(worker("worker1", max_in_flight=1), analyzed.shop.shop_id, limit=LIMIT)
    check(await plans(analyzed, call), at_most=LEASED)


async def test_the_shops_with_tasks_are_found_without_the_others(analyzed: AnalyzedShop) -> None:
    check(await plans(analyzed, analyzed.tasks.due_shops(ANALYZER, limit=16)), at_most=2 * 16)
    check(await plans(analyzed, analyzed.tasks.due_analyzers([ANALYZER, "unknown"])), at_most=2)


RESULT_FILTERS: Final[list[dict[str, Any]]] = [
    {},
    {"category": "Category 7"},
    {"min_quality": Decimal("0.4"), "max_quality": Decimal("0.6")},
    {"max_quality": Decimal("0.2")},
    {"category": "Category 7", "min_quality": Decimal("0.4")},
    {"category": "Category 7", "min_quality": Decimal("0.4"), "max_quality": Decimal("0.5")},
    {"state": AnalysisState.PENDING},
    {"state": AnalysisState.FAILED},
]


@pytest.mark.parametrize("score", [None, Decimal("0.45")], ids=["first", "middle"])
@pytest.mark.parametrize("which", RESULT_FILTERS, ids=str)
async def test_a_page_of_analyses_reads_few_rows(
    analyzed: AnalyzedShop, which: dict[str, Any], score: Decimal | None
) -> None:
    after = None
    if score is not None and which.get("max_quality", 1) > score:
        after = AnalysisCursor(analyzer=ANALYZER, image_hash=b"\x30" + bytes(15), quality_score=score)
    call = analyzed.analyses.page(
        analyzed.shop, AnalysisFilter(analyzer=ANALYZER, **which), after=after, limit=LIMIT
    )
    check(await plans(analyzed, call), at_most=FEW_ROWS)


@pytest.mark.parametrize("page", ["first", "middle"])
@pytest.mark.parametrize("analyzer", ["", ANALYZER])
async def test_a_page_of_dead_tasks_reads_few_rows(analyzed: AnalyzedShop, analyzer: str, page: str) -> None:
    after = None if page == "first" else AnalysisCursor(analyzer=ANALYZER, image_hash=b"\x80" + bytes(15))
    call = analyzed.analyses.dead(analyzed.shop, analyzer, after=after, limit=LIMIT)
    check(await plans(analyzed, call), at_most=FEW_ROWS)


@pytest.mark.parametrize("state", [AnalysisState.PENDING, AnalysisState.ANALYZED, AnalysisState.FAILED])
async def test_a_page_of_items_in_a_state_reads_few_rows(analyzed: AnalyzedShop, state: AnalysisState) -> None:
    """The items, their products, and the results of their images."""

    async def read() -> bool:
        _, items = await ItemStore(Database(analyzed.engine)).page(
            analyzed.shop, ItemFilter(analysis_state=state), after=None, limit=LIMIT
        )
        return {item.analysis.state for item in items if item.analysis} == {state}

    check(await plans(analyzed, read()), at_most=FEW_ROWS)


async def test_the_analysis_of_one_item_reads_few_rows(analyzed: AnalyzedShop) -> None:
    item_id = analyzed.large.item_id(analyzed.large.products // 2)
    check(await plans(analyzed, analyzed.analyses.of_item(analyzed.shop, item_id)), at_most=5)


async def test_a_step_of_the_backfill_reads_a_part_of_the_shop(analyzed: AnalyzedShop) -> None:
    """Also when nothing is to be done, and tasks of other analyzers are looked for."""
    analyzers = AnalyzerStore(Database(analyzed.engine), write_ttl=timedelta(minutes=1))

    async def begin(connection: AsyncConnection) -> None:
        await connection.execute(
            text(_BEGIN_BACKFILL),
            {"shop_id": analyzed.shop.shop_id},
        )

    await Database(analyzed.engine).write(begin, shops=[analyzed.shop.shop_id])
    check(await plans(analyzed, analyzers.backfills(limit=9)), at_most=9)
    check(await plans(analyzed, analyzers.backfill_step(analyzed.shop.shop_id)), at_most=4 * 1_000)


async def test_results_of_a_shop_of_which_the_planner_knows_nothing_read_few_items(
    postgres_url: str,
) -> None:
    """Its items had no images when its tables were analyzed: the planner assumes that none has one."""
    async with copied_database(postgres_url) as url, AsyncExitStack() as stack:
        owner = open_engine(url, pool_size=1, command_timeout=None)
        stack.push_async_callback(owner.dispose)
        async with owner.begin() as connection:
            large = await generate_shop(connection, domain="large.example", items=ITEMS)
            values = {"shop_id": large.shop_id, "analyzer": ANALYZER}
            for statement in (_SET_ANALYZERS, _QUEUE_SHOP, _BEGIN_BACKFILL, _DISABLE_AUTOVACUUM):
                used = {name: value for name, value in values.items() if f":{name}" in statement}
                await connection.execute(text(statement), used)
        async with owner.connect() as connection:
            await analyze(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        engine = open_engine(service_url(url), pool_size=1, command_timeout=None)
        stack.push_async_callback(engine.dispose)
        shop = AnalyzedShop(engine=engine, large=large)
        analyzers = AnalyzerStore(Database(engine), write_ttl=timedelta(minutes=1))
        for _ in range(ITEMS // 2_000):
            assert await analyzers.backfill_step(large.shop_id)
        found = await plans(shop, submit_some(shop))
        check([plan for plan in found if "UPDATE item " in str(plan.statement)], at_most=2 * FEW_ROWS)
        while await analyzers.backfill_step(large.shop_id):
            pass
        async with owner.connect() as connection:
            assert (await connection.execute(text(_KNOWN_IMAGES))).scalar_one() > 0


async def submit_some(analyzed: AnalyzedShop) -> list[TaskOutcome]:
    """Lease tasks, and submit a result for each."""
    page = await analyzed.tasks.lease(worker("worker8"), analyzed.shop.shop_id, limit=LIMIT // 2)
    assert len(page.tasks) == LIMIT // 2
    results = [SubmittedResult(lease=task.lease, outcome=result()) for task in page.tasks]
    return await analyzed.tasks.submit(analyzed.shop.shop_id, results)


async def test_the_check_finds_a_plan_that_reads_all_tasks_of_the_shop(analyzed: AnalyzedShop) -> None:
    async def read(connection: AsyncConnection) -> bool:
        query = "SELECT image_hash FROM analysis_task WHERE shop_id = :shop_id AND attempt_count > 7 LIMIT 1"
        await connection.execute(text(query), {"shop_id": analyzed.shop.shop_id})
        return True

    call: Callable[[], Awaitable[bool]] = lambda: Database(analyzed.engine).read(  # noqa: E731
        read, shops=[analyzed.shop.shop_id]
    )
    found = await plans(analyzed, call())
    with pytest.raises(AssertionError):
        check(found, at_most=10_000)
