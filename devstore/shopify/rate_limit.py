"""The rate limit of one app in one shop: a leaky bucket of query cost points."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from devstore.spec import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The rate limit of a plan."""

    maximum: float
    """The points of a full bucket."""
    per_second: float
    """The points restored per second."""


LIMITS = {
    Plan.STANDARD: Limit(maximum=2_000.0, per_second=100.0),
    Plan.ADVANCED: Limit(maximum=4_000.0, per_second=200.0),
    Plan.PLUS: Limit(maximum=20_000.0, per_second=1_000.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A request that got its points."""

    at: float
    left: float
    """The points in the bucket after it."""
    lost: float
    """`LeakyBucket.lost` at that time."""


class LeakyBucket:
    """A bucket that is full at the start. A query takes its requested cost and gets the unused part back."""

    def __init__(
        self, limit: Limit, *, enforced: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._enforced = enforced
        self._clock = clock
        self._available = limit.maximum
        self._filled_at = clock()
        self.lost = 0.0
        """The points that were not restored because the bucket was full."""
        self.first_take: Take | None = None
        self.last_take: Take | None = None

    @property
    def available(self) -> float:
        """The points in the bucket now."""
        elapsed, self._filled_at = self._clock() - self._filled_at, self._clock()
        restored = self._available + elapsed * self.limit.per_second
        self._available = min(self.limit.maximum, restored)
        self.lost += restored - self._available
        return self._available

    def take(self, points: int) -> bool:
        """Take the points and return True; take nothing and return False when the bucket has fewer."""
        if not self._enforced:
            return True
        if points > self.available:
            return False
        self._available -= points
        self.last_take = Take(at=self._clock(), left=self._available, lost=self.lost)
        self.first_take = self.first_take or self.last_take
        return True

    def drain(self, points: int) -> None:
        """Remove points, at most those left, as if another client of the app spent them."""
        if self._enforced:
            self._available = max(0.0, self.available - points)

    def refund(self, points: int) -> None:
        """Put points back that were taken and not used."""
        if self._enforced:
            self._available = min(self.limit.maximum, self._available + points)

    def status(self) -> dict[str, float]:
        """Return `throttleStatus` as the API shows it."""
        return {
            "maximumAvailable": self.limit.maximum,
            "currentlyAvailable": int(self.available),
            "restoreRate": self.limit.per_second,
        }
