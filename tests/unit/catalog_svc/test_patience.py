"""A source that fails is tried again for as long as its merchant would want, and never in a rush."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.usecases.patience import Patience, RunLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def failed(reason: str, *, passing: bool = True, retry_after: timedelta | None = None) -> SourceFailed:
    return SourceFailed(reason=reason, message="m", passing=passing, retry_after=retry_after)


def patience(clock: Clock, stuck_for: timedelta = timedelta(0)) -> Patience:
    return Patience(RunLimits(), stuck_for, monotonic=clock)


def test_a_permanent_failure_is_the_last_one() -> None:
    revoked = failed("SOURCE_UNAUTHORIZED", passing=False)
    assert patience(Clock()).is_over(revoked, never_answered=False)


@pytest.mark.parametrize("reason", ["SOURCE_UNREACHABLE", "TOKEN_SERVICE_UNAVAILABLE", "SOURCE_RATE_LIMITED"])
def test_a_shop_that_has_answered_before_is_waited_for_a_day(reason: str) -> None:
    clock = Clock()
    waiting = patience(clock)
    clock.now += 23 * 3600
    assert not waiting.is_over(failed(reason), never_answered=False)
    clock.now += 3601
    assert waiting.is_over(failed(reason), never_answered=False)


def test_a_shop_that_never_answered_is_given_up_soon_for_its_domain_may_be_mistyped() -> None:
    clock = Clock()
    waiting = patience(clock)
    clock.now += 61
    assert waiting.is_over(failed("SOURCE_UNREACHABLE"), never_answered=True)
    assert not waiting.is_over(failed("TOKEN_SERVICE_UNAVAILABLE"), never_answered=True)
    assert not waiting.is_over(ConnectorUnavailable(), never_answered=True)


def test_patience_counts_on_through_a_takeover_and_starts_anew_with_every_batch() -> None:
    clock = Clock()
    waiting = patience(clock, stuck_for=timedelta(hours=24))
    assert waiting.is_over(failed("SOURCE_UNREACHABLE"), never_answered=False)
    waiting.renew()
    assert not waiting.is_over(failed("SOURCE_UNREACHABLE"), never_answered=False)


def test_pauses_grow_and_stay_bounded() -> None:
    waiting = patience(Clock())
    pauses = [waiting.next_delay(failed("SOURCE_UNREACHABLE")).total_seconds() for _ in range(200)]
    assert pauses[0] <= 1
    assert max(pauses) <= 30
    assert min(pauses[10:]) >= 15


def test_our_own_connector_is_asked_again_within_seconds() -> None:
    waiting = patience(Clock())
    assert max(waiting.next_delay(ConnectorUnavailable()).total_seconds() for _ in range(50)) <= 4


def test_what_the_source_asks_for_is_respected_within_reason() -> None:
    waiting = patience(Clock())
    asked = failed("SOURCE_RATE_LIMITED", retry_after=timedelta(seconds=12))
    assert waiting.next_delay(asked) == timedelta(seconds=12)
    absurd = failed("SOURCE_RATE_LIMITED", retry_after=timedelta(days=2))
    assert waiting.next_delay(absurd) == timedelta(seconds=30)
