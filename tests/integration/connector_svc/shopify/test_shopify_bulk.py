"""Passes by bulk operations deliver the same products as pages, whatever happens to the job."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector_svc.domain.errors import CheckpointInvalid
from connector_svc.domain.fetch import WaitReason
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from devstore.shopify.quirks import BulkSwitches
from devstore.spec import Plan, VariantRange
from tests.contract.platforms.passes import Pass
from tests.integration.connector_svc.shopify.bulk_shop import DOMAIN, FAST_POLICY, SHOP, BulkShop, bulk_shop
from tests.waiting import until

InjectFault = Callable[[BulkSwitches], None]


@pytest.fixture
async def shop() -> AsyncIterator[BulkShop]:
    async with bulk_shop() as running:
        yield running


def assert_same(found: Pass, expected: Pass) -> None:
    assert [product.id for product in found.products] == [product.id for product in expected.products]
    assert found.products == expected.products
    assert found.issues == expected.issues
    assert dataclasses.replace(found.end, notes=()) == expected.end


async def test_a_bulk_pass_delivers_exactly_what_pages_deliver(shop: BulkShop) -> None:
    found, paged = await shop.fetch(), await shop.paged()
    assert (found.header.strategy == "bulk") != (paged.header.strategy == "bulk")
    assert_same(found, paged)
    assert {len(product.variants) for product in found.products} >= {600, 250, 100}
    assert any(variant.image for product in found.products for variant in product.variants)
    assert found.end.emitted_count == 40


@pytest.mark.parametrize("seed", range(5))
async def test_children_far_from_their_parents_are_joined_to_the_right_one(shop: BulkShop, seed: int) -> None:
    shop.jobs.switches.seed = seed
    found = await shop.fetch()
    assert_same(found, await shop.paged())
    assert shop.call_count("SingleProduct") == 1, "only the pages had to read again: 600 variants"


async def test_rows_directly_after_their_parents_are_joined_too(shop: BulkShop) -> None:
    shop.jobs.switches.adjacent = True
    assert_same(await shop.fetch(), await shop.paged())


async def test_a_job_that_did_not_deliver_everything_is_noted_at_the_end(shop: BulkShop) -> None:
    assert (await shop.fetch()).end.notes == ()
    shop.jobs.switches.fails = "INTERNAL_SERVER_ERROR"
    begun = await shop.fetch(batch=5, batches=3)
    rest = await shop.fetch(checkpoint=begun.batches[-1].checkpoint)
    [note] = rest.end.notes
    assert "FAILED (INTERNAL_SERVER_ERROR)" in note
    assert "read by pages" in note


async def test_a_job_whose_start_was_not_answered_is_found_by_its_marker(shop: BulkShop) -> None:
    shop.store.add_fault(
        DOMAIN, ScriptedFault(kind=FaultKind.TRUNCATED, matcher=RequestMatcher(where="RunBulk", times=1))
    )
    found = await shop.fetch()
    assert found.header.strategy == "bulk"
    assert found.end.emitted_count == 40
    assert len(shop.jobs.jobs) == 1


async def test_the_job_is_in_a_checkpoint_before_it_is_polled(shop: BulkShop) -> None:
    begun = await shop.fetch(batches=1)
    assert begun.batches[0].products == ()
    assert next(iter(shop.jobs.jobs)).encode() in begun.batches[0].checkpoint
    assert shop.call_count("BulkJob") == 0


async def test_a_pass_resumed_from_any_checkpoint_delivers_the_same_rest_by_the_same_job(
    shop: BulkShop,
) -> None:
    whole = await shop.fetch(batch=7)
    for index, batch in enumerate(whole.batches):
        rest = await shop.fetch(batch=7, checkpoint=batch.checkpoint)
        assert rest.products == [product for later in whole.batches[index + 1 :] for product in later.products]
        assert rest.end == whole.end
        assert rest.header.resumed
        assert rest.header.watermark == whole.header.watermark
    assert len(shop.jobs.jobs) == 1


async def test_a_pass_resumed_while_its_job_runs_waits_for_that_job(shop: BulkShop) -> None:
    shop.jobs.switches.seconds = 0.6
    begun = await shop.fetch(batches=1)
    rest = await shop.fetch(checkpoint=begun.batches[0].checkpoint)
    assert len(shop.jobs.jobs) == 1
    assert rest.header.strategy == "bulk"
    assert rest.products == (await shop.paged()).products


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("lost", ["expired", "cancelled", "forgotten"])
async def test_when_the_job_is_lost_pages_continue_after_the_last_stored_product(
    shop: BulkShop, lost: str, stored: int
) -> None:
    begun = await shop.fetch(batch=10, batches=stored)
    [job] = shop.jobs.jobs.values()
    if lost == "expired":
        shop.jobs.expire()
    elif lost == "cancelled":
        job.cancel()
    else:
        shop.jobs.jobs.clear()
    rest = await shop.fetch(batch=10, checkpoint=begun.batches[-1].checkpoint)
    paged = await shop.paged()
    assert begun.products + rest.products == paged.products
    assert dataclasses.replace(rest.end, notes=()) == paged.end
    assert len(rest.end.notes) == 1
    assert len(rest.products) == 40 - 10 * (stored - 1)


async def test_a_pass_that_has_given_up_its_job_never_returns_to_it(shop: BulkShop) -> None:
    shop.jobs.switches.fails = "TIMEOUT"
    whole = await shop.fetch(batch=10)
    polls = shop.call_count("BulkJob")
    rest = await shop.fetch(batch=10, checkpoint=whole.batches[-2].checkpoint)
    assert rest.header.strategy != "bulk"
    assert shop.call_count("BulkJob") == polls
    assert len(shop.jobs.jobs) == 1


JOB_FAULTS: dict[str, InjectFault] = {
    "it stalls": lambda switches: setattr(switches, "stalls", True),
    "its file ends within a row": lambda switches: setattr(switches, "short_files", True),
    "products are missing from its file": lambda switches: setattr(switches, "loses_every", 7),
    "it fails": lambda switches: setattr(switches, "fails", "INTERNAL_SERVER_ERROR"),
    "it is refused": lambda switches: setattr(switches, "refuses", "LIMIT_REACHED"),
    "its file lies on a host that is not Shopify's": lambda switches: setattr(
        switches, "files_url", "https://storage.googleapis.com.evil.example"
    ),
}


@pytest.mark.parametrize("case", JOB_FAULTS)
async def test_a_job_that_delivers_less_than_everything_is_replaced_by_pages(
    shop: BulkShop, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    JOB_FAULTS[case](shop.jobs.switches)
    with caplog.at_level(logging.INFO, logger="connector_svc.platforms.shopify"):
        found = await shop.fetch()
    assert_same(found, await shop.paged())
    assert any("pages" in record.getMessage() for record in caplog.records)
    assert found.end.warnings == ()


async def test_of_a_failed_job_only_provably_complete_products_are_delivered(shop: BulkShop) -> None:
    shop.jobs.switches.adjacent = True
    for product in shop.catalog.products():
        shop.catalog.update_product(product.id, images=())
        for variant in product.variants[:1]:
            shop.catalog.update_variant(variant.id, image_id=None)
    shop.jobs.switches.fails = "TIMEOUT"
    found = await shop.fetch(batch=5)
    by_job = [batch for batch in found.batches if b'"job":"gid' in batch.checkpoint and batch.products]
    assert by_job, "products without images need no page"
    assert_same(found, await shop.paged())


async def test_a_failed_job_whose_first_product_is_not_provably_complete_delivers_nothing(shop: BulkShop) -> None:
    first = next(shop.catalog.products())
    shop.catalog.update_variant(first.variants[0].id, image_id=None)
    assert first.images, "a file that ended early does not show whether its variant has one of them"
    shop.jobs.switches.fails = "TIMEOUT"
    found = await shop.fetch()
    assert not [batch for batch in found.batches if b'"job":"gid' in batch.checkpoint and batch.products]
    assert_same(found, await shop.paged())


async def test_variants_that_a_job_silently_omits_are_read_alone(shop: BulkShop) -> None:
    shop.jobs.switches.nested_limit = 100
    found = await shop.fetch()
    assert shop.call_count("SingleProduct") == 2, "the products of 600 and of 250 variants"
    assert_same(found, await shop.paged())
    assert all(product.variants_complete for product in found.products)


async def test_a_stalled_job_of_ours_is_cancelled_and_others_are_left_alone(shop: BulkShop) -> None:
    [other] = shop.jobs.start_others(1)
    shop.jobs.switches.stalls = True
    await shop.fetch()
    assert [job.status for job in shop.jobs.jobs.values()] == ["RUNNING", "CANCELED"]
    assert other.cancelled_at is None


async def test_when_five_jobs_run_already_pages_are_read_and_the_header_says_why(shop: BulkShop) -> None:
    shop.jobs.start_others(5)
    found = await shop.fetch()
    assert found.header.strategy != "bulk"
    assert "OPERATION_IN_PROGRESS" in found.header.strategy_reason
    assert all(job.cancelled_at is None for job in shop.jobs.jobs.values())
    assert_same(found, await shop.paged())


async def test_progress_of_the_job_is_reported_in_products(shop: BulkShop) -> None:
    shop.jobs.switches.seconds, shop.jobs.switches.counts_lag = 4.0, 3
    found = await shop.fetch()
    waits = [wait for wait in found.waits if wait.reason is WaitReason.PLATFORM_JOB]
    done = [wait.done_count or 0 for wait in waits]
    assert {wait.total_count for wait in waits} == {40}
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert any("RUNNING" in wait.message for wait in waits)


async def test_a_broken_download_is_continued_where_it_broke(shop: BulkShop) -> None:
    shop.jobs.switches.cut_files = 2
    found = await shop.fetch()
    assert shop.jobs.downloads == 3
    assert {wait.reason for wait in found.waits} >= {WaitReason.SOURCE_UNREACHABLE}
    assert shop.call_count("ProductPage") == 1, "for new products after the last one"
    assert_same(found, await shop.paged())


async def test_a_file_host_without_range_requests_is_read_to_the_end(shop: BulkShop) -> None:
    shop.jobs.switches.cut_files, shop.jobs.switches.whole_files = 1, True
    found = await shop.fetch()
    assert shop.jobs.downloads == 2
    assert shop.call_count("ProductPage") == 1, "the file was read to its end"
    assert_same(found, await shop.paged())


async def test_the_result_is_read_from_shopifys_file_host_without_sending_the_token() -> None:
    async with bulk_shop(20, edge_cases=False, files_host="storage.googleapis.com") as shop:
        shop.jobs.switches.files_url = "https://storage.googleapis.com"
        found = await shop.fetch()
        assert (shop.jobs.downloads, shop.jobs.tokens_seen) == (1, 0)
        assert shop.call_count("ProductPage") == 1
        assert_same(found, await shop.paged())


async def test_products_created_while_the_job_ran_are_delivered_after_its_last_one(shop: BulkShop) -> None:
    begun = await shop.fetch(batches=1)
    await until(lambda: not shop.jobs.active)
    new = shop.catalog.add_product()
    rest = await shop.fetch(checkpoint=begun.batches[0].checkpoint)
    assert rest.products[-1].id == str(new.id)
    # It may have been created in the same second in which the pass began.
    assert 40 <= rest.end.source_count <= rest.end.emitted_count == 41


async def test_an_empty_shop_is_complete() -> None:
    async with bulk_shop(0, policy=replace(FAST_POLICY, min_products=0)) as shop:
        found = await shop.fetch()
    assert (found.header.strategy, found.products, found.end.source_count) == ("bulk", [], 0)


async def test_a_small_shop_and_an_incremental_pass_are_read_by_pages_and_the_header_says_why() -> None:
    async with bulk_shop(10, edge_cases=False, policy=BulkPolicy()) as shop:
        small = await shop.fetch()
    assert small.header.strategy != "bulk"
    assert "10 products" in small.header.strategy_reason
    async with bulk_shop(10, edge_cases=False) as shop:
        changed = await shop.fetch(after=datetime.now(UTC) - timedelta(days=1))
    assert changed.header.strategy != "bulk"
    assert "what changed" in changed.header.strategy_reason


async def test_a_plan_with_many_points_reads_pages_where_others_run_a_job() -> None:
    one = VariantRange(least=1, most=1)
    policy = replace(FAST_POLICY, min_products=20, min_products_when_fast=100)
    for plan, is_bulk in ((Plan.STANDARD, True), (Plan.ADVANCED, True), (Plan.PLUS, False)):
        async with bulk_shop(30, edge_cases=False, variants=one, policy=policy, plan=plan) as shop:
            assert ((await shop.fetch(batches=1)).header.strategy == "bulk") is is_bulk, plan


async def test_cancel_job_cancels_the_job_of_the_checkpoint_and_no_other(shop: BulkShop) -> None:
    [other] = shop.jobs.start_others(1)
    shop.jobs.switches.seconds, shop.jobs.switches.cancel_seconds = 30.0, 0.1
    begun = await shop.fetch(batches=1)
    assert await shop.platform.cancel_job(SHOP, begun.batches[0].checkpoint)
    assert [job.status for job in shop.jobs.jobs.values()] == ["RUNNING", "CANCELED"]
    assert other.cancelled_at is None
    assert not await shop.platform.cancel_job(SHOP, begun.batches[0].checkpoint), "it has ended"
    rest = await shop.fetch(checkpoint=begun.batches[0].checkpoint)
    assert rest.products == (await shop.paged()).products


async def test_cancel_job_does_nothing_without_a_running_job(shop: BulkShop) -> None:
    whole = await shop.fetch()
    assert not await shop.platform.cancel_job(SHOP, whole.batches[0].checkpoint)
    assert not await shop.platform.cancel_job(SHOP, whole.batches[-1].checkpoint)
    assert not await shop.platform.cancel_job(SHOP, (await shop.paged()).batches[0].checkpoint)
    with pytest.raises(CheckpointInvalid):
        await shop.platform.cancel_job(SHOP, b"x")


async def test_a_pass_that_is_closed_leaves_its_job_running(shop: BulkShop) -> None:
    shop.jobs.switches.seconds = 30.0
    await shop.fetch(batches=1)
    [job] = shop.jobs.jobs.values()
    assert job.cancelled_at is None


async def test_no_url_of_a_result_is_logged(shop: BulkShop, caplog: pytest.LogCaptureFixture) -> None:
    shop.jobs.switches.short_files = True
    with caplog.at_level(logging.DEBUG):
        await shop.fetch()
    [job] = shop.jobs.jobs.values()
    ours = [record for record in caplog.records if record.name.startswith("connector_svc")]
    assert ours
    assert not [record for record in ours if job.token[::-1] in record.getMessage() + repr(record.__dict__)]
