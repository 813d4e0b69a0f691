"""`python -m tests.browser.screenshots`: draws docs/screenshots, the states of the page."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from pathlib import Path
from typing import Any, Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.chromium import MISSING, find_chromium, running_chromium
from tests.browser.demo_shops import DemoShops, add_demo_shops
from tests.browser.pictures import picture_server
from tests.browser.scripted_catalog import from_now, progress
from tests.browser.scripted_system import ScriptedSystem, scripted_system
from tests.waiting import until_found

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
_WIDTH: Final = 1280
_COLOURS: Final = 255
_RATES: Final = (0, 60, 150, 190, 210, 205, 196, 214, 120, 90, 170, 200, 208, 190, 184)
"""Items per second of the running sync, one second each."""


class ScreenshotFolder:
    """Opens views and stores what they show."""

    def __init__(self, system: ScriptedSystem, folder: Path) -> None:
        self._system = system
        self._folder = folder

    async def open(self, path: str, *, width: int = _WIDTH, scheme: Any = "light") -> Page:
        """Return a page that shows a view."""
        return await self._system.open(
            path, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )

    async def store(self, page: Page, name: str) -> None:
        """Store the whole page as a PNG with few colours, and close its context."""
        await until_found(lambda: _is_complete(page))
        picture = Image.open(io.BytesIO(await page.screenshot(full_page=True)))
        reduced = picture.convert("RGB").quantize(_COLOURS, kmeans=2, dither=Image.Dither.NONE)
        await asyncio.to_thread(reduced.save, self._folder / f"{name}.png", optimize=True)
        await page.context.close()

    async def take(self, name: str, path: str, text: str, *, pictures: int = 0, **options: Any) -> None:
        """Store a view once it shows a text and so many pictures."""
        page = await self.open(path, **options)
        await expect(page.get_by_role("main")).to_contain_text(text)
        await expect(page.locator("img[data-loaded]")).to_have_count(pictures)
        await self.store(page, name)


async def _is_complete(page: Page) -> bool | None:
    """Return True once nothing is being loaded. Not by wait_for_function, which the page's policy forbids."""
    script = "[...document.images].every(image => image.complete) && !document.querySelector('.skeleton')"
    return bool(await page.evaluate(script)) or None


async def take_ended(screenshots: ScreenshotFolder, shops: DemoShops) -> None:
    """Store the views in which nothing moves."""
    healthy = f"shops/{shops.healthy.shop_id}"
    for name, options in (("shops", {}), ("shops-dark", {"scheme": "dark"}), ("shops-360", {"width": 360})):
        await screenshots.take(name, "", "1 needs attention", pictures=10, **options)
    await screenshots.take("sync-succeeded", healthy, "31 changed")
    await screenshots.take("sync-failed", f"shops/{shops.broken.shop_id}", "Connect the shop again")
    await screenshots.take("first-sync", f"shops/{shops.new.shop_id}", "Start the first sync")
    await screenshots.take("history", f"{healthy}/syncs", "31 changed")
    await screenshots.take("issues", f"{healthy}/syncs/{shops.with_issues.sync_id}", "A required field is missing")
    await screenshots.take("catalog", f"{healthy}/catalog?deleted=1", "Leather Belt", pictures=7)
    await screenshots.take("catalog-360", f"{healthy}/catalog", "Linen Shirt", pictures=6, width=360)
    await screenshots.take("item", f"{healthy}/items/4200", "LO-1000", pictures=1)
    await screenshots.take("nothing-found", f"{healthy}/catalog?text=teapot", "Nothing found")
    await screenshots.take("settings", f"{healthy}/settings", "Automatic syncs")


async def take_running(screenshots: ScreenshotFolder, system: ScriptedSystem, shops: DemoShops) -> None:
    """Store a sync that runs, in both colour schemes, and then waits."""
    path = f"shops/{shops.running.shop_id}"
    pages = {
        "sync-running": await screenshots.open(path),
        "sync-running-dark": await screenshots.open(path, scheme="dark"),
        "sync-running-360": await screenshots.open(path, width=360),
        "sync-waiting": await screenshots.open(path),
    }
    items = 1200
    for rate in _RATES:
        items += rate
        state = progress(items, 5000, created=12, items_per_second=rate or None)
        state.products.updated_count, state.products.unchanged_count = 41, items - 53
        state.estimated_end_time.CopyFrom(from_now(150))
        await system.catalog.change(shops.active.sync_id, progress=state)
        await asyncio.sleep(1)
    for name in ("sync-running", "sync-running-dark", "sync-running-360"):
        await expect(pages[name].get_by_role("main")).to_contain_text(f"{items:,} of 5,000")
        await screenshots.store(pages[name], name)
    waiting = pb.Waiting(reason=pb.Waiting.REASON_THROTTLED, resume_time=from_now(42))
    await system.catalog.change(shops.active.sync_id, waiting=waiting)
    await expect(pages["sync-waiting"].get_by_role("main")).to_contain_text("The platform asked for a pause")
    await screenshots.store(pages["sync-waiting"], "sync-waiting")


async def take_disconnected(screenshots: ScreenshotFolder, system: ScriptedSystem, shops: DemoShops) -> None:
    """Store the sign-in, and a page whose server is gone."""
    context = await system.new_context(viewport={"width": _WIDTH, "height": 640})
    page = await context.new_page()
    await page.goto(system.bff.url)
    await expect(page.get_by_role("button", name="Open the demo")).to_be_visible()
    await screenshots.store(page, "sign-in")
    page = await screenshots.open(f"shops/{shops.running.shop_id}")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await until_found(lambda: _is_complete(page))
    await system.bff.kill()
    await expect(page.get_by_text("The connection is lost.", exact=True)).to_be_visible()
    await screenshots.store(page, "connection-lost")


async def main(folder: Path) -> int:
    """Draw all screenshots, and return the exit code."""
    executable = find_chromium()
    if executable is None:
        print(MISSING, file=sys.stderr)
        return 1
    async with (
        running_chromium(executable) as browser,
        picture_server() as pictures,
        scripted_system(browser, settings={"BFF_IMAGE_HOSTS": pictures}) as system,
    ):
        shops = add_demo_shops(system.catalog, pictures=f"http://{pictures}")
        screenshots = ScreenshotFolder(system, folder)
        await take_ended(screenshots, shops)
        await take_running(screenshots, system, shops)
        await take_disconnected(screenshots, system, shops)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    target: Path = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(main(target)))
