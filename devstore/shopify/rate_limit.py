"""The leaky bucket that limits one app in one shop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from devstore.spec import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much a plan may spend."""

    maximum: float
    """Points the full bucket holds."""
    per_second: float
    """Points restored each second."""


LIMITS = {
    Plan.STANDARD: Limit(maximum=2_000.0, per_second=100.0),
    Plan.ADVANCED: Limit(maximum=4_000.0, per_second=200.0),
    Plan.PLUS: Limit(maximum=20_000.0, per_second=1_000.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One call that got its points."""

    at: float
    left: float
    """Points in the bucket behind it."""
    lost: float
    """Points lost until then."""


class LeakyBucket:
    """Full at the start. A query needs its requested cost at once and gets back what it did not use."""

    def __init__(
        self, limit: Limit, *, enforced: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._enforced = enforced
        self._clock = clock
        self._available = limit.maximum
        self._filled_at = clock()
        self.lost = 0.0
        """Points that were not restored since the bucket was full."""
        self.first_take: Take | None = None
        self.last_take: Take | None = None

    @property
    def available(self) -> float:
        """Points in the bucket now."""
        elapsed, self._filled_at = self._clock() - self._filled_at, self._clock()
        restored = self._available + elapsed * self.limit.per_second
        self._available = min(self.limit.maximum, restored)
        self.lost += restored - self._available
        return self._available

    def take(self, points: int) -> bool:
        """Takes the points, or takes nothing and says no."""
        if not self._enforced:
            return True
        if points > self.available:
            return False
        self._available -= points
        self.last_take = Take(at=self._clock(), left=self._available, lost=self.lost)
        self.first_take = self.first_take or self.last_take
        return True

    def drain(self, points: int) -> None:
        """Somebody else spends so many points, or what is left."""
        if self._enforced:
            self._available = max(0.0, self.available - points)

    def give_back(self, points: int) -> None:
        """Returns points that were taken and not used."""
        if self._enforced:
            self._available = min(self.limit.maximum, self._available + points)

    def status(self) -> dict[str, float]:
        """`throttleStatus` as the API words it."""
        return {
            "maximumAvailable": self.limit.maximum,
            "currentlyAvailable": int(self.available),
            "restoreRate": self.limit.per_second,
        }
