"""A catalog database in memory, for stores that follow the same rules as those over PostgreSQL.

Several links lead to one `MemoryCatalog`, as several replicas to one database; for each link the outcome of its
next transactions can be set.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TypeVar

from catalog_svc.domain.errors import LeaseLost, StorageUnavailable
from catalog_svc.domain.sync import ACTIVE_STATES, Lease, SyncState
from tests.fakes.memory_state import State, SyncRow

T = TypeVar("T")
_BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)


class Outcome(Enum):
    """Outcome of a transaction."""

    ACKNOWLEDGED = auto()
    """Committed, and the caller gets the result."""
    RETRIED = auto()
    """Committed, but the answer got lost; the store retries the transaction."""
    UNACKNOWLEDGED = auto()
    """Committed, and the caller gets StorageUnavailable."""
    NOT_APPLIED = auto()
    """Rolled back, and the caller gets StorageUnavailable."""
    FROZEN_BEFORE = auto()
    """The replica stops before the transaction, until it is thawed or killed."""
    FROZEN_AFTER = auto()
    """The replica stops after the commit, before the result arrives."""


class MemoryCatalog:
    """The database. Its clock stands still unless it is advanced."""

    def __init__(self, *, ttl: timedelta = timedelta(seconds=15), products_per_sweep: int = 2_000) -> None:
        self.ttl = ttl
        self.products_per_sweep = products_per_sweep
        self.now = _BEGINNING
        self.state = State()
        self.commits = 0
        self.on_commit: Callable[[State, State, MemoryLink], None] = lambda before, after, writer: None
        """Called with the state before and after each commit, and the writer."""

    def advance_clock(self, span: timedelta) -> None:
        self.now += span

    def commit(self, work: Callable[[State], T], writer: MemoryLink) -> T:
        """Commit `work` and return its result; change nothing when it raises."""
        draft = self.state.copy()
        result = work(draft)
        before, self.state = self.state, draft
        self.commits += 1
        self.on_commit(before, draft, writer)
        return result

    # The rules that protect the data; a negative control overrides one of them.

    def is_owner(self, row: SyncRow, lease: Lease) -> bool:
        """Return whether the lease has the current epoch: the fence."""
        return row.epoch == lease.epoch

    def is_next(self, row: SyncRow, lease: Lease) -> bool:
        """Return whether the lease's next batch is the one after the last stored one."""
        return row.next_seq == lease.next_seq

    def is_claimable(self, row: SyncRow) -> bool:
        """Return whether a sync may be claimed."""
        active = row.sync.state in ACTIVE_STATES
        return active and (row.lease_until is None or row.lease_until < self.now)

    def owned_row(self, state: State, lease: Lease) -> SyncRow:
        """Return the row of the lease's sync. Raises LeaseLost."""
        row = state.syncs.get(lease.sync_id)
        if row is None or row.sync.state is not SyncState.RUNNING or not self.is_owner(row, lease):
            raise LeaseLost
        return row


class MemoryLink:
    """The connection of one replica."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.catalog = catalog
        self.outcomes: deque[Outcome] = deque()
        """Outcomes of the next transactions; all later ones are ACKNOWLEDGED."""
        self.frozen = False
        self._thawed = asyncio.Event()

    def thaw(self) -> None:
        """Let the replica continue where it stopped."""
        self._thawed.set()

    async def transaction(self, work: Callable[[State], T]) -> T:
        """Return the result of `work`, committed. Raises StorageUnavailable."""
        await asyncio.sleep(0)
        outcome = self.outcomes.popleft() if self.outcomes else Outcome.ACKNOWLEDGED
        if outcome is Outcome.NOT_APPLIED:
            raise StorageUnavailable
        if outcome is Outcome.FROZEN_BEFORE:
            await self._freeze()
        result = self.catalog.commit(work, self)
        if outcome is Outcome.FROZEN_AFTER:
            await self._freeze()
        if outcome is Outcome.UNACKNOWLEDGED:
            raise StorageUnavailable
        return self.catalog.commit(work, self) if outcome is Outcome.RETRIED else result

    async def _freeze(self) -> None:
        self._thawed.clear()
        self.frozen = True
        try:
            await self._thawed.wait()
        finally:
            self.frozen = False
