"""What was asked of one shop: counters and the latest requests, for tests to look at."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

_REMEMBERED = 1_000


@dataclass(slots=True, kw_only=True)
class Note:
    """One request, filled in while it is answered. The path comes without its query, which may hold keys."""

    method: str
    path: str
    operation: str = ""
    """The GraphQL operation's name, or its root fields; the route's name on WooCommerce."""
    query: dict[str, str] = field(default_factory=dict)
    """The query parameters without keys."""
    status: int = 0
    points: int = 0
    """The actual query cost."""
    throttled: bool = False
    faulted: bool = False
    """Answered by a fault, not by the shop."""
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Everything since the start or the last reset()."""

    calls: int = 0
    """API requests; images are not counted."""
    throttled: int = 0
    points: int = 0
    """Query points really spent."""
    images: int = 0
    by_operation: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    recent: deque[Note] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """The last 1,000 requests, oldest first."""

    def add(self, note: Note) -> None:
        self.calls += 1
        self.throttled += note.throttled
        self.points += note.points
        self.by_operation[note.operation] += 1
        self.by_status[note.status] += 1
        self.recent.append(note)

    def reset(self) -> None:
        """Back to nothing."""
        self.calls = self.throttled = self.points = self.images = 0
        self.by_operation.clear()
        self.by_status.clear()
        self.recent.clear()

    def summary(self) -> dict[str, object]:
        """The counters as JSON types."""
        return {
            "calls": self.calls,
            "throttled": self.throttled,
            "points": self.points,
            "images": self.images,
            "by_operation": dict(self.by_operation),
            "by_status": {str(status): count for status, count in self.by_status.items()},
        }
