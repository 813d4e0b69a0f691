"""No follower of the feeds misses a change, while a reader by a sequence does. Full size: `make feed-gap`.

The followers read by WatchItems and WatchChanges from two replicas, while writers, PostgreSQL and a replica are
killed.
"""

from __future__ import annotations

import pytest

from tests.conftest import open_directory
from tests.feed.gap import GapConfig, run_gap

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]


async def test_followers_lose_no_change_and_a_reader_by_a_sequence_loses_some() -> None:
    config = GapConfig(changes=1_000, processes=4, fault_seconds=(0.2, 1.5))
    with open_directory("gap") as directory:
        report = await run_gap(directory, config, seed=14)
    assert report.violations == [], report.as_json()
    assert report.lost == 0, report.as_json()
    assert report.crashes
    assert report.kills > report.replica_kills > 0
    assert report.rolled_back
    # Otherwise the experiment shows nothing.
    assert report.control_lost, report.as_json()
