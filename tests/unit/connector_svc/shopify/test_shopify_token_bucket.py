"""The estimated level of the bucket is never above the actual one, even while calls are in flight."""

from __future__ import annotations

import random

from connector_svc.platforms.shopify.graphql_response import QueryCost, ThrottleStatus
from connector_svc.platforms.shopify.rate_limiter import TokenBucket
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.spec import Plan


def cost(requested: float, charged: float | None, left: float) -> QueryCost:
    status = ThrottleStatus(maximum_available=2000, currently_available=left, restore_rate=100)
    return QueryCost(requested_query_cost=requested, actual_query_cost=charged, throttle_status=status)


def bucket_with(left: float) -> TokenBucket:
    estimate = TokenBucket()
    estimate.reserve(10, 0)
    estimate.settle(10, cost(10, 10, left), 0)
    return estimate


def test_before_the_first_response_no_call_waits() -> None:
    assert TokenBucket().seconds_until(900, 0) == 0


def test_the_level_is_restored_by_the_clock_up_to_the_maximum() -> None:
    estimate = bucket_with(500)
    assert estimate.seconds_until(700, 0) == 2.0
    assert estimate.seconds_until(700, 1.5) == 0.5
    assert estimate.seconds_until(1_000_000, 500) == 0


def test_a_call_in_flight_reserves_its_points_until_its_response_returns_them() -> None:
    estimate = bucket_with(1000)
    estimate.reserve(900, 0)
    assert estimate.seconds_until(300, 0) == 2.0
    estimate.settle(900, cost(900, 200, 800), 0)
    assert estimate.seconds_until(800, 0) == 0


def test_a_status_that_does_not_include_calls_in_flight_is_reduced_by_their_points() -> None:
    estimate = bucket_with(1000)
    estimate.reserve(300, 0)
    estimate.reserve(600, 0)
    estimate.settle(300, cost(300, 300, 700), 0)
    assert estimate.seconds_until(200, 0) == 1.0, "700 of the status, less the 600 in flight"


def test_points_spent_by_another_client_show_in_the_next_status() -> None:
    estimate = bucket_with(1000)
    estimate.reserve(100, 0)
    estimate.settle(100, cost(100, 100, 300), 0)
    assert estimate.seconds_until(400, 0) == 1.0


def test_a_call_without_a_response_counts_as_spent_until_the_next_status() -> None:
    estimate = bucket_with(1000)
    estimate.reserve(900, 0)
    estimate.settle(900, None, 0)
    assert estimate.seconds_until(200, 0) == 1.0
    estimate.reserve(50, 0)
    estimate.settle(50, cost(50, 50, 950), 0)
    assert estimate.seconds_until(900, 0) == 0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_call_finds_the_bucket_empty_whatever_the_order_of_responses() -> None:
    """Run 2,000 calls, up to four concurrently, against the devstore's bucket."""
    generator, clock = random.Random(7), Clock()
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=clock)
    estimate = bucket_with(2000)
    in_flight: list[tuple[int, int]] = []
    for _ in range(2_000):
        if len(in_flight) == 4 or (in_flight and generator.random() < 0.5):
            requested, charged = in_flight.pop(generator.randrange(len(in_flight)))
            bucket.refund(requested - charged)
            left = bucket.status()["currentlyAvailable"]
            clock.now += generator.random() * 0.2
            estimate.settle(requested, cost(requested, charged, left), clock.now)
            continue
        requested = generator.choice((13, 107, 300, 959))
        clock.now += estimate.seconds_until(requested, clock.now) + 1e-6
        estimate.reserve(requested, clock.now)
        assert bucket.take(requested)
        in_flight.append((requested, generator.randint(1, requested)))
