"""The leaky bucket."""

from __future__ import annotations

from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.spec import Plan


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_query_that_asks_for_more_than_is_left_takes_nothing() -> None:
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=Clock())
    assert bucket.take(1_500)
    assert not bucket.take(501)
    assert bucket.status() == {
        "maximumAvailable": 2000.0,
        "currentlyAvailable": 500,
        "restoreRate": 100.0,
    }


def test_what_was_not_used_is_given_back() -> None:
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=Clock())
    bucket.take(1_000)
    bucket.refund(900)
    assert bucket.available == 1_900


def test_time_refills_the_bucket_and_never_above_its_rim() -> None:
    clock = Clock()
    bucket = LeakyBucket(LIMITS[Plan.ADVANCED], clock=clock)
    bucket.take(1_000)
    clock.now = 2.0
    assert bucket.available == 3_400
    clock.now = 60.0
    assert bucket.available == 4_000
