"""What limits one sync: retry policy with backoff, size of its transactions, and the fair-share throttle."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from catalog_svc.domain.errors import SourceFailed

MAX_BATCH_PRODUCTS = 250
"""No connector sends more products in one batch."""
_COMMITS_TO_GROW = 50
"""Transactions in a row that the database must keep up with before they grow again."""
_MAX_DOUBLINGS = 10
"""Of a backoff; every delay is limited by far less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Configuration of a sync execution."""

    renew_interval: timedelta = timedelta(seconds=5)
    """A third of the lease's TTL: one missed renewal must not lose the lease."""
    items_per_transaction: int = 2_000
    """Below 500 rows a transaction's fixed cost dominates; above some thousand nothing is gained."""
    give_up_after: timedelta = timedelta(hours=24)
    """How long a source may fail without one stored batch before the sync fails."""
    give_up_new_shop_after: timedelta = timedelta(minutes=1)
    """The same for a shop that never answered yet: most likely its domain is mistyped, and its merchant waits."""
    max_retry_delay: timedelta = timedelta(seconds=30)
    max_connector_retry_delay: timedelta = timedelta(seconds=3)
    """connector_svc is our own service: it is retried sooner."""
    storage_retry_delay: timedelta = timedelta(seconds=1)
    max_claims_without_progress: int = 5
    """Claims by replicas that died between a reply of the source and a stored batch: a batch may kill them."""
    max_slow_writes: int = 20
    """Writes in a row that exceeded the database's time limit before the sync fails: about 15 minutes of them."""


class RetryPolicy:
    """Decides whether and when a run retries its source."""

    def __init__(
        self, config: RunConfig, since_progress: timedelta, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with the time that has passed without progress before this run."""
        self._config = config
        self._monotonic = monotonic
        self._progress_at = monotonic() - since_progress.total_seconds()
        self._failures = 0

    def reset(self) -> None:
        """Start anew: a batch was stored."""
        self._progress_at = self._monotonic()
        self._failures = 0

    def exhausted(self, failure: SourceFailed, *, never_answered: bool) -> bool:
        """Return whether the sync must fail with `failure` instead of another retry.

        Args:
            failure: The last failure of the source.
            never_answered: Whether the shop has never answered, in this sync or before.
        """
        new_shop = never_answered and failure.reason == "SOURCE_UNREACHABLE"
        limit = self._config.give_up_new_shop_after if new_shop else self._config.give_up_after
        return not failure.transient or self._monotonic() - self._progress_at >= limit.total_seconds()

    def next_delay(self, failure: SourceFailed) -> timedelta:
        """Return the backoff before the next retry: exponential with jitter, and bounded.

        It is as long as the source asks for by `retry_after`, within the bound.
        """
        connector = failure.reason == "CONNECTOR_UNAVAILABLE"
        limit = self._config.max_connector_retry_delay if connector else self._config.max_retry_delay
        seconds = min(limit.total_seconds(), 2.0 ** min(self._failures, _MAX_DOUBLINGS))
        self._failures += 1
        delay = timedelta(seconds=random.uniform(0.5, 1) * seconds)
        return delay if failure.retry_after is None else max(delay, min(failure.retry_after, limit))


class AdaptiveTransactionSize:
    """How much one transaction of a run stores.

    Halved when the database was too slow for it, down to one product; doubled after many transactions that the
    database kept up with.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._products = MAX_BATCH_PRODUCTS
        self._items = config.items_per_transaction
        self._attempted: tuple[int, int] | None = None
        self._commits_in_a_row = 0
        self.slow_writes = 0
        """Writes in a row that exceeded the database's time limit."""

    @property
    def max_products(self) -> int:
        """The largest batch to request from the source; 0: the connector's choice."""
        return 0 if self._products >= MAX_BATCH_PRODUCTS else self._products

    @property
    def max_items(self) -> int:
        """How many items to merge into one transaction."""
        return self._items

    @property
    def exhausted(self) -> bool:
        """Whether the sync must fail instead of another attempt."""
        return self.slow_writes >= self._config.max_slow_writes

    @property
    def next_delay(self) -> timedelta:
        """The backoff before the next attempt."""
        seconds = 2.0 ** min(self.slow_writes, _MAX_DOUBLINGS)
        return timedelta(seconds=min(self._config.max_retry_delay.total_seconds(), seconds))

    def start_attempt(self, *, products: int, items: int) -> None:
        """Record what the transaction that starts now will store."""
        self._attempted = products, items

    def record_commit(self) -> None:
        """Record that the attempt was committed."""
        self._attempted = None
        self.slow_writes = 0
        self._commits_in_a_row += 1
        if self._commits_in_a_row >= _COMMITS_TO_GROW:
            self._commits_in_a_row = 0
            self._products = min(MAX_BATCH_PRODUCTS, 2 * self._products)
            self._items = min(self._config.items_per_transaction, 2 * self._items)

    def record_slow_write(self) -> None:
        """Record a write that exceeded the database's time limit, and halve the transaction if it was a batch."""
        self.slow_writes += 1
        self._commits_in_a_row = 0
        if self._attempted is not None:
            products, items = self._attempted
            self._products = max(1, min(self._products, products) // 2)
            self._items = max(1, min(self._items, items) // 2)
            self._attempted = None


_LARGE_RUN_ITEMS: Final = 5_000
"""Items stored; a run that stores fewer is over before it slows others down."""
_SIZE_RATIO: Final = 10
"""A run is throttled for runs that have stored this many times fewer items."""
_ACTIVE_WITHIN_SECONDS: Final = 0.3
"""A run without activity for longer waits for its platform, and needs no capacity."""
_MAX_DELAY_SECONDS: Final = 1.0
"""After each batch, so that a large run makes progress however many others there are."""


@dataclass(slots=True, eq=False)
class RegisteredRun:
    """What the throttle knows of one run.

    Two runs of one sync, of which one has lost its lease, are registered separately.
    """

    active_at: float
    """Monotonic clock, in seconds."""
    items: int = 0
    """Stored by this run."""


class FairShareThrottle:
    """Delays a run that has stored many items while much smaller runs are active beside it.

    All runs share the CPUs of the replica, the connectors and PostgreSQL, and a shop of a million items keeps
    them as busy as it can. A delay between batches slows all of them down: the source is read no faster than
    batches are stored.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._runs: set[RegisteredRun] = set()

    @contextmanager
    def register(self) -> Iterator[RegisteredRun]:
        """Register a run that starts now, for as long as the context lasts."""
        run = RegisteredRun(active_at=self._monotonic())
        self._runs.add(run)
        try:
            yield run
        finally:
            self._runs.remove(run)

    def record(self, run: RegisteredRun, *, items: int = 0) -> None:
        """Record activity of the run, and the number of items that it has stored since the last call."""
        run.items += items
        run.active_at = self._monotonic()

    def delay(self, run: RegisteredRun, *, spent_seconds: float) -> float:
        """Return for how many seconds the run must pause after a batch.

        Args:
            run: The run that has stored the batch.
            spent_seconds: How long storing the batch took; each active smaller run gets as long.
        """
        if run.items < _LARGE_RUN_ITEMS:
            return 0.0
        since = self._monotonic() - _ACTIVE_WITHIN_SECONDS
        smaller = sum(other.items * _SIZE_RATIO <= run.items and other.active_at >= since for other in self._runs)
        return min(spent_seconds * smaller, _MAX_DELAY_SECONDS)
