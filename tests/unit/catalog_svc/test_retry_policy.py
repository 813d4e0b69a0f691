"""A failing source is retried for as long as its merchant would want, with a bounded backoff."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog_svc.domain.errors import ConnectorUnavailable, SourceFailed
from catalog_svc.usecases.sync_limits import AdaptiveTransactionSize, RetryPolicy, RunConfig


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def failed(reason: str, *, transient: bool = True, retry_after: timedelta | None = None) -> SourceFailed:
    return SourceFailed(reason=reason, message="m", transient=transient, retry_after=retry_after)


def new_policy(clock: Clock, since_progress: timedelta = timedelta(0)) -> RetryPolicy:
    return RetryPolicy(RunConfig(), since_progress, monotonic=clock)


def test_a_permanent_failure_is_not_retried() -> None:
    revoked = failed("SOURCE_UNAUTHORIZED", transient=False)
    assert new_policy(Clock()).exhausted(revoked, never_answered=False)


@pytest.mark.parametrize("reason", ["SOURCE_UNREACHABLE", "TOKEN_SERVICE_UNAVAILABLE", "SOURCE_RATE_LIMITED"])
def test_a_shop_that_has_answered_before_is_retried_for_a_day(reason: str) -> None:
    clock = Clock()
    policy = new_policy(clock)
    clock.now += 23 * 3600
    assert not policy.exhausted(failed(reason), never_answered=False)
    clock.now += 3601
    assert policy.exhausted(failed(reason), never_answered=False)


def test_a_shop_that_never_answered_is_given_up_soon_since_its_domain_may_be_mistyped() -> None:
    clock = Clock()
    policy = new_policy(clock)
    clock.now += 61
    assert policy.exhausted(failed("SOURCE_UNREACHABLE"), never_answered=True)
    assert not policy.exhausted(failed("TOKEN_SERVICE_UNAVAILABLE"), never_answered=True)
    assert not policy.exhausted(ConnectorUnavailable(), never_answered=True)


def test_the_time_without_progress_counts_on_after_a_takeover_and_is_reset_by_every_batch() -> None:
    clock = Clock()
    policy = new_policy(clock, since_progress=timedelta(hours=24))
    assert policy.exhausted(failed("SOURCE_UNREACHABLE"), never_answered=False)
    policy.reset()
    assert not policy.exhausted(failed("SOURCE_UNREACHABLE"), never_answered=False)


def test_the_backoff_grows_and_stays_bounded() -> None:
    policy = new_policy(Clock())
    delays = [policy.next_delay(failed("SOURCE_UNREACHABLE")).total_seconds() for _ in range(200)]
    assert delays[0] <= 1
    assert max(delays) <= 30
    assert min(delays[10:]) >= 15


def test_our_own_connector_is_retried_within_seconds() -> None:
    policy = new_policy(Clock())
    assert max(policy.next_delay(ConnectorUnavailable()).total_seconds() for _ in range(50)) <= 4


def test_the_retry_after_of_the_source_is_respected_up_to_the_limit() -> None:
    policy = new_policy(Clock())
    requested = failed("SOURCE_RATE_LIMITED", retry_after=timedelta(seconds=12))
    assert policy.next_delay(requested) == timedelta(seconds=12)
    absurd = failed("SOURCE_RATE_LIMITED", retry_after=timedelta(days=2))
    assert policy.next_delay(absurd) == timedelta(seconds=30)


def slow_transaction(size: AdaptiveTransactionSize, *, products: int = 250, items: int = 2_000) -> None:
    size.start_attempt(products=products, items=items)
    size.record_slow_write()


def test_a_transaction_is_halved_each_time_the_database_is_too_slow_for_it_down_to_one_product() -> None:
    size = AdaptiveTransactionSize(RunConfig())
    assert (size.max_products, size.max_items) == (0, 2_000)
    requested = []
    for _ in range(9):
        slow_transaction(size, products=size.max_products or 250, items=size.max_items)
        requested.append(size.max_products)
    assert requested == [125, 62, 31, 15, 7, 3, 1, 1, 1]
    assert size.max_items == 2_000 >> 9


def test_half_of_what_was_attempted_is_tried_next_not_half_of_what_was_allowed() -> None:
    size = AdaptiveTransactionSize(RunConfig())
    slow_transaction(size, products=10, items=40)
    assert (size.max_products, size.max_items) == (5, 20)


def test_a_slow_write_other_than_a_batch_is_counted_and_halves_nothing() -> None:
    size = AdaptiveTransactionSize(RunConfig())
    size.record_slow_write()
    assert (size.slow_writes, size.max_products, size.max_items) == (1, 0, 2_000)


def test_a_transaction_grows_again_when_the_database_keeps_up() -> None:
    size = AdaptiveTransactionSize(RunConfig())
    slow_transaction(size)
    slow_transaction(size, products=125, items=1_000)
    for _ in range(150):
        size.record_commit()
    assert (size.max_products, size.max_items) == (0, 2_000)


def test_only_slow_writes_in_a_row_exhaust_the_attempts() -> None:
    size = AdaptiveTransactionSize(RunConfig(max_slow_writes=3))
    for _ in range(5):
        size.record_slow_write()
        size.record_slow_write()
        assert not size.exhausted
        size.record_commit()
    for _ in range(3):
        size.record_slow_write()
    assert size.exhausted


def test_the_backoff_from_the_database_grows_with_each_slow_write() -> None:
    size = AdaptiveTransactionSize(RunConfig())
    delays = []
    for _ in range(6):
        size.record_slow_write()
        delays.append(size.next_delay.total_seconds())
    assert delays == [2, 4, 8, 16, 30, 30]
