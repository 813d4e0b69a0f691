"""What the platform's bucket of query points holds, as far as it can be known here."""

from __future__ import annotations

from connector_svc.platforms.shopify.graphql_response import CallCost, ThrottleStatus


class Points:
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

    def settle(self, points: float, cost: CallCost | None, now: float) -> None:
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
