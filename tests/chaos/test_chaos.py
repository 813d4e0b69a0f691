"""Processes are killed, frozen and disconnected during syncs, and no row is lost or duplicated."""

from __future__ import annotations

import pytest

from tests.chaos.run import run_chaos
from tests.conftest import open_directory

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]
SEED = 7


async def test_after_random_faults_the_tables_equal_the_shops() -> None:
    with open_directory("chaos") as directory:
        report = await run_chaos(directory, seconds=60, seed=SEED)
    assert report.violations == [], report.as_json()
    # The run did inject faults, and did sync.
    assert report.counts["kill"] + report.counts["stop"] >= 5
    assert report.takeovers
    assert report.truth["items_correct"] > 1000


async def test_without_the_fence_the_same_run_finds_two_writers() -> None:
    with open_directory("chaos") as directory:
        report = await run_chaos(directory, seconds=40, seed=SEED, fenced=False)
    assert [violation for violation in report.violations if "was written by" in violation], report.as_json()
