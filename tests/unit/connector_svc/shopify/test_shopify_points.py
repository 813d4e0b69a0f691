"""What we believe to be in the bucket is never more than there is, also while calls are under way."""

from __future__ import annotations

import random

from connector_svc.platforms.shopify.answer import CallCost, ThrottleStatus
from connector_svc.platforms.shopify.points import Points
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.spec import Plan


def cost(asked: float, charged: float | None, left: float) -> CallCost:
    status = ThrottleStatus(maximum_available=2000, currently_available=left, restore_rate=100)
    return CallCost(requested_query_cost=asked, actual_query_cost=charged, throttle_status=status)


def known(left: float) -> Points:
    points = Points()
    points.take(10, 0)
    points.settle(10, cost(10, 10, left), 0)
    return points


def test_before_the_first_reply_nothing_is_waited_for() -> None:
    assert Points().wait_for(900, 0) == 0


def test_the_level_goes_on_by_the_clock_and_never_above_the_rim() -> None:
    points = known(500)
    assert points.wait_for(700, 0) == 2.0
    assert points.wait_for(700, 1.5) == 0.5
    assert points.wait_for(1_000_000, 500) == 0


def test_a_call_under_way_keeps_its_points_until_its_reply_pays_them_back() -> None:
    points = known(1000)
    points.take(900, 0)
    assert points.wait_for(300, 0) == 2.0
    points.settle(900, cost(900, 200, 800), 0)
    assert points.wait_for(800, 0) == 0


def test_a_status_that_does_not_know_the_calls_behind_it_is_not_believed_above_what_they_leave() -> None:
    points = known(1000)
    points.take(300, 0)
    points.take(600, 0)
    points.settle(300, cost(300, 300, 700), 0)
    assert points.wait_for(200, 0) == 1.0, "700 of the status, less the 600 under way"


def test_what_somebody_else_spent_is_seen_in_the_next_status() -> None:
    points = known(1000)
    points.take(100, 0)
    points.settle(100, cost(100, 100, 300), 0)
    assert points.wait_for(400, 0) == 1.0


def test_a_call_without_a_reply_counts_as_spent_until_a_status_says_otherwise() -> None:
    points = known(1000)
    points.take(900, 0)
    points.settle(900, None, 0)
    assert points.wait_for(200, 0) == 1.0
    points.take(50, 0)
    points.settle(50, cost(50, 50, 950), 0)
    assert points.wait_for(900, 0) == 0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whatever_the_order_of_replies_no_call_meets_an_empty_bucket() -> None:
    """2,000 calls, up to four at once, against the devstore's bucket."""
    chance, clock = random.Random(7), Clock()
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=clock)
    points = known(2000)
    under_way: list[tuple[int, int]] = []
    for _ in range(2_000):
        if len(under_way) == 4 or (under_way and chance.random() < 0.5):
            asked, charged = under_way.pop(chance.randrange(len(under_way)))
            bucket.refund(asked - charged)
            left = bucket.status()["currentlyAvailable"]
            clock.now += chance.random() * 0.2
            points.settle(asked, cost(asked, charged, left), clock.now)
            continue
        asked = chance.choice((13, 107, 300, 959))
        clock.now += points.wait_for(asked, clock.now) + 1e-6
        points.take(asked, clock.now)
        assert bucket.take(asked)
        under_way.append((asked, chance.randint(1, asked)))
