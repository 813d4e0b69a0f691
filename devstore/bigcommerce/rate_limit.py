"""So many requests per window of time, as a store's plan allows."""

from __future__ import annotations

import time
from collections.abc import Callable


class Quota:
    """Counts the requests of a window; the next one begins with the first request after its end."""

    def __init__(
        self, requests: int, window: float, *, throttle: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests = requests
        self._window = window
        self._throttle = throttle
        self._clock = clock
        self._ends = 0.0
        self._used = 0

    def take(self) -> bool:
        """Whether one more request is allowed; it is counted then."""
        now = self._clock()
        if now >= self._ends:
            self._ends, self._used = now + self._window, 0
        if self._throttle and self._used >= self._requests:
            return False
        self._used += 1
        return True

    def headers(self) -> dict[str, str]:
        """What every reply tells."""
        left = max(self._requests - self._used, 0) if self._throttle else self._requests
        return {
            "X-Rate-Limit-Requests-Left": str(left),
            "X-Rate-Limit-Requests-Quota": str(self._requests),
            "X-Rate-Limit-Time-Reset-Ms": str(max(round((self._ends - self._clock()) * 1000), 0)),
            "X-Rate-Limit-Time-Window-Ms": str(round(self._window * 1000)),
        }
