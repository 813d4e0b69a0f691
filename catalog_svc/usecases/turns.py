"""Whose turn it is on a replica that runs several syncs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

_LARGE: Final = 5_000
"""Items stored; a run of fewer is over before it is in anybody's way."""
_TIMES_SMALLER: Final = 10
_RECENTLY: Final = 0.3
"""Seconds. Who got nothing done for longer waits for its platform, and needs no room."""
_MOST_SECONDS: Final = 1.0
"""After each batch: a large run goes on, whatever else there is."""


@dataclass(slots=True)
class _Run:
    items: int
    moved_at: float


class Turns:
    """Lets a run that has stored much stand back while much smaller ones are at work beside it.

    All runs share the CPUs of the replica, the connectors and PostgreSQL, and a shop of a million items keeps
    them as busy as it can. Pauses between batches are felt everywhere: the source is read no faster than batches
    are stored.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._runs: dict[UUID, _Run] = {}

    @contextmanager
    def taking_part(self, sync_id: UUID) -> Iterator[None]:
        """A run that begins now."""
        self._runs[sync_id] = _Run(items=0, moved_at=self._monotonic())
        try:
            yield
        finally:
            del self._runs[sync_id]

    def moved(self, sync_id: UUID, *, items: int = 0) -> None:
        """The run got on, and has stored so many more items."""
        run = self._runs[sync_id]
        run.items += items
        run.moved_at = self._monotonic()

    def pause(self, sync_id: UUID, *, spent: float) -> float:
        """How many seconds the run should leave to others after a batch that took it `spent` seconds to store: as
        long as that for each of them."""
        mine = self._runs[sync_id].items
        if mine < _LARGE:
            return 0.0
        since = self._monotonic() - _RECENTLY
        others = sum(run.items * _TIMES_SMALLER <= mine and run.moved_at >= since for run in self._runs.values())
        return min(spent * others, _MOST_SECONDS)
