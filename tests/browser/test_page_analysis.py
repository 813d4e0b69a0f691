"""What the page shows of image analysis: scores and why, states, counts; and nothing while no analyzer is on."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect

from tests.browser.demo_shops import DemoShops, add_demo_shops
from tests.browser.scripted_system import ScriptedSystem
from tests.browser.test_page_accessibility import press_until_focused
from tests.fakes.image_analyses import analyzed, failed, pending

HEALTHY = "shopify:linen-and-oak.myshopify.com"
PENDING_ITEM, FAILED_ITEM = 1, 2


def catalog_of(shops: DemoShops) -> str:
    """Return the path of the catalog of the shop that has analyses."""
    return f"shops/{shops.healthy.shop_id}/catalog"


def card(page: Page, name: str) -> Locator:
    """Return an item of the grid."""
    return page.get_by_role("article").filter(has_text=name)


def findings(page: Page) -> Locator:
    """Return the part of an item's view that says what was found in its image."""
    return page.get_by_role("region", name="Image analysis")


def choices(page: Page) -> Locator:
    """Return the filter by state of the analysis."""
    return page.get_by_role("navigation", name="Image analysis")


async def test_each_picture_has_its_score_in_numbers_and_for_screen_readers(scripted: ScriptedSystem) -> None:
    """The lowest one, rounded; a state without a result is a text, and never a score of 0."""
    shops = add_demo_shops(scripted.catalog)
    item = scripted.catalog.items[HEALTHY][4]
    scripted.catalog.analyses.put(item, analyzed("0.9", analyzer="colours"), analyzed("0.234"))
    page = await scripted.open(catalog_of(shops))
    badges = {
        "Linen Shirt": "Image quality 87 of 100, good",
        "Enamel Mug": "Image quality 52 of 100, fair",
        "Wool Blanket": "Image quality 23 of 100, poor",
    }
    for name, text in badges.items():
        await expect(card(page, name).locator(".quality")).to_have_text(text)
    for name, state in (("Merino", "Analysis pending"), ("Canvas", "Analysis failed")):
        await expect(card(page, name)).to_contain_text(state)
        await expect(card(page, name).locator(".quality")).to_have_count(0)
    await expect(card(page, "Oak Cutting Board")).not_to_contain_text("Analysis")


async def test_an_item_shows_why_it_has_its_score(scripted: ScriptedSystem) -> None:
    """What was measured, as the analyzer has sent it: texts as they are, numbers with at most three digits."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(catalog_of(shops))
    await card(page, "Linen Shirt").get_by_role("link").click()
    await expect(findings(page)).to_contain_text("Image quality 87 of 100, good")
    await expect(findings(page)).to_contain_text("Sharp and bright, with little noise.")
    rows = findings(page).get_by_role("row")
    await expect(rows).to_have_text(
        [
            "WhyMeasuredScoreWeight",
            "Resolution1200 x 1200 px10025 %",
            "Sharpness312.5689140 %",
            "White background\N{EN DASH}6035 %",
        ]
    )
    await page.goto(f"{scripted.bff.url}/#/shops/{shops.healthy.shop_id}/products/900")
    await expect(findings(page)).to_contain_text("Sharp and bright, with little noise.")


async def test_a_failure_is_told_in_plain_words(scripted: ScriptedSystem) -> None:
    """With what to do about it; a reason that the page does not know has the text of the analyzer."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/items/4202")
    await expect(findings(page)).to_contain_text("There is no image at its address.")
    await expect(findings(page)).to_contain_text("Upload the image in the shop again.")
    scripted.catalog.analyses.put(
        scripted.catalog.items[HEALTHY][FAILED_ITEM], failed("ODD", "<b>odd</b> colours")
    )
    await page.reload()
    await expect(findings(page)).to_contain_text("<b>odd</b> colours")


async def test_a_failed_attempt_that_is_repeated_is_not_shown_as_a_failure(scripted: ScriptedSystem) -> None:
    """As with syncs: until the last attempt has failed, the page says that it goes on."""
    shops = add_demo_shops(scripted.catalog)
    waiting = pending()
    waiting.failure.reason, waiting.attempt_count = "TIMED_OUT", 2
    scripted.catalog.analyses.put(scripted.catalog.items[HEALTHY][PENDING_ITEM], waiting)
    page = await scripted.open(f"shops/{shops.healthy.shop_id}/items/4201")
    text = "Waiting for the analysis. Attempt 2 failed: The analysis took too long."
    await expect(findings(page)).to_contain_text(text)
    await expect(findings(page).locator(".problem")).to_have_count(0)


async def test_items_are_filtered_by_state(scripted: ScriptedSystem) -> None:
    """Each state is a link with its count; a search begins again with all states: both do not go together."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(catalog_of(shops))
    await expect(choices(page).get_by_role("link")).to_have_text(
        ["All", "Analyzed (4)", "Pending (1)", "Failed (1)", "No image"]
    )
    await choices(page).get_by_role("link", name="Failed").click()
    await expect(page.get_by_role("article")).to_have_count(1)
    await expect(choices(page).get_by_role("link", name="Failed")).to_have_attribute("aria-current", "true")
    await page.reload()
    await expect(card(page, "Canvas Tote")).to_be_visible()
    await choices(page).get_by_role("link", name="No image").click()
    await expect(card(page, "Oak Cutting Board")).to_be_visible()
    await expect(page.get_by_role("article")).to_have_count(1)
    await page.go_back()
    await expect(card(page, "Canvas Tote")).to_be_visible()
    await page.get_by_label("SKU").fill("LO-1000")
    await page.get_by_label("SKU").press("Enter")
    await expect(card(page, "Linen Shirt")).to_be_visible()
    await expect(choices(page).get_by_role("link", name="All")).to_have_attribute("aria-current", "true")


async def test_the_filter_is_used_by_keyboard_alone(scripted: ScriptedSystem) -> None:
    """The focus stays on what was chosen, although the list below is another one."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(catalog_of(shops))
    await expect(choices(page)).to_be_visible()
    await press_until_focused(page, "link", "Pending (1)")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("article")).to_have_count(1)
    await expect(choices(page).get_by_role("link", name="Pending")).to_be_focused()


async def test_a_score_appears_without_a_reload(scripted: ScriptedSystem) -> None:
    """In the grid, and in the view of the item."""
    shops = add_demo_shops(scripted.catalog)
    item = scripted.catalog.items[HEALTHY][PENDING_ITEM]
    context = await scripted.new_context()
    grid = await scripted.open(catalog_of(shops), context=context)
    detail = await scripted.open(f"shops/{shops.healthy.shop_id}/items/{item.item_id}", context=context)
    await expect(card(grid, "Merino")).to_contain_text("Analysis pending")
    await expect(findings(detail)).to_contain_text("Waiting for the analysis.")
    scripted.catalog.analyses.put(item, analyzed("0.61", description="Rather dark."))
    await expect(card(grid, "Merino").locator(".quality")).to_have_text("Image quality 61 of 100, fair")
    await expect(card(grid, "Merino")).not_to_contain_text("Analysis pending")
    await expect(findings(detail)).to_contain_text("Rather dark.")
    await expect(choices(grid).get_by_role("link", name="Pending")).to_have_text("Pending (0)")


async def test_the_counts_of_a_shop_move(scripted: ScriptedSystem) -> None:
    """Items without an image do not count; failed ones are a link to them."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.healthy.shop_id}")
    overview = page.get_by_role("region", name="Catalog")
    await expect(overview).to_contain_text("Images analyzed4 of 6, 1 failed")
    scripted.catalog.analyses.put(scripted.catalog.items[HEALTHY][PENDING_ITEM], analyzed("0.5"))
    await expect(overview).to_contain_text("Images analyzed5 of 6, 1 failed")
    await overview.get_by_role("link", name="1 failed").click()
    await expect(card(page, "Canvas Tote")).to_be_visible()


async def test_without_an_analyzer_nothing_is_said_of_it(scripted: ScriptedSystem) -> None:
    """On no view of the shop."""
    shops = add_demo_shops(scripted.catalog)
    shop = f"shops/{shops.broken.shop_id}"
    page = await scripted.open(f"{shop}/catalog")
    for path in (f"{shop}/catalog", shop, f"{shop}/items/4202", f"{shop}/products/902"):
        await page.goto(f"{scripted.bff.url}/#/{path}")
        await expect(page.get_by_role("main")).to_contain_text(re.compile("Canvas Tote|Items with an image"))
        await expect(page.get_by_text(re.compile("analy|quality", re.IGNORECASE))).to_have_count(0)
        await expect(page.locator(".quality, .filter-links")).to_have_count(0)


async def test_an_analyzer_that_is_switched_on_appears_without_a_reload(scripted: ScriptedSystem) -> None:
    """The page learns it with the next status, which it also reads when its tab is looked at again."""
    shops = add_demo_shops(scripted.catalog)
    scripted.catalog.analyzers[HEALTHY] = []
    page = await scripted.open(catalog_of(shops))
    await expect(card(page, "Linen Shirt")).to_be_visible()
    await expect(choices(page)).to_have_count(0)
    scripted.catalog.analyzers[HEALTHY] = ["image-quality"]
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(choices(page).get_by_role("link", name="Analyzed")).to_have_text("Analyzed (4)")
