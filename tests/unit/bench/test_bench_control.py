"""What `make bench-control` computes itself: percentiles, and the months that a retention round drops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bench.control.rows import FULL, SMOKE, old_months
from bench.control.timing import Durations, time_calls


def test_percentiles_are_durations_that_were_measured() -> None:
    durations = Durations.of([number / 1000 for number in range(1, 101)])
    assert (durations.count, durations.p50_ms, durations.p95_ms, durations.p99_ms) == (100, 50, 95, 99)
    assert durations.max_ms == 100


async def test_the_first_call_is_not_counted() -> None:
    calls: list[int] = []

    async def call() -> None:
        calls.append(1)

    assert (await time_calls(call, 3)).count == 3
    assert len(calls) == 4


def test_old_months_end_before_the_retention_of_syncs_and_follow_each_other() -> None:
    months = old_months(2)
    assert len(months) == 2
    assert all(end <= datetime.now(UTC).date() - timedelta(days=30) for _, end in months)
    assert months[0][0] == months[1][1]


def test_every_shop_has_one_role() -> None:
    for size in (FULL, SMOKE):
        assert size.running + size.pending + size.broken + size.due + size.calls < size.shops
        assert size.watched <= size.running + size.pending
