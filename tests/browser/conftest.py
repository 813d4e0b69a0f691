"""Browser tests: chromium on the page of a real BFF, before a scripted catalog or the whole system."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.browser.chromium import MISSING, find_chromium, running_chromium
from tests.browser.scripted_system import ScriptedSystem, scripted_system


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Yield a browser; without one, the tests are skipped and say why."""
    executable = find_chromium()
    if executable is None:
        pytest.skip(MISSING)
    async with running_chromium(executable) as browser:
        yield browser


@pytest.fixture
async def scripted(chromium: Browser) -> AsyncIterator[ScriptedSystem]:
    """Yield a BFF before a scripted catalog without shops."""
    async with scripted_system(chromium) as system:
        yield system
