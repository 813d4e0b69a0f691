"""How fast a sync moves."""

from __future__ import annotations

from collections import deque
from datetime import timedelta


class RateMeter:
    """Items per second over the last seconds, so that a pause shows and a resume does not boast."""

    def __init__(self, window: timedelta = timedelta(seconds=10)) -> None:
        self._window = window.total_seconds()
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)

    def start(self, at: float) -> None:
        """Begins to measure at `at`, seconds of a monotonic clock."""
        self._marks.clear()
        self._marks.append((at, 0))

    def add(self, at: float, items: int) -> float | None:
        """Counts `items` that are done at `at`; the rate, or None while it cannot be told."""
        self._marks.append((at, items))
        while len(self._marks) > 2 and self._marks[1][0] < at - self._window:
            self._marks.popleft()
        elapsed = at - self._marks[0][0]
        # The first mark is where the window begins: its items were done before.
        done = sum(count for _, count in self._marks) - self._marks[0][1]
        return done / elapsed if elapsed > 0 else None
