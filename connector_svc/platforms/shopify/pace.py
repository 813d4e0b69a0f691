"""Spends a shop's query points no faster than the platform gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.platforms.shopify.answer import CallCost, ThrottleStatus
from connector_svc.platforms.shopify.queries import Query

_SPARE_POINTS = 1
"""The platform shows whole points; the last one may be half there."""
_BLIND_PAUSE = timedelta(seconds=1)
"""What Shopify recommends when a refusal carries no status."""


class Pace:
    """Waits before a call until the platform's bucket holds what the call asks for.

    Knows the plan's limits only from the replies. Time passes on the platform as here; since a status is older
    than its arrival, the estimate errs to the safe side.
    """

    def __init__(self, clock: Callable[[], datetime], on_wait: WaitReporter) -> None:
        self._clock = clock
        self._on_wait = on_wait
        self._status: ThrottleStatus | None = None
        self._seen_at = 0.0
        self._costs: dict[tuple[str, int], float] = {}

    async def before(self, query: Query, first: int) -> None:
        """Returns when `query` with a page of `first` can be paid."""
        delay = self._delay(self._costs.get((query.name, first), query.cost))
        if delay > timedelta(0):
            await self._sleep(delay)

    def charged(self, query: Query, first: int, cost: CallCost) -> None:
        """Learns from a reply."""
        if cost.requested_query_cost is not None:
            self._costs[query.name, first] = cost.requested_query_cost
        if cost.throttle_status is not None:
            self._status = cost.throttle_status
            self._seen_at = asyncio.get_running_loop().time()

    def is_beyond_bucket(self, cost: CallCost) -> bool:
        """Whether a refused call asks for more than the bucket ever holds."""
        status = cost.throttle_status
        return bool(status and (cost.requested_query_cost or 0) > status.maximum_available)

    async def after_refusal(self, query: Query, first: int, cost: CallCost) -> None:
        """Waits as long as a THROTTLED reply demands."""
        delay = self._delay(cost.requested_query_cost or query.cost) if cost.throttle_status else _BLIND_PAUSE
        await self._sleep(max(delay, timedelta(milliseconds=50)))

    def _delay(self, cost: float) -> timedelta:
        status = self._status
        if status is None or status.restore_rate <= 0:
            return timedelta(0)
        passed = asyncio.get_running_loop().time() - self._seen_at
        available = min(status.maximum_available, status.currently_available + passed * status.restore_rate)
        wanted = min(cost + _SPARE_POINTS, status.maximum_available)
        return timedelta(seconds=max(0.0, (wanted - available) / status.restore_rate))

    async def _sleep(self, delay: timedelta) -> None:
        self._on_wait(
            Wait(
                reason=WaitReason.THROTTLED,
                until=self._clock() + delay,
                message=f"Shopify's rate limit, {delay.total_seconds():.1f} s",
            )
        )
        await asyncio.sleep(delay.total_seconds())
