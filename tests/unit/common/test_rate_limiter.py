"""Token buckets: bursts pass, the rate holds afterwards, and their number is bounded."""

from __future__ import annotations

import pytest
from catalogsync_common.rate_limiter import NO_LIMIT, RateLimit, RateLimiter


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, *, per_second: float = 0.1, burst: int = 5, buckets: int = 100) -> RateLimiter[str]:
    return RateLimiter(RateLimit(per_second=per_second, burst=burst), max_buckets=buckets, monotonic=clock)


def test_a_burst_passes_and_the_next_call_learns_when_to_come_again() -> None:
    clock = Clock()
    starts = limiter(clock)
    assert [starts.take("shop") for _ in range(5)] == [0.0] * 5
    assert starts.take("shop") == pytest.approx(10)
    clock.now += 4
    assert starts.take("shop") == pytest.approx(6), "a refused call takes no token"


@pytest.mark.parametrize("per_second", [0.1, 50, 3, 1 / 7])
def test_after_exactly_the_time_that_was_returned_there_is_one_token(per_second: float) -> None:
    clock = Clock()
    calls = limiter(clock, per_second=per_second, burst=3)
    for _ in range(200):
        while not (wait := calls.take("a")):
            pass
        clock.now += wait
        assert calls.take("a") == 0
        assert calls.take("a") > 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    clock = Clock()
    calls = limiter(clock, per_second=50, burst=3)
    calls.take("a")
    clock.now += 3600
    assert [bool(calls.take("a")) for _ in range(4)] == [False, False, False, True]


def test_keys_do_not_share_a_bucket() -> None:
    calls = limiter(Clock(), burst=1)
    assert (calls.take("a"), calls.take("b")) == (0, 0)
    assert calls.take("a") > 0


def test_looking_takes_no_token() -> None:
    calls = limiter(Clock(), burst=1)
    assert [calls.wait_seconds("a") for _ in range(3)] == [0, 0, 0]
    assert calls.take("a") == 0
    assert calls.wait_seconds("a") > 0


def test_the_number_of_buckets_is_bounded_and_the_oldest_goes_first() -> None:
    calls = limiter(Clock(), burst=1, buckets=3)
    for key in "abcd":
        calls.take(key)
    assert len(calls) == 3
    assert calls.take("d") > 0
    assert calls.take("a") == 0, "its bucket was dropped"


def test_other_keys_cannot_push_out_the_bucket_of_a_key_that_is_being_refused() -> None:
    calls = limiter(Clock(), burst=1, buckets=3)
    calls.take("noisy")
    for number in range(50):
        calls.take(f"other-{number}")
        assert calls.take("noisy") > 0


def test_without_a_limit_nothing_is_refused_or_stored() -> None:
    calls = RateLimiter[str](NO_LIMIT)
    assert {calls.take("a") for _ in range(1000)} == {0}
    assert len(calls) == 0
