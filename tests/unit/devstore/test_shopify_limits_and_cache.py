"""The rate limit (leaky bucket) and the reply cache of the Shopify API."""

from __future__ import annotations

import msgspec

from devstore.shopify.cache import CachedReply, ReplyCache
from devstore.shopify.rate_limit import LIMITS, LeakyBucket
from devstore.spec import Plan


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_query_that_costs_more_than_the_bucket_has_takes_nothing() -> None:
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=Clock())
    assert bucket.take(1_500)
    assert not bucket.take(501)
    assert bucket.status() == {
        "maximumAvailable": 2000.0,
        "currentlyAvailable": 500,
        "restoreRate": 100.0,
    }


def test_unused_points_are_refunded() -> None:
    bucket = LeakyBucket(LIMITS[Plan.STANDARD], clock=Clock())
    bucket.take(1_000)
    bucket.refund(900)
    assert bucket.available == 1_900


def test_the_bucket_is_refilled_over_time_up_to_its_maximum() -> None:
    clock = Clock()
    bucket = LeakyBucket(LIMITS[Plan.ADVANCED], clock=clock)
    bucket.take(1_000)
    clock.now = 2.0
    assert bucket.available == 3_400
    clock.now = 60.0
    assert bucket.available == 4_000


def cached_reply(size: int, *, failed: bool = False) -> CachedReply:
    errors = [{"message": "no"}] if failed else []
    return CachedReply(data=msgspec.Raw(b'"' + b"x" * size + b'"'), errors=errors, warnings=[], points=1)


def test_a_reply_is_computed_once() -> None:
    cache, replies = ReplyCache(100_000), [cached_reply(10), cached_reply(10)]
    first = cache.get("a", replies.pop)
    assert cache.get("a", replies.pop) is first
    assert len(replies) == 1


def test_the_least_recently_used_replies_are_evicted() -> None:
    cache = ReplyCache(25_000)
    first = cache.get("a", lambda: cached_reply(10_000))
    cache.get("b", lambda: cached_reply(10_000))
    cache.get("a", lambda: cached_reply(1))
    cache.get("c", lambda: cached_reply(10_000))
    assert cache.get("a", lambda: cached_reply(1)) is first
    assert len(memoryview(cache.get("b", lambda: cached_reply(1)).data)) == 3


def test_a_reply_with_errors_is_not_cached() -> None:
    cache = ReplyCache(100_000)
    cache.get("a", lambda: cached_reply(1, failed=True))
    assert cache.get("a", lambda: cached_reply(1)).errors == []
