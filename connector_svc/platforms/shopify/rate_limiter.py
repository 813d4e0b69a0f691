"""Spends a shop's query points no faster than the platform gives them, and no slower.

What the platform's bucket of query points holds, as far as it can be known here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.platforms.shopify.graphql_response import QueryCost, ThrottleStatus
from connector_svc.platforms.shopify.queries import Query

_SPARE_POINTS = 1
"""Clocks differ by a little."""
_BLIND_PAUSE = timedelta(seconds=1)
"""What Shopify recommends when a refusal carries no status."""
_SHORTEST_PAUSE = timedelta(milliseconds=50)
_MOST_PAUSES = 40
"""Longer waits than two seconds on top help nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """The right to send one call."""

    query: Query
    first: int
    points: float
    """Set aside for it until its reply tells what it cost."""


class RateLimiter:
    """Lets a call go as soon as the platform's bucket holds what it asks for; the calls of a pass share one.

    Calls go in the order in which they asked. The plan's limits are known only from the replies.
    """

    def __init__(self, clock: Callable[[], datetime], on_wait: WaitReporter) -> None:
        self._clock = clock
        self._on_wait = on_wait
        self._points = TokenBucket()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._costs: dict[tuple[str, int], float] = {}

    async def before(self, query: Query, first: int) -> Ticket:
        """Returns when `query` for `first` records can be paid; `after` must follow, whatever becomes of it."""
        points = self.cost_of(query, first)
        async with self._turn:
            told = timedelta(0)
            while (delay := self._points.wait_for(points + _SPARE_POINTS, _now())) > 0:
                if told < (left := timedelta(seconds=delay)):
                    self._tell(left)
                told = left
                await self._change(delay)
            self._points.take(points, _now())
        return Ticket(query=query, first=first, points=points)

    def after(self, ticket: Ticket, cost: QueryCost | None) -> None:
        """Learns from the reply; None: there was none."""
        self._points.settle(ticket.points, cost, _now())
        if cost is not None and cost.requested_query_cost is not None:
            self._costs[ticket.query.name, ticket.first] = cost.requested_query_cost
        self._changed.set()

    def cost_of(self, query: Query, first: int) -> float:
        """What the call asks for: as the platform told, else by the rule."""
        known = self._costs.get((query.name, first))
        return query.estimated_cost(first) if known is None else known

    def exceeds_bucket(self, cost: QueryCost) -> bool:
        """Whether a refused call asks for more than the bucket ever holds."""
        status = cost.throttle_status
        return bool(status and (cost.requested_query_cost or 0) > status.maximum_available)

    async def wait_after_throttled(self, cost: QueryCost, times: int) -> None:
        """Waits as long as the THROTTLED reply implies, and a little longer each time it is given to one call.

        Somebody else spends from the same bucket; who only ever waits for what was missing may come too late for
        ever.
        """
        status = cost.throttle_status
        delay = _BLIND_PAUSE
        if status is not None and status.restore_rate > 0:
            missing = (cost.requested_query_cost or 0) - status.currently_available
            delay = max(timedelta(seconds=missing / status.restore_rate), _SHORTEST_PAUSE)
        delay += _SHORTEST_PAUSE * min(times - 1, _MOST_PAUSES)
        self._tell(delay)
        await asyncio.sleep(delay.total_seconds())

    async def _change(self, delay: float) -> None:
        """A reply that pays points back may end the wait early."""
        self._changed.clear()
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            return

    def _tell(self, delay: timedelta) -> None:
        self._on_wait(
            Wait(
                reason=WaitReason.THROTTLED,
                until=self._clock() + delay,
                message=f"Shopify's rate limit, {delay.total_seconds():.1f} s",
            )
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


class TokenBucket:
    """Goes on from the last status by the clock, and sets aside what the calls under way may cost.

    A call needs its requested points when it arrives and gets back what it did not use. A status comes from the
    middle of that: it may or may not include calls that are still under way, so it bounds the level from both
    sides, and corrects it when it lies outside. Before the first status everything is allowed.
    """

    def __init__(self) -> None:
        self._status: ThrottleStatus | None = None
        self._level = 0.0
        self._as_of = 0.0
        self._under_way = 0.0

    def wait_for(self, points: float, now: float) -> float:
        """Seconds until so many points are there; a full bucket is enough for anything."""
        if self._status is None or self._status.restore_rate <= 0:
            return 0.0
        self._restore(now)
        wanted = min(points, self._status.maximum_available)
        return max(0.0, (wanted - self._level) / self._status.restore_rate)

    def take(self, points: float, now: float) -> None:
        """Sets points aside for a call that is sent now."""
        self._restore(now)
        self._level -= points
        self._under_way += points

    def settle(self, points: float, cost: QueryCost | None, now: float) -> None:
        """A call for which `points` were set aside has ended; without a cost they count as spent."""
        self._restore(now)
        self._under_way -= points
        if cost is None:
            return
        self._level += points - (cost.actual_query_cost or 0.0)
        status = cost.throttle_status
        if status is None:
            return
        highest = status.currently_available
        lowest = highest - self._under_way
        self._level = lowest if self._status is None else min(highest, max(lowest, self._level))
        self._status = status

    def _restore(self, now: float) -> None:
        if self._status is not None:
            restored = (now - self._as_of) * self._status.restore_rate
            self._level = min(self._status.maximum_available, self._level + restored)
        self._as_of = now
