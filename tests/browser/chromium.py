"""Debian's chromium, driven by Playwright. The machine's network is closed, so its calls home are switched off."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "no chromium is installed: .ci/install-packages installs it (apt-get install chromium)"
ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
TIMEOUT_MILLISECONDS: Final = 60_000


def find_chromium() -> Path | None:
    """Return the installed chromium, or None."""
    found = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in found if path), None)


@asynccontextmanager
async def running_chromium(executable: Path) -> AsyncIterator[Browser]:
    """Yield a headless browser.

    Raises:
        RuntimeError: it does not start; Debian has shipped builds that crash without a screen.
    """
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=executable, args=list(ARGUMENTS), timeout=TIMEOUT_MILLISECONDS
            )
        except Error as error:
            raise RuntimeError(f"{executable} does not start headless: {error.message.splitlines()[0]}") from error
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def new_context(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Yield a browser context in English, in which every wait is generous."""
    context = await browser.new_context(**{"locale": "en-US", "timezone_id": "UTC", **options})
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    try:
        yield context
    finally:
        await context.close()


def record_problems(page: Page, origin: str) -> list[str]:
    """Return a list that collects what a correct page never does.

    These are errors of scripts, violations of the content security policy, and requests to other origins.
    """
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on(
        "console",
        lambda message: (
            problems.append(f"console: {message.text}") if "Content Security Policy" in message.text else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((origin, "data:"))
            else problems.append(f"foreign request: {request.url}")
        ),
    )
    return problems
