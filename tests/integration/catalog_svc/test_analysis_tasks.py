"""Analysis tasks on PostgreSQL: which images get one, the fence of leases, attempts, shared images, counters."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from catalog_svc.domain.analysis import AnalysisState, TaskFailure, TaskOutcome
from catalog_svc.domain.errors import AnalyzerNotEnabled
from tests.integration.catalog_svc.analyzing import (
    ANALYZER,
    OTHER_ANALYZER,
    Analyzing,
    by_image,
    images,
    pictured,
    result,
)
from tests.integration.catalog_svc.conftest import CatalogWorld

BROKEN = TaskFailure(reason="IMAGE_UNREADABLE", message="no image")
GONE = TaskFailure(reason="IMAGE_NOT_FOUND", message="404", permanent=True)


@pytest.fixture
async def analyzing(world: CatalogWorld) -> Analyzing:
    """A shop with two products: three items share two images, one has none."""
    analyzing = Analyzing(world)
    await analyzing.sync(pictured("1", "a", "a", ""), pictured("2", "b"))
    return analyzing


async def test_a_shop_without_an_analyzer_has_neither_tasks_nor_states(analyzing: Analyzing) -> None:
    assert await analyzing.task_images() == []
    assert set((await analyzing.states()).values()) == {None}
    assert not await analyzing.world.rows("SELECT 1 FROM item WHERE image_hash IS NOT NULL")


async def test_switching_an_analyzer_on_makes_one_task_for_each_stored_image(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    assert await analyzing.task_images() == ["a", "b"]
    assert await analyzing.states() == {
        "1-1": "PENDING",
        "1-2": "PENDING",
        "1-3": "NOT_APPLICABLE",
        "2-1": "PENDING",
    }
    await analyzing.check()


async def test_a_batch_makes_tasks_for_new_and_changed_images_only(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    for task in (await analyzing.lease()).tasks:
        await analyzing.submit(task)
    await analyzing.sync(pictured("1", "a", "c", "", price="11.00"), pictured("2", "b"), pictured("3", "a"))
    assert await analyzing.task_images() == ["c"]
    assert await analyzing.states() == {
        "1-1": "ANALYZED",
        "1-2": "PENDING",
        "1-3": "NOT_APPLICABLE",
        "2-1": "ANALYZED",
        "3-1": "ANALYZED",
    }
    await analyzing.check()


async def test_another_version_of_an_image_at_the_same_address_gets_a_task(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    for task in (await analyzing.lease()).tasks:
        await analyzing.submit(task)
    replaced = pictured("2", "b")
    replaced.variants[0].image.version = "2026-12-01T00:00:00"
    await analyzing.sync(pictured("1", "a", "a", ""), replaced)
    assert await analyzing.task_images() == ["b"]


async def test_items_that_share_an_image_share_its_result_and_get_a_new_position(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    before = await _positions(analyzing)
    task = by_image((await analyzing.lease()).tasks)["a"]
    assert await analyzing.submit(task) is TaskOutcome.STORED
    states = await analyzing.states()
    assert (states["1-1"], states["1-2"], states["2-1"]) == ("ANALYZED", "ANALYZED", "PENDING")
    after = await _positions(analyzing)
    assert {item for item in before if before[item] != after[item]} == {"1-1", "1-2"}
    await analyzing.check()


async def test_with_two_analyzers_an_item_is_pending_until_both_have_a_result(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER, OTHER_ANALYZER)
    await analyzing.submit(by_image((await analyzing.lease()).tasks)["b"])
    assert (await analyzing.states())["2-1"] == "PENDING"
    other = await analyzing.lease(analyzing.worker(analyzer=OTHER_ANALYZER))
    await analyzing.submit(by_image(other.tasks)["b"])
    assert (await analyzing.states())["2-1"] == "ANALYZED"
    await analyzing.check()


async def test_switching_off_removes_tasks_and_states_and_keeps_results(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    await analyzing.submit(by_image((await analyzing.lease()).tasks)["a"])
    await analyzing.switch()
    assert await analyzing.task_images() == []
    await analyzing.check()
    await analyzing.switch(ANALYZER)
    assert await analyzing.task_images() == ["b"]
    assert (await analyzing.states())["1-1"] == "ANALYZED"
    await analyzing.check()


# -- leases


async def test_a_task_is_leased_to_one_worker_at_a_time(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    first = await analyzing.lease(analyzing.worker("one"), limit=1)
    second = await analyzing.lease(analyzing.worker("two"))
    assert sorted(images(first.tasks) + images(second.tasks)) == ["a", "b"]
    assert not (await analyzing.lease(analyzing.worker("three"))).tasks


async def test_a_late_result_is_stale_and_not_stored(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    (late,) = (await analyzing.lease(analyzing.worker("one"), limit=1)).tasks
    await analyzing.expire_leases()
    (current,) = (await analyzing.lease(analyzing.worker("two"), limit=1)).tasks
    assert current.image_url == late.image_url
    assert await analyzing.submit(late, result("0.1")) is TaskOutcome.STALE
    assert not await analyzing.world.rows("SELECT 1 FROM analysis_result")
    assert await analyzing.submit(current, result("0.9")) is TaskOutcome.STORED
    (row,) = await analyzing.world.rows("SELECT quality_score FROM analysis_result")
    assert str(row["quality_score"]) == "0.9"


async def test_a_lease_of_an_earlier_task_for_the_image_is_stale(analyzing: Analyzing) -> None:
    """The task of a requeued image begins with the same epoch: its position tells the two apart."""
    await analyzing.switch(ANALYZER)
    first = by_image((await analyzing.lease()).tasks)["a"]
    await analyzing.submit(first)
    await analyzing.requeue(image_hashes=(first.lease.image.image_hash,))
    second = by_image((await analyzing.lease(analyzing.worker("two"))).tasks)["a"]
    assert second.lease.epoch == first.lease.epoch
    assert await analyzing.submit(first, TaskFailure(reason="LATE", message="")) is TaskOutcome.STALE
    assert await analyzing.submit(second) is TaskOutcome.STORED


async def test_an_expired_lease_that_nobody_took_may_still_submit(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    (task, *_) = (await analyzing.lease()).tasks
    await analyzing.expire_leases()
    assert await analyzing.submit(task) is TaskOutcome.STORED


async def test_a_repeated_submission_is_answered_with_stored(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    (task, *_) = (await analyzing.lease()).tasks
    assert [await analyzing.submit(task) for _ in range(2)] == [TaskOutcome.STORED, TaskOutcome.STORED]
    await analyzing.check()


async def test_extended_leases_last_longer_and_lost_ones_are_named(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    tasks = by_image((await analyzing.lease(analyzing.worker("one"))).tasks)
    await analyzing.submit(tasks["a"])
    leases = [tasks["a"].lease, tasks["b"].lease]
    extended = await analyzing.tasks.extend("one", leases, timedelta(minutes=10))
    assert list(extended) == [tasks["b"].lease]
    assert extended[tasks["b"].lease] > tasks["b"].expires_at
    assert await analyzing.tasks.extend("two", leases, timedelta(minutes=10)) == {}


async def test_an_expired_lease_is_not_extended_since_its_slot_may_be_taken(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    worker = analyzing.worker(max_in_flight=1)
    (expired,) = (await analyzing.lease(worker)).tasks
    await analyzing.expire_leases()
    assert len((await analyzing.lease(worker)).tasks) == 1
    assert await analyzing.tasks.extend(worker.worker_id, [expired.lease], timedelta(minutes=1)) == {}


async def test_an_ended_lease_counts_as_no_attempt_and_its_task_is_leased_again(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    tasks = (await analyzing.lease(analyzing.worker("one"))).tasks
    await analyzing.tasks.extend("one", [task.lease for task in tasks], timedelta())
    assert await analyzing.submit(tasks[0]) is TaskOutcome.STALE
    again = (await analyzing.lease(analyzing.worker("two"))).tasks
    assert [task.attempt for task in again] == [1, 1]


async def test_a_worker_holds_no_more_tasks_than_it_has_slots(world: CatalogWorld) -> None:
    """Also when its streams on several replicas lease at the same time."""
    analyzing = Analyzing(world)
    await analyzing.sync(*(pictured(f"{n}", f"{n}") for n in range(40)))
    await analyzing.switch(ANALYZER)
    worker = analyzing.worker(max_in_flight=4)
    pages = await asyncio.gather(*(analyzing.lease(worker, limit=4) for _ in range(20)))
    leased = [task for page in pages for task in page.tasks]
    assert len(leased) == 4
    assert (await analyzing.lease(worker)).is_full
    await analyzing.submit(leased[0])
    assert len((await analyzing.lease(worker)).tasks) == 1


# -- failures


async def test_a_failed_task_is_retried_and_dead_after_five_attempts(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    outcomes: list[TaskOutcome] = []
    for _ in range(5):
        task = by_image((await analyzing.lease()).tasks)["b"]
        outcomes.append(await analyzing.submit(task, BROKEN))
        assert not by_image((await analyzing.lease()).tasks).get("b")
        await analyzing.expire_leases()
    assert outcomes == [*[TaskOutcome.RETRY] * 4, TaskOutcome.DEAD]
    assert (await analyzing.states())["2-1"] == "FAILED"
    (dead,) = await analyzing.analyses.dead(await analyzing.shop(), "", after=None, limit=10)
    assert (dead.failure, dead.attempt_count, dead.item_id) == (BROKEN, 5, "2-1")
    await analyzing.check()


async def test_a_permanent_failure_needs_no_further_attempt(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    task = by_image((await analyzing.lease()).tasks)["b"]
    assert await analyzing.submit(task, GONE) is TaskOutcome.DEAD
    await analyzing.check()


async def test_a_task_whose_leases_all_expire_is_dead(analyzing: Analyzing) -> None:
    """A worker that dies of an image does not take all others down with it."""
    await analyzing.switch(ANALYZER)
    for _ in range(5):
        assert len((await analyzing.lease()).tasks) == 2
        await analyzing.expire_leases()
    page = await analyzing.lease()
    assert (page.tasks, page.has_exhausted) == ((), True)
    assert await analyzing.tasks.mark_dead((await analyzing.shop()).shop_id, ANALYZER) == 2
    assert await analyzing.task_images(dead=True) == ["a", "b"]
    await analyzing.check()


async def test_dead_tasks_are_queued_again(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    for task in (await analyzing.lease()).tasks:
        await analyzing.submit(task, GONE)
    assert await analyzing.requeue(dead=True) == 2
    await analyzing.check()
    assert [task.attempt for task in (await analyzing.lease()).tasks] == [1, 1]


async def test_results_of_another_model_are_queued_again_and_stay_until_replaced(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    tasks = by_image((await analyzing.lease()).tasks)
    await analyzing.submit(tasks["a"], result(model_version="1"))
    await analyzing.submit(tasks["b"], result(model_version="2"))
    assert await analyzing.requeue(other_than_model_version="2") == 1
    assert await analyzing.task_images() == ["a"]
    item = await analyzing.world.items.get(await analyzing.shop(), "1-1")
    assert item is not None
    assert item.analysis is not None
    assert item.analysis.state is AnalysisState.PENDING
    assert [summary.model_version for summary in item.analysis.results] == ["1"]
    await analyzing.check()


@pytest.mark.parametrize("which", [{"other_than_model_version": "2"}, {"image_hashes": "all"}])
async def test_the_result_of_an_image_that_no_item_has_is_not_queued_again(
    analyzing: Analyzing, which: dict[str, Any]
) -> None:
    await analyzing.sync(pictured("p1", "a"), pictured("p2", "b"))
    await analyzing.switch(ANALYZER)
    leased = (await analyzing.lease()).tasks
    for task in leased:
        await analyzing.submit(task)
    await analyzing.sync(pictured("p1", "a"), pictured("p2", "c"))
    if which.get("image_hashes"):
        which = {"image_hashes": [task.lease.image.image_hash for task in leased]}
    assert await analyzing.requeue(**which) == 1
    assert await analyzing.task_images() == ["a", "c"]


async def test_an_analyzer_that_is_off_cannot_be_queued(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    with pytest.raises(AnalyzerNotEnabled):
        await analyzing.requeue(OTHER_ANALYZER, dead=True)


async def test_the_task_of_an_image_that_no_item_has_any_more_is_not_leased(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    await analyzing.sync(pictured("1", "a", "a", ""), pictured("2", "c"))
    page = await analyzing.lease()
    assert sorted(images(page.tasks)) == ["a", "c"]
    await analyzing.tasks.drop_unused("worker", page.unused)
    assert await analyzing.task_images() == ["a", "c"]
    await analyzing.check()


async def test_a_task_whose_image_an_item_gets_meanwhile_is_not_dropped(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    await analyzing.sync(pictured("1", "a", "a", ""), pictured("2", "c"))
    page = await analyzing.lease()
    await analyzing.sync(pictured("1", "a", "a", ""), pictured("2", "b"))
    await analyzing.tasks.drop_unused("worker", page.unused)
    assert images((await analyzing.lease(analyzing.worker("other"))).tasks) == ["b"]
    await analyzing.check()


async def test_deletions_are_counted(analyzing: Analyzing) -> None:
    await analyzing.switch(ANALYZER)
    await analyzing.submit(by_image((await analyzing.lease()).tasks)["a"])
    await analyzing.sync(pictured("1", "a"))
    await analyzing.check()
    assert await analyzing.counts() == (0, 1, 0)


@pytest.mark.parametrize("seed", range(6))
async def test_states_counters_and_queue_agree_with_the_rows_after_random_operations(
    world: CatalogWorld, seed: int
) -> None:
    choose = random.Random(seed)
    analyzing = Analyzing(world)

    def products() -> list[object]:
        return [
            pictured(f"{n}", *(choose.choice("abcde ").strip() for _ in range(choose.randint(1, 3))))
            for n in choose.sample(range(6), choose.randint(3, 6))
        ]

    await analyzing.sync(*products())  # type: ignore[arg-type]
    held: list[object] = []
    for _ in range(25):
        match choose.randint(0, 6):
            case 0:
                await analyzing.sync(*products())  # type: ignore[arg-type]
            case 1:
                some = [name for name in (ANALYZER, OTHER_ANALYZER) if choose.random() < 0.7]
                await analyzing.switch(*some)
            case 2 | 3:
                worker = analyzing.worker(analyzer=choose.choice((ANALYZER, OTHER_ANALYZER)))
                page = await analyzing.lease(worker, limit=choose.randint(1, 4))
                held.extend(page.tasks)
                if page.unused:
                    await analyzing.tasks.drop_unused(worker.worker_id, page.unused)
                if page.has_exhausted:
                    await analyzing.tasks.mark_dead((await analyzing.shop()).shop_id, worker.analyzer)
            case 4 | 5 if held:
                task = held.pop(choose.randrange(len(held)))
                await analyzing.submit(task, choose.choice((result(), BROKEN, GONE)))  # type: ignore[arg-type]
            case _:
                await analyzing.expire_leases()
        await analyzing.check()


async def _positions(analyzing: Analyzing) -> dict[str, int]:
    rows = await analyzing.world.rows("SELECT item_id, feed_position FROM item")
    return {row["item_id"]: row["feed_position"] for row in rows}
