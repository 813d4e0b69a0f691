"""How long a source or a database that fails is tried again, how soon, and with how much at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from catalog_svc.domain.errors import SourceFailed

_UNLIMITED = 250
"""Products; no connector sends more in one batch."""
_STORED_TO_GROW = 50
"""Transactions in a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
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
    max_slow_writes: int = 20
    """Writes in a row that the database did not finish in time before the sync fails: some 15 minutes of them."""


class RetryPolicy:
    """Of one run with its source."""

    def __init__(
        self, limits: RunConfig, since_progress: timedelta, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._moved_at = monotonic() - since_progress.total_seconds()
        self._failures = 0

    def renew(self) -> None:
        """Something was stored."""
        self._moved_at = self._monotonic()
        self._failures = 0

    def is_over(self, failure: SourceFailed, *, never_answered: bool) -> bool:
        """Whether `failure` is the last one."""
        new = never_answered and failure.reason == "SOURCE_UNREACHABLE"
        limit = self._limits.give_up_new_after if new else self._limits.give_up_after
        return not failure.transient or self._monotonic() - self._moved_at >= limit.total_seconds()

    def next_delay(self, failure: SourceFailed) -> timedelta:
        """How long to wait now: longer each time, as long as the source asks for, never too long."""
        ours = failure.reason == "CONNECTOR_UNAVAILABLE"
        most = self._limits.max_connector_delay if ours else self._limits.max_retry_delay
        grown = min(most.total_seconds(), 2.0 ** min(self._failures, 10))
        self._failures += 1
        delay = timedelta(seconds=random.uniform(0.5, 1) * grown)
        return delay if failure.retry_after is None else max(delay, min(failure.retry_after, most))


class TransactionSize:
    """How much one transaction of a run stores.

    Half of what the database was too slow for, down to one product; twice as much again after many transactions
    that it kept up with.
    """

    def __init__(self, limits: RunConfig) -> None:
        self._limits = limits
        self._products = _UNLIMITED
        self._items = limits.items_per_transaction
        self._attempted: tuple[int, int] | None = None
        self._stored_in_a_row = 0
        self.slow_writes = 0
        """Writes in a row that did not end in time."""

    @property
    def max_products(self) -> int:
        """The largest batch to ask the source for; 0: the connector's choice."""
        return 0 if self._products >= _UNLIMITED else self._products

    @property
    def max_items(self) -> int:
        """How many items to gather for one transaction."""
        return self._items

    @property
    def is_exhausted(self) -> bool:
        """Whether another attempt would be one too many."""
        return self.slow_writes >= self._limits.max_slow_writes

    @property
    def next_delay(self) -> timedelta:
        """How long to leave the database alone before the next attempt."""
        grown = 2.0 ** min(self.slow_writes, 10)
        return timedelta(seconds=min(self._limits.max_retry_delay.total_seconds(), grown))

    def attempt(self, *, products: int, items: int) -> None:
        """Note what the transaction that begins now will store."""
        self._attempted = products, items

    def stored(self) -> None:
        """Note that the attempt was committed."""
        self._attempted = None
        self.slow_writes = 0
        self._stored_in_a_row += 1
        if self._stored_in_a_row >= _STORED_TO_GROW:
            self._stored_in_a_row = 0
            self._products = min(_UNLIMITED, 2 * self._products)
            self._items = min(self._limits.items_per_transaction, 2 * self._items)

    def too_slow(self) -> None:
        """Note that the database did not finish a write in time; halve the transaction if that was a batch."""
        self.slow_writes += 1
        self._stored_in_a_row = 0
        if self._attempted is not None:
            products, items = self._attempted
            self._products = max(1, min(self._products, products) // 2)
            self._items = max(1, min(self._items, items) // 2)
            self._attempted = None
