"""The request quota per time window, which a store's plan decides."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimiter:
    """Counts the requests of a window; the next window starts with the first request after its end.

    Args:
        quota: Requests per window.
        window_seconds: The length of a window.
        throttle: Whether the quota is enforced.
    """

    def __init__(
        self, quota: int, window_seconds: float, *, throttle: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quota = quota
        self._window_seconds = window_seconds
        self._throttle = throttle
        self._clock = clock
        self._window_end = 0.0
        self._used = 0

    def take(self) -> bool:
        """Count one request and return True; return False when the quota of the window is used up."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end, self._used = now + self._window_seconds, 0
        if self._throttle and self._used >= self._quota:
            return False
        self._used += 1
        return True

    def headers(self) -> dict[str, str]:
        """Return the rate limit headers, which every reply has."""
        left = max(self._quota - self._used, 0) if self._throttle else self._quota
        return {
            "X-Rate-Limit-Requests-Left": str(left),
            "X-Rate-Limit-Requests-Quota": str(self._quota),
            "X-Rate-Limit-Time-Reset-Ms": str(max(round((self._window_end - self._clock()) * 1000), 0)),
            "X-Rate-Limit-Time-Window-Ms": str(round(self._window_seconds * 1000)),
        }
