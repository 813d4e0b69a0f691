"""Rate limiter of one shop: spends its query points no faster than Shopify restores them, and no slower.

Shopify limits the Admin API by a token bucket of query points per app and shop, see
https://shopify.dev/docs/api/usage/limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.platforms.base import QueryPointMeter, UncountedPoints
from connector_svc.platforms.shopify.graphql_response import QueryCost, ThrottleStatus
from connector_svc.platforms.shopify.queries import Query

_SPARE_POINTS = 1
"""Our clock and Shopify's differ a little."""
_DEFAULT_THROTTLED_DELAY = timedelta(seconds=1)
"""Recommended by Shopify when a THROTTLED response carries no status."""
_MIN_THROTTLED_DELAY = timedelta(milliseconds=50)
_MAX_EXTRA_DELAYS = 40
"""Each adds `_MIN_THROTTLED_DELAY`; more than two seconds on top does not help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """The points that are reserved for one call until its response reports the actual cost."""

    query: Query
    first: int
    points: float


class RateLimiter:
    """Lets a call go as soon as Shopify's bucket holds the points that it requests.

    All calls of a pass share one. Calls go in the order in which they were made. The limits of the shop's plan are
    known only from responses.
    """

    def __init__(
        self, clock: Callable[[], datetime], on_wait: WaitReporter, points: QueryPointMeter | None = None
    ) -> None:
        self._clock = clock
        self._on_wait = on_wait
        self._bucket = TokenBucket(points)
        self._queue = asyncio.Lock()
        self._released = asyncio.Event()
        self._reported_costs: dict[tuple[str, int], float] = {}

    async def acquire(self, query: Query, first: int) -> Reservation:
        """Wait until `query` for `first` records can be paid, and reserve its points.

        The caller must call `release` afterwards, whatever happens to the call.
        """
        points = self.cost_of(query, first)
        async with self._queue:
            reported = timedelta(0)
            while (delay := self._bucket.seconds_until(points + _SPARE_POINTS, _now())) > 0:
                if reported < (left := timedelta(seconds=delay)):
                    self._report_wait(left)
                reported = left
                await self._wait_for_release(delay)
            self._bucket.reserve(points, _now())
        return Reservation(query=query, first=first, points=points)

    def release(self, reservation: Reservation, cost: QueryCost | None) -> None:
        """Settle a reservation by the cost that the response reports; None: there was no response."""
        self._bucket.settle(reservation.points, cost, _now())
        if cost is not None and cost.requested_query_cost is not None:
            self._reported_costs[reservation.query.name, reservation.first] = cost.requested_query_cost
        self._released.set()

    def cost_of(self, query: Query, first: int) -> float:
        """Return the points that the call requests: as reported by Shopify before, otherwise as estimated."""
        reported = self._reported_costs.get((query.name, first))
        return query.estimated_cost(first) if reported is None else reported

    def exceeds_bucket(self, cost: QueryCost) -> bool:
        """Return whether a throttled call requests more points than the bucket ever holds."""
        status = cost.throttle_status
        return bool(status and (cost.requested_query_cost or 0) > status.maximum_available)

    async def wait_after_throttled(self, cost: QueryCost, attempt: int) -> None:
        """Wait as long as a THROTTLED response implies, and a little longer with each attempt of one call.

        Another client spends points from the same bucket; waiting only for the missing points could be too short
        every time.
        """
        status = cost.throttle_status
        delay = _DEFAULT_THROTTLED_DELAY
        if status is not None and status.restore_rate > 0:
            missing = (cost.requested_query_cost or 0) - status.currently_available
            delay = max(timedelta(seconds=missing / status.restore_rate), _MIN_THROTTLED_DELAY)
        delay += _MIN_THROTTLED_DELAY * min(attempt - 1, _MAX_EXTRA_DELAYS)
        self._report_wait(delay)
        await asyncio.sleep(delay.total_seconds())

    async def _wait_for_release(self, timeout_seconds: float) -> None:
        """Wait until a response returns points, at most `timeout_seconds`."""
        self._released.clear()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._released.wait()
        except TimeoutError:
            return

    def _report_wait(self, delay: timedelta) -> None:
        self._on_wait(
            Wait(
                reason=WaitReason.THROTTLED,
                until=self._clock() + delay,
                message=f"Shopify's rate limit, {delay.total_seconds():.1f} s",
            )
        )


class TokenBucket:
    """An estimate of the points in Shopify's bucket, restored by the clock since the last reported status.

    A call needs its requested points when it arrives at Shopify, and gets back what it did not use. A reported
    status was taken in the middle of that: it may or may not include calls that are still in flight. So it bounds
    the level from both sides, and corrects the level when it is outside these bounds. Before the first status
    every call is allowed. Times are seconds of a monotonic clock.
    """

    def __init__(self, points: QueryPointMeter | None = None) -> None:
        self._points = points or UncountedPoints()
        self._status: ThrottleStatus | None = None
        self._level = 0.0
        self._updated_at = 0.0
        self._in_flight = 0.0

    def seconds_until(self, points: float, now: float) -> float:
        """Return the seconds until `points` are available; a full bucket is enough for any call."""
        if self._status is None or self._status.restore_rate <= 0:
            return 0.0
        self._restore(now)
        needed = min(points, self._status.maximum_available)
        return max(0.0, (needed - self._level) / self._status.restore_rate)

    def reserve(self, points: float, now: float) -> None:
        """Reserve points for a call that is sent now."""
        self._restore(now)
        self._level -= points
        self._in_flight += points

    def settle(self, points: float, cost: QueryCost | None, now: float) -> None:
        """End a call that reserved `points`; without a reported cost they count as spent."""
        self._restore(now)
        self._in_flight -= points
        if cost is None:
            return
        used = cost.actual_query_cost or 0.0
        self._points.record_points(used=used, restored=0.0)
        self._level += points - used
        status = cost.throttle_status
        if status is None:
            return
        highest = status.currently_available
        lowest = highest - self._in_flight
        self._level = lowest if self._status is None else min(highest, max(lowest, self._level))
        self._status = status

    def _restore(self, now: float) -> None:
        if self._status is not None:
            restored = (now - self._updated_at) * self._status.restore_rate
            self._points.record_points(used=0.0, restored=restored)
            self._level = min(self._status.maximum_available, self._level + restored)
        self._updated_at = now


def _now() -> float:
    return asyncio.get_running_loop().time()
