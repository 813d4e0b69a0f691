"""The page never says more than is true: each complaint of other products' users is a script, and a rule.

The numbers are of issues of airbytehq/airbyte.
"""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import Failure
from google.rpc import error_details_pb2, status_pb2
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.scripted_catalog import from_now, progress
from tests.browser.scripted_system import ScriptedSystem, bar, record_values, recorded_values
from tests.fakes.catalog_service import FailureWithReason, timestamp
from tests.waiting import until

RUNNING, SUCCEEDED, FAILED = pb.Sync.STATE_RUNNING, pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED


async def test_progress_is_shown_long_before_the_end(scripted: ScriptedSystem) -> None:
    """#37669: progress was shown only at the end."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=0, total=5000)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    # From here on only the stream delivers changes.
    await page.route("**/status", lambda route: route.abort())
    for items, percent in ((1200, 24), (1250, 25), (3600, 72)):
        await scripted.catalog.change(sync.sync_id, progress=progress(items, 5000))
        await expect(bar(page)).to_have_attribute("aria-valuenow", str(percent))
        await expect(bar(page)).to_have_attribute("aria-valuetext", f"{items:,} of 5,000 items")
    await expect(panel(page)).to_contain_text("3,600 of 5,000 items")


async def test_a_sync_that_found_nothing_says_that_nothing_changed(scripted: ScriptedSystem) -> None:
    """#1827: "0 records" looked like a failure."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(
        shop, mode=pb.Sync.MODE_INCREMENTAL, changes_since_time=timestamp(1_780_000_000)
    )
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(panel(page)).to_contain_text("Running")
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED, progress=pb.Progress(checked_product_count=800))
    await expect(panel(page)).to_contain_text("Nothing changed since May 28, 2026")
    await expect(panel(page)).to_contain_text("800 products checked.")
    await expect(panel(page)).to_contain_text("Succeeded")


async def test_a_finished_sync_is_shown_as_finished_at_once(scripted: ScriptedSystem) -> None:
    """#86373: what had finished said "Syncing" until something else had ended."""
    one, other = scripted.catalog.add_shop(), scripted.catalog.add_shop("two.myshopify.com", name="Second Shop")
    sync = scripted.catalog.add_running(one, items=10, total=10)
    scripted.catalog.add_running(other, items=10, total=1000)
    page = await scripted.open()
    card = page.get_by_role("article").filter(has_text="Demo Shop")
    await expect(card.get_by_role("progressbar")).to_be_visible()
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED)
    await expect(card.get_by_role("progressbar")).to_have_count(0)
    await expect(page.get_by_role("article").filter(has_text="Second Shop")).to_contain_text("Running")


async def test_no_error_is_shown_while_the_sync_retries(scripted: ScriptedSystem) -> None:
    """#26642, #33820: an error was shown although a retry was running."""
    shop = scripted.catalog.add_shop()
    scripted.catalog.connect(
        shop,
        state=pb.ConnectionHealth.STATE_FAILING,
        reason="ERROR_REASON_SOURCE_UNREACHABLE",
        message="timed out",
    )
    scripted.catalog.add_sync(shop, state=FAILED, error=failure("SOURCE_UNREACHABLE", "the shop timed out"))
    waiting = pb.Waiting(
        reason=pb.Waiting.REASON_SOURCE_UNREACHABLE, message="HTTP 503", resume_time=from_now(5 * 3600)
    )
    scripted.catalog.add_running(shop, items=40, total=100, waiting=waiting)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(panel(page)).to_contain_text("The shop does not answer; it is tried again. Continues in 5 h.")
    await expect(page.get_by_text("could not be reached")).to_have_count(1)  # In the list of the last syncs.
    await expect(panel(page).get_by_text("could not be reached")).to_have_count(0)
    await page.goto(f"{scripted.bff.url}/#/")
    card = page.get_by_role("article")
    await expect(card).to_contain_text("Waiting")
    await expect(card).not_to_contain_text("failed")
    await expect(card).not_to_contain_text("could not be reached")


@pytest.mark.parametrize(("items", "total"), [(100, 100), (99, 100), (100_000, 100_000)])
async def test_nothing_looks_complete_before_the_sync_has_succeeded(
    scripted: ScriptedSystem, items: int, total: int
) -> None:
    """#3723: a green tick before the success."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=items, total=total)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "99")
    await expect(bar(page)).not_to_have_class("progress-done")
    await expect(page.locator(".pill-good")).to_have_count(0)
    await expect(page.get_by_text("100 %")).to_have_count(0)
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED)
    await expect(panel(page).locator(".pill-good")).to_have_text("Succeeded")


async def test_nothing_runs_after_the_failure(scripted: ScriptedSystem) -> None:
    """#7806: "Running" long after the sync had failed."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=40, total=100)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(page.get_by_text("Running")).not_to_have_count(0)
    error = failure("SOURCE_UNAUTHORIZED", "HTTP 401")
    scripted.catalog.connect(
        shop, state=pb.ConnectionHealth.STATE_BROKEN, reason="ERROR_REASON_SOURCE_UNAUTHORIZED", message="HTTP 401"
    )
    await scripted.catalog.change(sync.sync_id, state=FAILED, error=error)
    await expect(page.get_by_text("Running")).to_have_count(0)
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    await expect(panel(page)).to_contain_text("The shop no longer accepts our access.")
    await expect(panel(page)).to_contain_text("Connect the shop again")
    await expect(page.get_by_text("Needs attention")).to_be_visible()


async def test_a_total_that_was_exceeded_is_not_used(scripted: ScriptedSystem) -> None:
    """A percentage of a wrong total is wrong."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=90, total=100)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "90")
    await scripted.catalog.change(sync.sync_id, progress=progress(130, 100))
    await expect(bar(page)).to_have_attribute("aria-valuetext", "130 items so far")
    assert await bar(page).get_attribute("aria-valuenow") is None
    await expect(panel(page)).not_to_contain_text("of 100")
    await expect(page.locator(".sync-percent")).not_to_contain_text("%")


async def test_a_sync_that_has_succeeded_is_complete(scripted: ScriptedSystem) -> None:
    """A success at 98 %, since records were rejected or the estimate was too high, is a success."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=98, total=100)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "98")
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "100")
    await expect(page.get_by_text("98 %")).to_have_count(0)


async def test_counts_never_go_backwards(scripted: ScriptedSystem) -> None:
    """An answer that was read before the last event must not replace what the event has brought."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=10, total=1000)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "1")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    old = await page.request.get(f"{scripted.bff.url}/api/v1/catalog/shops/{shop.shop_id}/status")
    late_answers: list[str] = []

    async def answer_late(route: Route) -> None:
        await route.fulfill(response=old)
        late_answers.append(route.request.url)

    await page.route("**/status", answer_late)
    await record_values(page)
    await scripted.catalog.change(sync.sync_id, progress=progress(900, 1000))
    await expect(bar(page)).to_have_attribute("aria-valuenow", "90")
    received = len(late_answers)
    await until(lambda: len(late_answers) >= received + 2)
    await scripted.catalog.change(sync.sync_id, state=SUCCEEDED)
    await expect(bar(page)).to_have_attribute("aria-valuenow", "100")
    await until(lambda: len(late_answers) >= received + 3)
    await expect(panel(page)).to_contain_text("Succeeded")
    values = await recorded_values(page)
    assert values == sorted(values)


async def test_a_queued_sync_says_how_many_are_ahead(scripted: ScriptedSystem) -> None:
    """A sync that waits for its turn is not silent, and not running."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_sync(shop, queue_position=3)
    page = await scripted.open(f"shops/{shop.shop_id}")
    await expect(panel(page)).to_contain_text("Queued: 3 syncs are ahead")
    await scripted.catalog.move_in_queue(sync.sync_id, 0)
    await expect(panel(page)).to_contain_text("Queued: it is next")
    await expect(page.get_by_text("Running")).to_have_count(0)


async def test_a_cancelled_sync_says_what_stays(scripted: ScriptedSystem) -> None:
    """What was stored before the end is not lost, and can be continued."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_running(shop, items=40, total=100)
    await scripted.catalog.change(sync.sync_id, progress=progress(40, 100, created=40))
    page = await scripted.open(f"shops/{shop.shop_id}")
    await panel(page).get_by_role("button", name="Cancel").click()
    await expect(panel(page)).to_contain_text("Cancelled")
    await expect(panel(page)).to_contain_text(
        "40 products were read before it ended: 40 products new. What was stored stays."
    )
    await panel(page).get_by_role("button", name="Resume").click()
    await expect(panel(page)).to_contain_text("Queued")
    await until(lambda: len(scripted.catalog.syncs) == 2)


async def test_an_action_that_failed_says_so(scripted: ScriptedSystem) -> None:
    """A button that did nothing must not look as if it had."""
    shop = scripted.catalog.add_shop()
    scripted.catalog.add_sync(shop, state=SUCCEEDED)
    refused: Failure = FailureWithReason("RATE_LIMITED", "too many calls")
    scripted.catalog.errors["StartSync"] = [refused] * 10
    page = await scripted.open(f"shops/{shop.shop_id}")
    await panel(page).get_by_role("button", name="Sync now").click()
    await expect(panel(page)).to_contain_text("Too many requests.")
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")


def panel(page: Page) -> Locator:
    """Return the card with the shop's sync."""
    return page.get_by_role("region", name="Sync", exact=True)


def failure(reason: str, message: str) -> status_pb2.Status:
    """Return the error of a failed sync."""
    status = status_pb2.Status(code=9, message=f"{reason}: {message}")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="catalogsync"))
    return status
