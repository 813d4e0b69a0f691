"""Processes die, freeze and lose each other in the middle of syncs, and nothing is lost or doubled."""

from __future__ import annotations

import pytest

from tests.chaos.run import chaos
from tests.conftest import open_directory

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]
SEED = 7


async def test_whatever_dies_the_tables_end_up_as_the_shops_are() -> None:
    with open_directory("chaos") as place:
        report = await chaos(place, seconds=60, seed=SEED)
    assert report.violations == [], report.as_json()
    # That something was broken, and synced, at all.
    assert report.counts["kill"] + report.counts["stop"] >= 5
    assert report.takeovers
    assert report.truth["items_right"] > 1000


async def test_without_the_fence_the_same_run_finds_two_writers() -> None:
    with open_directory("chaos") as place:
        report = await chaos(place, seconds=40, seed=SEED, fenced=False)
    assert [fault for fault in report.violations if "was written by" in fault], report.as_json()
