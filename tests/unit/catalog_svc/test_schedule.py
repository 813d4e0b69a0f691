"""When the syncs of a shop are due, from its intervals and its last due times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from catalog_svc.domain.schedule import NEVER, ScheduleDefaults, StoredSchedule
from catalog_svc.domain.sync import SyncMode

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
BOTH = ScheduleDefaults(incremental_every=HOUR, full_every=DAY)


def due_schedule(*, incremental: timedelta | None = None, full: timedelta | None = None) -> StoredSchedule:
    """Return a schedule whose syncs are due so long after `NOW`; None: never."""
    return StoredSchedule(
        incremental_due_at=None if incremental is None else NOW + incremental,
        full_due_at=None if full is None else NOW + full,
    )


def test_a_shop_without_due_times_is_never_due() -> None:
    schedule = StoredSchedule(not_before=NOW)
    assert (schedule.next_due_at, schedule.due(NOW)) == (None, None)


def test_the_earlier_due_time_is_the_next_one() -> None:
    assert due_schedule(incremental=HOUR, full=MINUTE).next_due_at == NOW + MINUTE
    assert due_schedule(full=HOUR).next_due_at == NOW + HOUR


def test_nothing_is_due_before_the_time_to_which_a_broken_shop_is_postponed() -> None:
    early = due_schedule(incremental=-HOUR)
    assert (
        StoredSchedule(incremental_due_at=early.incremental_due_at, not_before=NOW + DAY).next_due_at == NOW + DAY
    )
    assert StoredSchedule(incremental_due_at=NOW + HOUR, not_before=NOW - DAY).next_due_at == NOW + HOUR


def test_a_full_sync_comes_before_an_incremental_one_that_is_due_too() -> None:
    assert due_schedule(incremental=-HOUR, full=-MINUTE).due(NOW) is SyncMode.FULL
    assert due_schedule(incremental=-HOUR, full=MINUTE).due(NOW) is SyncMode.INCREMENTAL
    assert due_schedule(incremental=MINUTE, full=MINUTE).due(NOW) is None


def test_a_paused_shop_is_not_due_and_shows_no_due_time() -> None:
    paused = StoredSchedule(paused=True, incremental_due_at=NOW - HOUR)
    assert paused.due(NOW) is None
    assert paused.effective(BOTH).next_due_at is None


def test_planning_spreads_new_due_times_and_keeps_those_that_fit() -> None:
    planned = [StoredSchedule().planned(BOTH, NOW).incremental_due_at for _ in range(200)]
    times = sorted(due for due in planned if due is not None)
    assert len(times) == 200
    assert NOW <= times[0] < NOW + 15 * MINUTE
    assert NOW + 45 * MINUTE < times[-1] <= NOW + HOUR
    fitting = due_schedule(incremental=30 * MINUTE, full=20 * HOUR)
    assert fitting.planned(BOTH, NOW) == fitting


def test_planning_pulls_a_due_time_forward_that_is_later_than_the_interval() -> None:
    planned = due_schedule(incremental=DAY, full=30 * DAY).planned(BOTH, NOW)
    assert planned.incremental_due_at is not None
    assert planned.full_due_at is not None
    assert (planned.incremental_due_at <= NOW + HOUR, planned.full_due_at <= NOW + DAY) == (True, True)


def test_planning_removes_due_times_of_syncs_that_are_off() -> None:
    off = ScheduleDefaults(incremental_every=NEVER, full_every=DAY)
    assert due_schedule(incremental=MINUTE, full=MINUTE).planned(off, NOW) == due_schedule(full=MINUTE)


def test_an_interval_of_the_shop_takes_the_place_of_the_default_and_never_is_one() -> None:
    own = StoredSchedule(incremental_every=NEVER, full_every=HOUR).effective(BOTH)
    assert (own.incremental_every, own.incremental_is_default) == (NEVER, False)
    assert (own.full_every, own.full_is_default) == (HOUR, False)


def test_after_a_start_the_next_sync_comes_within_a_tenth_of_its_interval() -> None:
    full_due_at = NOW + 5 * HOUR
    schedule = StoredSchedule(incremental_due_at=NOW, full_due_at=full_due_at, not_before=NOW)
    following = schedule.after_start(SyncMode.INCREMENTAL, BOTH, NOW)
    assert following.incremental_due_at is not None
    assert NOW + 0.9 * HOUR <= following.incremental_due_at <= NOW + HOUR
    assert (following.full_due_at, following.not_before) == (full_due_at, None)


def test_a_full_sync_takes_the_turn_of_the_incremental_one_too() -> None:
    following = due_schedule(incremental=-MINUTE, full=-MINUTE).after_start(SyncMode.FULL, BOTH, NOW)
    assert following.incremental_due_at is not None
    assert following.full_due_at is not None
    assert following.incremental_due_at >= NOW + 0.9 * HOUR
    assert following.full_due_at >= NOW + 0.9 * DAY
