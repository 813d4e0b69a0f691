"""A real BFF process before a scripted catalog, and the pages that show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from demo.processes import ProcessGroup
from tests.browser.chromium import TIMEOUT_MILLISECONDS, new_context, record_problems
from tests.browser.scripted_catalog import ScriptedCatalog
from tests.conftest import open_directory
from tests.e2e.conftest import ROOT, free_port
from tests.fakes.catalog_service import CatalogServer
from tests.waiting import until_found

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


@dataclass(kw_only=True)
class BffProcess:
    """The BFF, at the same address each time it is started."""

    processes: ProcessGroup
    catalog_address: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _starts: int = 0

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process, and return once it is ready."""
        self._starts += 1
        settings = {
            "BFF_LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
            "BFF_CATALOG_ADDRESS": self.catalog_address,
            "BFF_DEV_LOGIN": "1",
            "BFF_SESSION_KEYS": "test:0123456789abcdef0123456789abcdef",
            **self.settings,
        }
        await self.processes.start(self._name, "-m", "catalogsync_bff", settings=settings)
        await until_found(lambda: _is_ready(f"{self.url}/readyz"))

    async def kill(self) -> None:
        """Send SIGKILL, and return once nothing listens any more."""
        self.processes.kill_one(self._name)
        await until_found(lambda: _is_refused(self.port))

    @property
    def _name(self) -> str:
        return f"bff-{self._starts}"


@dataclass(kw_only=True)
class ScriptedSystem:
    """What a test of the page has: the catalog that it scripts, the BFF, and browsers."""

    browser: Browser
    catalog: ScriptedCatalog
    server: CatalogServer
    bff: BffProcess
    _contexts: AsyncExitStack

    async def new_context(self, **options: Any) -> BrowserContext:
        """Return a browser context of its own: another user's cookies."""
        return await self._contexts.enter_async_context(new_context(self.browser, **options))

    async def open(self, path: str = "", *, context: BrowserContext | None = None, **options: Any) -> Page:
        """Open the page at "#/…" with a session.

        Args:
            path: what follows "#/".
            context: the browser context, for a second tab; None: a new one with `options`.
        """
        context = context or await self.new_context(**options)
        await sign_in(context, self.bff.url)
        page = await context.new_page()
        problems = record_problems(page, self.bff.url)
        self.problems.append(problems)
        await page.goto(f"{self.bff.url}/#/{path}")
        return page

    problems: list[list[str]] = field(default_factory=list)
    """Of each page that was opened: see `record_problems`."""


async def sign_in(context: BrowserContext, url: str) -> None:
    """Begin a session of the development login in a browser context."""
    response = await context.request.post(
        f"{url}/session/dev", headers={"X-Requested-With": "catalogsync", "Origin": url}
    )
    assert response.ok, await response.text()


def bar(page: Page) -> Locator:
    """Return the progress bar of the sync of a shop."""
    return page.get_by_role("progressbar", name="Sync progress")


async def record_values(page: Page) -> None:
    """Record each value that a progress bar of the page shows from now on."""
    await page.evaluate(
        """() => {
          window.recordedValues = [];
          new MutationObserver(() => {
            const value = document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow');
            if (value) window.recordedValues.push(Number(value));
          }).observe(document.body, {subtree: true, attributes: true, childList: true});
        }"""
    )


async def recorded_values(page: Page) -> list[int]:
    """Return the recorded values."""
    values: list[int] = await page.evaluate("window.recordedValues")
    return values


@asynccontextmanager
async def scripted_system(
    browser: Browser, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ScriptedSystem]:
    """Yield the system; afterwards check that no page did what a correct page never does.

    Args:
        browser: shows the pages.
        settings: of the BFF, in addition to the usual ones.
    """
    catalog = ScriptedCatalog()
    server = CatalogServer(catalog, analysis=catalog.analyses)
    await server.start()
    with open_directory("browser") as directory:
        (directory / "logs").mkdir()
        async with (
            ProcessGroup(directory=ROOT, logs=directory / "logs") as processes,
            AsyncExitStack() as contexts,
        ):
            bff = BffProcess(processes=processes, catalog_address=server.address, settings=dict(settings or {}))
            await bff.start()
            system = ScriptedSystem(browser=browser, catalog=catalog, server=server, bff=bff, _contexts=contexts)
            yield system
            found = [problem for problems in system.problems for problem in problems]
    await server.kill()
    await catalog.close()
    assert found == []


async def _is_refused(port: int) -> bool | None:
    """Return True if nothing listens at the port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return None


async def _is_ready(url: str) -> bool | None:
    """Return True if the address answers 200."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200 or None
    except aiohttp.ClientError:
        return None
