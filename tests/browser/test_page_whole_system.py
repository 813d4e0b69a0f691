"""The page before the whole system: devstore, connector_svc, catalog_svc and BFF as processes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import new_context, record_problems
from tests.browser.scripted_system import BffProcess, bar, sign_in
from tests.e2e.conftest import ROOT, free_port
from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.waiting import until_found

WORKER = ROOT / "examples" / "analysis-worker" / "worker.py"


@dataclass(kw_only=True)
class WholeSystem:
    """The processes, and a page that shows their one shop."""

    system: SmallSystem
    page: Page
    problems: list[str]


@asynccontextmanager
async def whole_system(browser: Browser, *, products: int, latency_ms: int) -> AsyncIterator[WholeSystem]:
    """Yield the system with a registered shop that was not synced yet, and the page at the list of shops."""
    async with small_system(products=products, latency_ms=latency_ms) as system:
        await system.start_connector("connector")
        await system.start_catalog("catalog", TEXT_SEARCH="1")
        async with system.stub("catalog") as stub:
            await stub.RegisterShop(pb.RegisterShopRequest(platform="shopify", domain=DOMAIN))
        settings = {
            "BFF_IMAGE_HOSTS": system.store.partition("://")[2],
            "BFF_IMAGE_CA_FILE": str(system.directory / "tls" / "ca.pem"),
        }
        address = system.catalog_address("catalog")
        bff = BffProcess(processes=system.processes, catalog_address=address, settings=settings)
        await bff.start()
        async with new_context(browser) as context:
            await sign_in(context, bff.url)
            page = await context.new_page()
            problems = record_problems(page, bff.url)
            await page.goto(bff.url)
            yield WholeSystem(system=system, page=page, problems=problems)
            assert problems == []


async def test_a_first_sync_from_the_click_to_the_pictures(chromium: Browser) -> None:
    """What a merchant does on the first day."""
    async with whole_system(chromium, products=60, latency_ms=20) as whole:
        page = whole.page
        await page.get_by_role("link", name=DOMAIN).click()
        await page.get_by_role("button", name="Start the first sync").click()
        await expect(page.get_by_role("region", name="Sync", exact=True)).to_contain_text("Succeeded")
        await expect(page.get_by_role("region", name="Catalog")).to_contain_text(f"Items{whole.system.items}")
        await page.get_by_role("navigation", name="Shop").get_by_role("link", name="Catalog").click()
        await expect(page.get_by_role("article")).to_have_count(min(48, whole.system.items))
        await until_found(lambda: first_picture_width(page))
        first = page.get_by_role("article").first.get_by_role("link")
        title = await first.inner_text()
        await page.get_by_label("Name").fill(title.split("\n")[0])
        await page.get_by_label("Name").press("Enter")
        await expect(first).to_contain_text(title.split("\n")[0])
        await first.click()
        await expect(page.get_by_role("heading", level=2).first).to_contain_text(title.split("\n")[0])


async def test_a_sync_is_watched_while_its_replica_is_killed_and_replaced(chromium: Browser) -> None:
    """kill -9 of the replica in the middle of a sync: another one continues it, and the page shows its end."""
    async with whole_system(chromium, products=750, latency_ms=300) as whole:
        page, system = whole.page, whole.system
        await page.get_by_role("link", name=DOMAIN).click()
        await page.get_by_role("button", name="Start the first sync").click()
        await until_found(lambda: percent(page, at_least=1))
        system.processes.kill_one("catalog")
        await expect(page.get_by_text("Not up to date")).to_be_visible()
        await system.start_catalog(
            "catalog 2",
            LISTEN_ADDRESS=system.catalog_address("catalog"),
            HEALTH_ADDRESS=f"127.0.0.1:{free_port()}",
            TEXT_SEARCH="1",
        )
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await expect(page.get_by_role("region", name="Sync", exact=True)).to_contain_text("Succeeded")
        await expect(bar(page)).to_have_attribute("aria-valuenow", "100")


async def test_scores_of_a_real_worker_appear_on_the_pictures(chromium: Browser) -> None:
    """The analyzer is switched on and its worker started while the page is open; nobody reloads it."""
    async with whole_system(chromium, products=10, latency_ms=0) as whole:
        page, system = whole.page, whole.system
        await page.get_by_role("link", name=DOMAIN).click()
        await page.get_by_role("button", name="Start the first sync").click()
        await expect(page.get_by_role("region", name="Sync", exact=True)).to_contain_text("Succeeded")
        await expect(page.get_by_text("Images analyzed")).to_have_count(0)
        async with system.stub("catalog") as stub:
            update = pb.UpdateShopRequest(shop=SHOP, update=pb.ShopUpdate(analyzers=["image-quality"]))
            update.update_mask.paths.append("analyzers")
            await stub.UpdateShop(update)
        await system.processes.start("worker", str(WORKER), "browser-test", settings=worker_settings(system))
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.get_by_text("Images analyzed")).to_be_visible()
        await page.get_by_role("navigation", name="Shop").get_by_role("link", name="Catalog").click()
        pending = page.get_by_role("navigation", name="Image analysis").get_by_role("link", name="Pending")
        await expect(pending).to_have_text("Pending (0)")
        badges = page.locator(".item-card .quality")
        await expect(badges.first).to_have_text(re.compile(r"^Image quality \d+ of 100, (good|fair|poor)$"))
        await page.locator(".item-card:has(.quality)").first.get_by_role("link").click()
        findings = page.get_by_role("region", name="Image analysis")
        await expect(findings.get_by_role("row").filter(has_text="Sharpness")).to_contain_text("of 128")


def worker_settings(system: SmallSystem) -> dict[str, str]:
    """Return the settings of the example worker, which may read the pictures of the devstore."""
    return {
        "CATALOG_ADDRESS": system.catalog_address("catalog"),
        "IMAGE_HOSTS": system.store.partition("://")[2],
        "IMAGE_CA_FILE": system.ca_file,
    }


async def first_picture_width(page: Page) -> int | None:
    """Return the width in pixels of the first picture that was loaded."""
    width: int = await page.evaluate(
        "[...document.querySelectorAll('.item-card img[data-loaded]')].map(image => image.naturalWidth)[0] ?? 0"
    )
    return width or None


async def percent(page: Page, *, at_least: int) -> int | None:
    """Return the value of the progress bar, if it is so high."""
    if await bar(page).count() == 0:
        return None
    value = await bar(page).get_attribute("aria-valuenow")
    return int(value) if value is not None and int(value) >= at_least else None
