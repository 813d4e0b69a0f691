"""How often BigCommerce is asked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason
from connector_svc.http.retry import retry_after
from connector_svc.platforms.bigcommerce.pace import Pace
from connector_svc.platforms.bigcommerce.platform import RATE_LIMIT_HEADERS
from tests.fakes.skipping_loop import skipping

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Watch:
    """Notes waits and sleeps, in a loop that skips time."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.sleeps: list[float] = []
        self.pace = Pace(lambda: NOW, self._sleep)

    async def before(self) -> None:
        """One request, answered at once without a word about the window."""
        async with self.pace.request(self.waits.append):
            pass

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(seconds)


def said(left: object, reset: object) -> dict[str, str]:
    return {"X-Rate-Limit-Requests-Left": str(left), "X-Rate-Limit-Time-Reset-Ms": str(reset)}


@skipping
async def test_nothing_is_waited_for_while_requests_are_left() -> None:
    watch = Watch()
    await watch.before()
    watch.pace.learned(said(10, 30_000))
    for _ in range(8):
        await watch.before()
    assert watch.sleeps == []


@skipping
async def test_a_window_that_is_used_up_is_waited_out_and_told() -> None:
    watch = Watch()
    watch.pace.learned(said(0, 80))
    await watch.before()
    (wait,) = watch.waits
    assert wait.reason is WaitReason.THROTTLED
    assert timedelta() < wait.until - NOW <= timedelta(milliseconds=80)
    assert 0 < sum(watch.sleeps) < 0.2


@skipping
async def test_requests_under_way_count_before_their_replies_come() -> None:
    watch = Watch()
    watch.pace.learned(said(4, 60))
    for _ in range(3):
        await watch.before()
    assert len(watch.sleeps) >= 1


@skipping
async def test_a_reply_does_not_count_the_requests_of_other_streams_that_are_under_way() -> None:
    watch = Watch()
    async with AsyncExitStack() as others:
        for _ in range(6):
            await others.enter_async_context(watch.pace.request(watch.waits.append))
        async with watch.pace.request(watch.waits.append):
            watch.pace.learned(said(8, 60))
        assert watch.sleeps == []
        await watch.before()
        assert watch.sleeps


@skipping
async def test_an_older_reply_that_comes_late_gives_nothing_back() -> None:
    watch = Watch()
    watch.pace.learned(said(2, 50))
    watch.pace.learned(said(9, 55))
    await watch.before()
    assert watch.sleeps


@skipping
async def test_headers_that_make_no_sense_stop_nobody() -> None:
    watch = Watch()
    for left, reset in (("many", 10), ("", ""), (-1, 10), (0, "soon"), ("9" * 40, "9" * 40)):
        watch.pace.learned(said(left, reset))
        await watch.before()
    assert watch.sleeps == []


def test_the_client_waits_for_the_window_after_a_429_without_retry_after() -> None:
    assert retry_after(said(0, 12_500), NOW, RATE_LIMIT_HEADERS) == timedelta(seconds=12.5)
    assert retry_after(said(3, 12_500), NOW, RATE_LIMIT_HEADERS) is None
    assert retry_after(said(0, "soon"), NOW, RATE_LIMIT_HEADERS) is None
    assert retry_after(said(0, 12_500) | {"Retry-After": "2"}, NOW, RATE_LIMIT_HEADERS) == timedelta(seconds=2)
