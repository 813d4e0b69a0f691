"""examples/search-indexer stays true through kills, purges and new starts. Full size: `make feed-mirror`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.conftest import open_directory
from tests.feed.consumer_process import EXAMPLE
from tests.feed.mirror import MirrorConfig, run_mirror
from tests.feed.mirror_cells import read
from tests.waiting import within_timeout

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]


async def test_a_consumer_that_is_killed_again_and_again_equals_the_stored_items() -> None:
    config = MirrorConfig(kills=6, products=60, life_seconds=(0, 1))
    with open_directory("mirror") as directory:
        report = await run_mirror(directory, config, seed=14)
        assert report.violations == [], report.as_json()
        assert report.differences == [], report.as_json()
        assert report.items
        # Otherwise the experiment shows little.
        assert report.expired, report.as_json()
        assert report.webhooks, report.as_json()
        assert (report.kills, report.replica_kills, report.consumers) == (6, 1, 2)
        await _check_search(directory / "mirror-2.db")


async def _check_search(file: Path) -> None:
    """Search for a word of some title."""
    ((title,),) = read(file, "SELECT title FROM item LIMIT 1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE / "indexer.py", "search", file, title.split()[0], stdout=asyncio.subprocess.PIPE
    )
    out, _ = await within_timeout(process.communicate())
    assert out.splitlines()
