"""How long a source that fails is tried again, and how soon."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from catalog_svc.domain.errors import SourceFailed


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits:
    """How a run behaves."""

    renew_every: timedelta = timedelta(seconds=5)
    """A third of the lease's TTL: one missed renewal must not lose it."""
    items_per_transaction: int = 2_000
    """Below 500 rows a transaction's fixed cost dominates; above some thousand nothing is gained."""
    give_up_after: timedelta = timedelta(hours=24)
    """How long a source may fail without a batch between before the sync fails."""
    give_up_new_after: timedelta = timedelta(minutes=1)
    """The same for a shop that never answered yet: most likely its domain is mistyped, and its merchant waits."""
    max_retry_delay: timedelta = timedelta(seconds=30)
    max_connector_delay: timedelta = timedelta(seconds=3)
    """connector_svc is ours: it is asked again soon."""
    storage_retry_delay: timedelta = timedelta(seconds=1)
    max_claims_without_progress: int = 5
    """Of replicas that died between hearing from the source and storing something: a batch may kill them."""


class Patience:
    """Of one run with its source."""

    def __init__(
        self, limits: RunLimits, stuck_for: timedelta, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._moved_at = monotonic() - stuck_for.total_seconds()
        self._failures = 0

    def renew(self) -> None:
        """Something was stored."""
        self._moved_at = self._monotonic()
        self._failures = 0

    def is_over(self, failure: SourceFailed, *, never_answered: bool) -> bool:
        """Whether `failure` is the last one."""
        new = never_answered and failure.reason == "SOURCE_UNREACHABLE"
        limit = self._limits.give_up_new_after if new else self._limits.give_up_after
        return not failure.passing or self._monotonic() - self._moved_at >= limit.total_seconds()

    def next_delay(self, failure: SourceFailed) -> timedelta:
        """How long to wait now: longer each time, as long as the source asks for, never too long."""
        ours = failure.reason == "CONNECTOR_UNAVAILABLE"
        most = self._limits.max_connector_delay if ours else self._limits.max_retry_delay
        grown = min(most.total_seconds(), 2.0 ** min(self._failures, 10))
        self._failures += 1
        delay = timedelta(seconds=random.uniform(0.5, 1) * grown)
        return delay if failure.retry_after is None else max(delay, min(failure.retry_after, most))
