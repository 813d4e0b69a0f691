"""A token bucket per key, with a bounded number of buckets."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_MAX_BUCKETS: Final = 50_000
"""About 10 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimit:
    """The rate and the size of a token bucket."""

    per_second: float
    """Tokens that are added each second; 0: there is no limit."""
    burst: int
    """Tokens of a full bucket, at least 1."""

    @property
    def is_off(self) -> bool:
        """Whether nothing is limited."""
        return self.per_second <= 0


NO_LIMIT: Final = RateLimit(per_second=0, burst=1)
"""Limits nothing."""


class RateLimiter(Generic[K]):
    """Token buckets by key; each operation is O(1).

    A bucket is stored as the time at which it will be full again. A full bucket needs no entry, so that the oldest
    entry can nearly always be dropped without an effect. If there are more keys than buckets, the key that was
    used least recently gets a full bucket.
    """

    def __init__(
        self, limit: RateLimit, *, max_buckets: int = _MAX_BUCKETS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._max_buckets = max_buckets
        self._monotonic = monotonic
        self._full_at: OrderedDict[K, float] = OrderedDict()
        """By key, the least recently used first."""

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: K) -> float:
        """Take a token from the key's bucket.

        Returns:
            0 if there was one, else the seconds until there is one; then none was taken.
        """
        now = self._monotonic()
        wait = self._wait_seconds(key, now)
        if not wait and not self.limit.is_off:
            self._full_at[key] = max(self._full_at.get(key, now), now) + 1 / self.limit.per_second
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._max_buckets:
                self._full_at.popitem(last=False)
        return wait

    def wait_seconds(self, key: K) -> float:
        """Return the seconds until the key's bucket has a token; 0 if it has one."""
        return self._wait_seconds(key, self._monotonic())

    def _wait_seconds(self, key: K, now: float) -> float:
        full_at = self._full_at.get(key)
        if full_at is None:
            return 0.0
        # A key that is refused counts as used: its bucket must not be dropped.
        self._full_at.move_to_end(key)
        missing = (full_at - now) * self.limit.per_second
        # Rounded: after exactly the time that was returned there is a token.
        return max(0.0, round((missing - self.limit.burst + 1) / self.limit.per_second, 6))
