"""Processes are replaced one by one, by those of the same or of another release, without an error for anybody.

Small forms of `make rolling-restart` and `make rolling-upgrade`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import open_directory
from tests.rolling.release import EXPANSION, PRESENT, REWRITE, UNLIMITED_WAIT, newer_release
from tests.rolling.run import Report, rolling_restart, table_waits_of_migrations, upgrade_and_back
from tests.rolling.system import RollingConfig

pytestmark = pytest.mark.release

_SMALL = RollingConfig(running_syncs=6, shop_count=8, products_per_shop=40, store_latency_seconds=0.3)
_EXPECTED_ENDS = {
    ("WatchSync", "OK", ""),
    ("WatchSync", "OK", "SERVER_DRAINING"),
    ("WatchChanges", "OK", "SERVER_DRAINING"),
    ("unary call with retries", "OK", ""),
    ("unary call without retries", "OK", ""),
}
_RETRYABLE_ENDS = {
    (method, code, reason)
    for method in ("WatchSync", "WatchChanges", "unary call without retries")
    for code, reason in (
        # The call reached a replica that had just begun to drain.
        ("UNAVAILABLE", "SERVER_DRAINING"),
        # The replica closed the connection, or ended a call that it had not begun.
        ("UNAVAILABLE", ""),
        ("CANCELLED", ""),
    )
}
"""What a client without retries may see besides, at the moment when a replica stops."""


def check_clients(report: Report) -> None:
    """No sync failed, nothing is lost, no count went backwards, and calls ended as the contract says."""
    assert report.violations == []
    assert report.ends.keys() <= _EXPECTED_ENDS | _RETRYABLE_ENDS, report.ends
    assert report.ends["WatchSync", "OK", "SERVER_DRAINING"] > 0
    # Syncs of a replica that was replaced went on at another one.
    assert report.attempts > report.syncs
    assert report.items > 0


@pytest.mark.timeout(900)
async def test_a_rolling_restart_of_all_replicas_fails_no_sync_and_no_call() -> None:
    with open_directory("rolling") as directory:
        report = await rolling_restart(directory, _SMALL)
    check_clients(report)


@pytest.mark.timeout(900)
async def test_an_upgrade_with_a_migration_and_the_way_back_fail_nothing_and_block_no_call() -> None:
    """Two releases run side by side on the newer schema; `migrate` is rolled back while its table is in use."""
    with open_directory("rolling") as directory:
        new = newer_release(directory / "newer")
        assert int(new.head) == int(PRESENT.head) + len(EXPANSION)
        config = replace(_SMALL, catalog_count=2, connector_count=1)
        report = await upgrade_and_back(directory, config, PRESENT, new)
    check_clients(report)
    assert report.retried_migrations >= 2
    assert report.lock_samples > 0


@pytest.mark.timeout(600)
async def test_migrations_that_block_the_users_of_a_table_are_found() -> None:
    """The negative control of the test above."""
    config = replace(_SMALL, catalog_count=1, connector_count=1, running_syncs=2, shop_count=4)
    bad = (REWRITE, UNLIMITED_WAIT)
    with open_directory("rolling") as directory:
        releases = [newer_release(_named(directory, count), bad[:count]) for count in (1, 2)]
        waits = await table_waits_of_migrations(directory, config, releases)
    assert all(waits), waits


def _named(directory: Path, number: int) -> Path:
    return directory / f"newer-{number}"
