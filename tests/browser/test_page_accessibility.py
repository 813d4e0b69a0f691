"""Everybody can use the page: checked by axe-core, by keyboard alone, and by what a screen reader is told."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from playwright.async_api import Page, expect

from tests.browser.demo_shops import DemoShops, add_demo_shops
from tests.browser.scripted_catalog import progress
from tests.browser.scripted_system import ScriptedSystem, bar
from tests.waiting import until

APPEARANCES = [("light", 1440), ("light", 360), ("dark", 1440), ("dark", 360)]


def views(shops: DemoShops) -> dict[str, str]:
    """Return the path of each view, and a text that it shows once it is complete."""
    healthy, running = f"shops/{shops.healthy.shop_id}", f"shops/{shops.running.shop_id}"
    return {
        "": "1 needs attention",
        healthy: "31 changed",
        running: "3,120 of 5,000 items",
        f"shops/{shops.broken.shop_id}": "The shop no longer accepts our access.",
        f"shops/{shops.new.shop_id}": "Start the first sync",
        f"{healthy}/catalog": "Linen Shirt",
        f"{healthy}/catalog?text=nowhere": "Nothing found",
        f"{healthy}/catalog?analysis=FAILED": "Canvas Tote",
        f"{healthy}/items/4200": "Sharp and bright",
        f"{healthy}/items/4202": "There is no image at its address.",
        f"{healthy}/products/900": "Sharp and bright",
        f"{healthy}/syncs": "31 changed",
        f"{healthy}/syncs/{shops.with_issues.sync_id}": "A required field is missing",
        f"{healthy}/settings": "Automatic syncs",
        "nowhere": "There is no such page",
    }


@pytest.mark.parametrize(("scheme", "width"), APPEARANCES)
async def test_axe_finds_no_violation_and_nothing_scrolls_sideways(
    scripted: ScriptedSystem, scheme: Any, width: int
) -> None:
    """Contrast, names, roles and order of headings of every view, in both colour schemes and at both widths."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(
        color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    for path, text in views(shops).items():
        await page.goto(f"{scripted.bff.url}/#/{path}")
        await expect(page.get_by_role("main")).to_contain_text(text)
        assert await violations(page) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path


async def test_axe_finds_no_violation_while_signed_out_or_disconnected(scripted: ScriptedSystem) -> None:
    """The states that are rarely seen are designed as well."""
    context = await scripted.new_context(viewport={"width": 360, "height": 800})
    page = await context.new_page()
    await page.goto(scripted.bff.url)
    await expect(page.get_by_role("button", name="Open the demo")).to_be_visible()
    assert await violations(page) == []
    shops = add_demo_shops(scripted.catalog)
    await page.get_by_role("button", name="Open the demo").click()
    await page.goto(f"{scripted.bff.url}/#/shops/{shops.running.shop_id}")
    await expect(page.get_by_text("3,120 of 5,000").first).to_be_visible()
    await scripted.bff.kill()
    await expect(page.get_by_text("The connection is lost.", exact=True)).to_be_visible()
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_sync_is_started_and_cancelled_by_keyboard_alone(scripted: ScriptedSystem) -> None:
    """From the address bar to the end of a sync, with Tab and Enter."""
    shop = scripted.catalog.add_shop()
    page = await scripted.open()
    await expect(page.get_by_role("link", name="Demo Shop")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await press_until_focused(page, "link", "Demo Shop")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Demo Shop", level=1)).to_be_focused()
    await press_until_focused(page, "button", "Start the first sync")
    await page.keyboard.press("Enter")
    await until(lambda: len(scripted.catalog.syncs) == 1)
    await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    await press_until_focused(page, "button", "Cancel")
    await page.keyboard.press("Enter")
    (sync,) = scripted.catalog.syncs.values()
    await until(lambda: scripted.catalog.syncs[sync.sync_id].state == pb.Sync.STATE_CANCELLED)
    assert shop.shop_id in page.url


async def test_the_focus_stays_while_progress_is_shown(scripted: ScriptedSystem) -> None:
    """A page that renders again must not take the focus away, or what was typed."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.running.shop_id}")
    cancel = page.get_by_role("button", name="Cancel")
    await cancel.focus()
    await scripted.catalog.change(shops.active.sync_id, progress=progress(4000, 5000))
    await expect(bar(page)).to_have_attribute("aria-valuenow", "80")
    await expect(cancel).to_be_focused()
    await page.goto(f"{scripted.bff.url}/#/shops/{shops.running.shop_id}/settings")
    name = page.get_by_label("Name")
    await name.fill("Half a na")
    await scripted.catalog.change(shops.active.sync_id, progress=progress(4500, 5000))
    await expect(page).to_have_title(re.compile("^90 % . North Coast Outfitters$"))
    await expect(name).to_have_value("Half a na")
    await expect(name).to_be_focused()


async def test_a_state_is_announced_at_once(scripted: ScriptedSystem) -> None:
    """In the one live region of the page, which is there before it is filled."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.running.shop_id}")
    region = page.get_by_role("status")
    await expect(region).to_have_count(1)
    await scripted.catalog.change(shops.active.sync_id, progress=progress(4000, 5000))
    await expect(region).to_have_text("North Coast Outfitters: 4,000 of 5,000 items")
    await scripted.catalog.change(shops.active.sync_id, state=pb.Sync.STATE_SUCCEEDED)
    await expect(region).to_contain_text("North Coast Outfitters: sync succeeded.")
    await expect(region).to_have_attribute("aria-live", "polite")


async def test_progress_is_announced_at_most_every_10_seconds(scripted: ScriptedSystem) -> None:
    """Ten changes a second for a minute are six announcements, and a state in between is the seventh."""
    page = await scripted.open()
    assert await page.evaluate(_ANNOUNCE_FOR_A_MINUTE) == [0, 10_000, 20_000, 25_000, 35_000, 45_000, 55_000]


async def test_a_progress_bar_says_what_it_counts(scripted: ScriptedSystem) -> None:
    """Without a total it has no value, and still a text."""
    shops = add_demo_shops(scripted.catalog)
    page = await scripted.open(f"shops/{shops.running.shop_id}")
    await expect(bar(page)).to_have_attribute("aria-valuetext", "3,120 of 5,000 items")
    await expect(bar(page)).to_have_attribute("aria-valuenow", "62")
    await scripted.catalog.change(shops.active.sync_id, progress=progress(3200, None))
    await expect(bar(page)).to_have_attribute("aria-valuetext", "3,200 items so far")
    assert await bar(page).get_attribute("aria-valuenow") is None


async def press_until_focused(page: Page, role: Any, name: str) -> None:
    """Press Tab until the element has the focus."""
    target = page.get_by_role(role, name=name)
    for _ in range(30):
        if await target.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{name!r} is not reached by Tab")


async def violations(page: Page) -> list[str]:
    """Return what axe-core objects to in the document as it is."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    # Pictures and transitions are complete, since contrast is computed from what is painted.
    await page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
    await page.evaluate(source)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


_ANNOUNCE_FOR_A_MINUTE = """async () => {
  const {Announcer} = await import('/page/announcer.js');
  let now = 0;
  const announced = [];
  const region = {set textContent(text) { announced.push(now); }};
  const announcer = new Announcer(region, () => now);
  for (; now < 60000; now += 100) {
    if (now === 25000) announcer.announce('waiting');
    announcer.announceProgress(() => 'progress');
  }
  return announced;
}"""
