"""The rate limiter of BigCommerce stores."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason
from connector_svc.http.retry import retry_after
from connector_svc.platforms.bigcommerce.platform import RATE_LIMIT_HEADERS
from connector_svc.platforms.bigcommerce.rate_limiter import RateLimiter
from tests.fakes.skipping_loop import skipping

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class RecordedLimiter:
    """Rate limiter with recorded waits and sleeps, in a loop that skips time."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.sleeps: list[float] = []
        self.limiter = RateLimiter(lambda: NOW, self._sleep)

    async def request(self) -> None:
        """Send one request whose reply arrives at once, without rate-limit headers."""
        async with self.limiter.request(self.waits.append):
            pass

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(seconds)


def rate_limit_headers(remaining: object, reset_ms: object) -> dict[str, str]:
    return {"X-Rate-Limit-Requests-Left": str(remaining), "X-Rate-Limit-Time-Reset-Ms": str(reset_ms)}


@skipping
async def test_no_wait_while_requests_remain() -> None:
    recorded = RecordedLimiter()
    await recorded.request()
    recorded.limiter.update(rate_limit_headers(10, 30_000))
    for _ in range(8):
        await recorded.request()
    assert recorded.sleeps == []


@skipping
async def test_a_used_up_window_is_waited_for_and_the_wait_is_reported() -> None:
    recorded = RecordedLimiter()
    recorded.limiter.update(rate_limit_headers(0, 80))
    await recorded.request()
    (wait,) = recorded.waits
    assert wait.reason is WaitReason.THROTTLED
    assert timedelta() < wait.until - NOW <= timedelta(milliseconds=80)
    assert 0 < sum(recorded.sleeps) < 0.2


@skipping
async def test_requests_count_before_their_replies_arrive() -> None:
    recorded = RecordedLimiter()
    recorded.limiter.update(rate_limit_headers(4, 60))
    for _ in range(3):
        await recorded.request()
    assert len(recorded.sleeps) >= 1


@skipping
async def test_requests_in_flight_of_other_streams_are_subtracted() -> None:
    recorded = RecordedLimiter()
    async with AsyncExitStack() as others:
        for _ in range(6):
            await others.enter_async_context(recorded.limiter.request(recorded.waits.append))
        async with recorded.limiter.request(recorded.waits.append):
            recorded.limiter.update(rate_limit_headers(8, 60))
        assert recorded.sleeps == []
        await recorded.request()
        assert recorded.sleeps


@skipping
async def test_a_late_older_reply_does_not_raise_the_remaining_count() -> None:
    recorded = RecordedLimiter()
    recorded.limiter.update(rate_limit_headers(2, 50))
    recorded.limiter.update(rate_limit_headers(9, 55))
    await recorded.request()
    assert recorded.sleeps


@skipping
async def test_malformed_headers_are_ignored() -> None:
    recorded = RecordedLimiter()
    for remaining, reset_ms in (("many", 10), ("", ""), (-1, 10), (0, "soon"), ("9" * 40, "9" * 40)):
        recorded.limiter.update(rate_limit_headers(remaining, reset_ms))
        await recorded.request()
    assert recorded.sleeps == []


def test_the_client_waits_for_the_window_after_a_429_without_retry_after() -> None:
    assert retry_after(rate_limit_headers(0, 12_500), NOW, RATE_LIMIT_HEADERS) == timedelta(seconds=12.5)
    assert retry_after(rate_limit_headers(3, 12_500), NOW, RATE_LIMIT_HEADERS) is None
    assert retry_after(rate_limit_headers(0, "soon"), NOW, RATE_LIMIT_HEADERS) is None
    assert retry_after(rate_limit_headers(0, 12_500) | {"Retry-After": "2"}, NOW, RATE_LIMIT_HEADERS) == timedelta(
        seconds=2
    )
