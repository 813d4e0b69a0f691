"""A catalog database in memory: the stores that the engine needs, with the rules of those over PostgreSQL.

Many links lead to one `MemoryCatalog`, as many replicas to one database; each link can be told what becomes of its
next transactions.
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


class Fate(Enum):
    """What becomes of a transaction."""

    HEARD = auto()
    """Committed, and the caller knows."""
    REPEATED = auto()
    """Committed unheard; the store's own retry runs it once more."""
    UNHEARD = auto()
    """Committed, and the caller gets StorageUnavailable."""
    NOT_APPLIED = auto()
    """Nothing happened, and the caller gets StorageUnavailable."""
    FROZEN_BEFORE = auto()
    """The replica stops before it, until it is thawed or killed."""
    FROZEN_AFTER = auto()
    """The replica stops after the commit, before it hears of it."""


class MemoryCatalog:
    """The database. Its clock stands still unless it is moved."""

    def __init__(self, *, ttl: timedelta = timedelta(seconds=15), products_per_sweep: int = 2_000) -> None:
        self.ttl = ttl
        self.products_per_sweep = products_per_sweep
        self.now = _BEGINNING
        self.state = State()
        self.commits = 0
        self.on_commit: Callable[[State, State, MemoryLink], None] = lambda before, after, writer: None
        """Sees every commit."""

    def let_time_pass(self, span: timedelta) -> None:
        self.now += span

    def commit(self, work: Callable[[State], T], writer: MemoryLink) -> T:
        """The result of `work`, kept whole; nothing of it when it raises."""
        draft = self.state.copy()
        result = work(draft)
        before, self.state = self.state, draft
        self.commits += 1
        self.on_commit(before, draft, writer)
        return result

    # The rules that protect; a negative control overrides one of them.

    def is_owner(self, row: SyncRow, lease: Lease) -> bool:
        """The fence."""
        return row.epoch == lease.epoch

    def is_next(self, row: SyncRow, lease: Lease) -> bool:
        """Whether the lease's next batch is the one that was not stored yet."""
        return row.next_seq == lease.next_seq

    def is_free(self, row: SyncRow) -> bool:
        """Whether a sync may be claimed."""
        active = row.sync.state in ACTIVE_STATES
        return active and (row.lease_until is None or row.lease_until < self.now)

    def held(self, state: State, lease: Lease) -> SyncRow:
        """The lease's sync. Raises LeaseLost."""
        row = state.syncs.get(lease.sync_id)
        if row is None or row.sync.state is not SyncState.RUNNING or not self.is_owner(row, lease):
            raise LeaseLost
        return row


class MemoryLink:
    """One replica's connection."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.catalog = catalog
        self.fates: deque[Fate] = deque()
        """Of the next transactions; all others are HEARD."""
        self.frozen = False
        self._thawed = asyncio.Event()

    def thaw(self) -> None:
        """The replica goes on where it was stopped."""
        self._thawed.set()

    async def transaction(self, work: Callable[[State], T]) -> T:
        """The result of `work`, committed. Raises StorageUnavailable."""
        await asyncio.sleep(0)
        fate = self.fates.popleft() if self.fates else Fate.HEARD
        if fate is Fate.NOT_APPLIED:
            raise StorageUnavailable
        if fate is Fate.FROZEN_BEFORE:
            await self._freeze()
        result = self.catalog.commit(work, self)
        if fate is Fate.FROZEN_AFTER:
            await self._freeze()
        if fate is Fate.UNHEARD:
            raise StorageUnavailable
        return self.catalog.commit(work, self) if fate is Fate.REPEATED else result

    async def _freeze(self) -> None:
        self._thawed.clear()
        self.frozen = True
        try:
            await self._thawed.wait()
        finally:
            self.frozen = False
