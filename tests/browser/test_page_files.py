"""What the page consists of: small, of one origin, and without anything that its policy forbids."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Final

from playwright.async_api import expect

from tests.browser.scripted_system import ScriptedSystem
from tests.e2e.conftest import ROOT

PAGE: Final = ROOT / "bff" / "catalogsync_bff" / "page"
MAX_SCRIPT_BYTES: Final = 60_000


def files(suffix: str) -> list[Path]:
    """Return the page's files of one kind."""
    return sorted(PAGE.rglob(f"*{suffix}"))


def test_the_scripts_stay_below_60_kb_compressed() -> None:
    """Each file by itself, as a proxy compresses them."""
    size = sum(len(gzip.compress(file.read_bytes())) for file in files(".js"))
    assert 10_000 < size <= MAX_SCRIPT_BYTES


def test_no_file_names_another_origin() -> None:
    """The page works in a network without the internet, and sends nothing to a third party."""
    allowed = {"http://www.w3.org/2000/svg"}
    for file in [*files(".js"), *files(".css"), *files(".html"), *files(".svg")]:
        found = set(re.findall(r"https?://[\w./-]+", file.read_text(encoding="utf-8")))
        assert found <= allowed, file


def test_there_is_no_inline_script_or_style_and_no_html_from_text() -> None:
    """The policy forbids the first; the second would let a product's title become markup."""
    index = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", index)
    for file in files(".js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()), (
            file
        )


def test_each_script_is_reached_from_the_page() -> None:
    """A file that nothing imports is left over; one that is missing breaks the page."""
    reached, pending = set(), [PAGE / "app.js"]
    while pending:
        file = pending.pop()
        if file in reached:
            continue
        reached.add(file)
        imports = re.findall(r'from "(\./[^"]+|\.\./[^"]+)"', file.read_text(encoding="utf-8"))
        pending += [(file.parent / name).resolve() for name in imports]
    only_types = {PAGE / "data" / "types.js"}
    assert reached | only_types == set(files(".js"))


async def test_the_policy_holds_in_the_browser(scripted: ScriptedSystem) -> None:
    """The fixture fails for each violation and each foreign request; here the policy itself is looked at."""
    scripted.catalog.add_shop()
    page = await scripted.open()
    await expect(page.get_by_role("link", name="Demo Shop")).to_be_visible()
    response = await page.request.get(scripted.bff.url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
