"""The request log of one shop: counters and the latest requests, for tests to inspect."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

_RECENT_REQUESTS = 1_000


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request, filled in while it is answered. The path has no query string, since that may contain keys."""

    method: str
    path: str
    operation: str = ""
    """Shopify: the GraphQL operation's name, or its root fields; elsewhere the name of the route."""
    query: dict[str, str] = field(default_factory=dict)
    """The query parameters without keys."""
    status: int = 0
    points: int = 0
    """The actual query cost."""
    throttled: bool = False
    faulted: bool = False
    """Whether a fault answered instead of the shop."""
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class RequestLog:
    """Counters and latest requests since the start or the last `reset`."""

    calls: int = 0
    """API requests; images are not counted."""
    throttled: int = 0
    points: int = 0
    """The sum of the actual query costs."""
    images: int = 0
    by_operation: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    recent: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=_RECENT_REQUESTS))
    """The last 1,000 requests, oldest first."""

    def add(self, record: RequestRecord) -> None:
        self.calls += 1
        self.throttled += record.throttled
        self.points += record.points
        self.by_operation[record.operation] += 1
        self.by_status[record.status] += 1
        self.recent.append(record)

    def reset(self) -> None:
        """Set all counters to zero and clear the latest requests."""
        self.calls = self.throttled = self.points = self.images = 0
        self.by_operation.clear()
        self.by_status.clear()
        self.recent.clear()

    def summary(self) -> dict[str, object]:
        """Return the counters as JSON types."""
        return {
            "calls": self.calls,
            "throttled": self.throttled,
            "points": self.points,
            "images": self.images,
            "by_operation": dict(self.by_operation),
            "by_status": {str(status): count for status, count in self.by_status.items()},
        }
