"""Time limits and backoff of calls and streams that are repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass

from catalogsync_common.status import ReceivedFailure


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Time limits and backoff of a stream."""

    stall_seconds: float = 60.0
    """Time without a message after which a stream counts as dead: two heartbeats, which come every 30 s."""
    give_up_seconds: float = 300.0
    """Time without a message over all attempts after which the last error is raised."""
    initial_backoff_seconds: float = 0.5
    """Upper bound of the first backoff; doubled after each attempt that brought no message."""
    max_backoff_seconds: float = 15.0

    def backoff_seconds(self, failure: ReceivedFailure, *, attempts: int) -> float:
        """Return the time until the next attempt: what the server asked for, and full jitter.

        Args:
            failure: the error of the last attempt.
            attempts: how many attempts had failed in a row before it.
        """
        ceiling = min(self.initial_backoff_seconds * 2 ** min(attempts, 16), self.max_backoff_seconds)
        requested = failure.retry_after.total_seconds() if failure.retry_after is not None else 0.0
        return requested + random.uniform(0, ceiling)
