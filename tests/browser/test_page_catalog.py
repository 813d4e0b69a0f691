"""The catalog, an item and the settings of a shop, as the page shows them."""

from __future__ import annotations

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.types.v1 import product_pb2
from google.rpc import error_details_pb2, status_pb2
from playwright.async_api import Locator, Page, expect

from tests.browser.demo_shops import add_demo_shops
from tests.browser.scripted_system import ScriptedSystem
from tests.fakes.catalog_service import FailureWithReason
from tests.waiting import until


async def test_a_price_has_every_digit_that_the_shop_has_stored(scripted: ScriptedSystem) -> None:
    """An amount is a decimal string and never becomes a float: a long one would be rounded."""
    shop = scripted.catalog.add_shop()
    amounts = {
        "9007199254740993.12": ("USD", "$9,007,199,254,740,993.12"),
        "9.995": ("USD", "$9.995"),
        "7": ("USD", "$7.00"),
        "1200": ("JPY", "¥1,200"),
        "0.1000000000000000055": ("EUR", "€0.1000000000000000055"),
        "12.50": ("XXQ9", "12.50 XXQ9"),
    }
    scripted.catalog.add_items(
        shop,
        [
            pb.Item(
                item_id=str(number),
                product_id=str(number),
                product_title=f"Product {number}",
                feed_position=number + 1,
                price=product_pb2.Money(amount=amount, currency_code=currency),
            )
            for number, (amount, (currency, _)) in enumerate(amounts.items())
        ],
    )
    page = await scripted.open(f"shops/{shop.shop_id}/catalog")
    await expect(page.locator(".item-price")).to_have_text([shown for _, shown in amounts.values()])


async def test_items_are_searched_and_deleted_ones_shown_on_request(scripted: ScriptedSystem) -> None:
    """The filters are in the address, so that Back goes to the search before."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/catalog")
    await expect(page.get_by_role("article")).to_have_count(7)
    await page.get_by_label("With deleted ones").check()
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_role("article")).to_have_count(8)
    await expect(page.get_by_role("article").filter(has_text="Leather Belt")).to_contain_text("Deleted")
    await page.get_by_label("SKU").fill("LO-1002")
    await page.get_by_label("SKU").press("Enter")
    await expect(page.get_by_role("article")).to_have_count(1)
    await page.go_back()
    await expect(page.get_by_role("article")).to_have_count(8)
    await expect(page.get_by_label("SKU")).to_have_value("")
    await page.get_by_label("Name").fill("li")
    await page.get_by_label("Name").press("Enter")
    await expect(page.get_by_text("Enter at least 3 characters.")).to_be_visible()


async def test_pages_of_items_follow_each_other(scripted: ScriptedSystem) -> None:
    """Forward by the links, and back by the browser."""
    shop = scripted.catalog.add_shop()
    scripted.catalog.add_items(
        shop,
        [
            pb.Item(item_id=f"{n:03}", product_id="1", product_title=f"Number {n:03}", feed_position=n + 1)
            for n in range(100)
        ],
    )
    page = await scripted.open(f"shops/{shop.shop_id}/catalog")
    await expect(page.get_by_role("article")).to_have_count(48)
    await page.get_by_role("link", name="Next page").click()
    await expect(page.get_by_role("link", name="Number 048")).to_be_visible()
    await page.get_by_role("link", name="Next page").click()
    await expect(page.get_by_role("article")).to_have_count(4)
    await page.go_back()
    await expect(page.get_by_role("link", name="Number 048")).to_be_visible()
    await page.get_by_role("link", name="First page").click()
    await expect(page.get_by_role("link", name="Number 000")).to_be_visible()


async def test_a_search_that_is_not_set_up_says_what_to_do(scripted: ScriptedSystem) -> None:
    """Text search is an option of the operator."""
    shops = add_demo_shops(scripted.catalog)
    scripted.catalog.errors["ListItems"] = [FailureWithReason("TEXT_SEARCH_UNAVAILABLE", "CATALOG_TEXT_SEARCH")]
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/catalog?text=linen")
    await expect(page.get_by_text("Search for the exact SKU instead.")).to_be_visible()
    await page.get_by_role("link", name="Show all items").click()
    await expect(page.get_by_role("article")).to_have_count(7)


async def test_html_of_a_shop_is_shown_as_text(scripted: ScriptedSystem) -> None:
    """Titles and descriptions are of strangers: no script, no image, no link of theirs works here."""
    shops = add_demo_shops(scripted.catalog)
    item = scripted.catalog.items["shopify:linen-and-oak.myshopify.com"][0]
    item.product_title = "<img src=x onerror=alert(1)>"
    item.product_url = "javascript:alert(1)"
    product = scripted.catalog.products["shopify:linen-and-oak.myshopify.com"][0]
    product.description_html = "<p>Soft.</p><script>alert(1)</script><img src=https://example.com/x.png>"
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/items/{item.item_id}")
    await expect(page.get_by_role("heading", name="<img src=x onerror=alert(1)>")).to_be_visible()
    await expect(page.get_by_role("region", name="Description")).to_contain_text("Soft.")
    await expect(page.get_by_role("link", name="Open in the shop")).to_have_count(0)


async def test_the_schedule_is_changed(scripted: ScriptedSystem) -> None:
    """The form shows what is stored, and only what was stored."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/settings")
    await page.get_by_label("Paused").check()
    await page.get_by_label("Read changes").select_option(label="Every 15 minutes")
    await page.get_by_label("Read everything and compare").select_option(label="Never")
    await page.get_by_label("Name").fill("Linen and Oak")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Linen and Oak")
    await expect(page.get_by_role("status")).to_have_text("Settings saved.")
    schedule = scripted.catalog.schedules["shopify:linen-and-oak.myshopify.com"]
    assert (schedule.paused, schedule.incremental_interval.seconds, schedule.full_interval.seconds) == (
        True,
        900,
        0,
    )
    await page.reload()
    await expect(page.get_by_label("Paused")).to_be_checked()
    await expect(page.get_by_label("Read changes")).to_have_value("900")


async def test_a_large_deletion_is_allowed_by_a_person_only(scripted: ScriptedSystem) -> None:
    """The question says what happens; "Keep them" and Escape do nothing."""
    shop = scripted.catalog.add_shop()
    sync = scripted.catalog.add_sync(shop, state=pb.Sync.STATE_FAILED)
    sync.error.CopyFrom(mass_delete_blocked())
    page = await scripted.open(f"shops/{shop.shop_id}")
    changes: list[str] = []
    page.on("request", lambda request: changes.append(request.url) if request.method != "GET" else None)
    await page.get_by_role("button", name="Allow the deletion").click()
    await expect(page.get_by_role("dialog")).to_contain_text("may mark 4,000 products as deleted")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Allow the deletion")).to_be_focused()
    assert changes == []
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Start and delete").click()
    await until(lambda: started(scripted) == [True])
    await expect(sync_state(page)).to_have_text("Queued")


def sync_state(page: Page) -> Locator:
    """Return the label with the state of the shop's sync."""
    return page.get_by_role("region", name="Sync", exact=True).locator(".pill")


def mass_delete_blocked() -> status_pb2.Status:
    """Return the error of a sync that the deletion guard has stopped."""
    error = status_pb2.Status(code=9, message="MASS_DELETE_BLOCKED: 4000 of 5000 products would be deleted")
    metadata = {"would_delete": "4000", "deleted": "0", "stored": "5000", "decided_by": "PERSON"}
    info = error_details_pb2.ErrorInfo(reason="MASS_DELETE_BLOCKED", domain="catalogsync", metadata=metadata)
    error.details.add().Pack(info)
    return error


def started(scripted: ScriptedSystem) -> list[bool]:
    """Return allow_mass_delete of each StartSync call."""
    return [request.allow_mass_delete for method, request, _ in scripted.catalog.requests if method == "StartSync"]
