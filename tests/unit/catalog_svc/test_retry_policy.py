"""A source that fails is tried again for as long as its merchant would want, and never in a rush."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.usecases.retry_policy import RetryPolicy, RunConfig, TransactionSize


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def failed(reason: str, *, transient: bool = True, retry_after: timedelta | None = None) -> SourceFailed:
    return SourceFailed(reason=reason, message="m", transient=transient, retry_after=retry_after)


def patience(clock: Clock, since_progress: timedelta = timedelta(0)) -> RetryPolicy:
    return RetryPolicy(RunConfig(), since_progress, monotonic=clock)


def test_a_permanent_failure_is_the_last_one() -> None:
    revoked = failed("SOURCE_UNAUTHORIZED", transient=False)
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
    waiting = patience(clock, since_progress=timedelta(hours=24))
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


def slow_transaction(size: TransactionSize, *, products: int = 250, items: int = 2_000) -> None:
    size.attempt(products=products, items=items)
    size.too_slow()


def test_a_transaction_is_halved_each_time_the_database_is_too_slow_for_it_down_to_one_product() -> None:
    size = TransactionSize(RunConfig())
    assert (size.max_products, size.max_items) == (0, 2_000)
    asked = []
    for _ in range(9):
        slow_transaction(size, products=size.max_products or 250, items=size.max_items)
        asked.append(size.max_products)
    assert asked == [125, 62, 31, 15, 7, 3, 1, 1, 1]
    assert size.max_items == 2_000 >> 9


def test_half_of_what_was_attempted_is_tried_next_not_half_of_what_was_allowed() -> None:
    size = TransactionSize(RunConfig())
    slow_transaction(size, products=10, items=40)
    assert (size.max_products, size.max_items) == (5, 20)


def test_a_slow_write_that_was_no_batch_is_counted_and_halves_nothing() -> None:
    size = TransactionSize(RunConfig())
    size.too_slow()
    assert (size.slow_writes, size.max_products, size.max_items) == (1, 0, 2_000)


def test_a_transaction_grows_again_when_the_database_keeps_up() -> None:
    size = TransactionSize(RunConfig())
    slow_transaction(size)
    slow_transaction(size, products=125, items=1_000)
    for _ in range(150):
        size.stored()
    assert (size.max_products, size.max_items) == (0, 2_000)


def test_only_slow_writes_in_a_row_exhaust_the_attempts() -> None:
    size = TransactionSize(RunConfig(max_slow_writes=3))
    for _ in range(5):
        size.too_slow()
        size.too_slow()
        assert not size.is_exhausted
        size.stored()
    for _ in range(3):
        size.too_slow()
    assert size.is_exhausted


def test_the_database_is_left_alone_longer_after_each_slow_write() -> None:
    size = TransactionSize(RunConfig())
    delays = []
    for _ in range(6):
        size.too_slow()
        delays.append(size.next_delay.total_seconds())
    assert delays == [2, 4, 8, 16, 30, 30]
