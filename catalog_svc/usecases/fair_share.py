"""Whose turn it is on a replica that runs several syncs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_LARGE: Final = 5_000
"""Items stored; a run of fewer is over before it is in anybody's way."""
_TIMES_SMALLER: Final = 10
_RECENTLY: Final = 0.3
"""Seconds. Who got nothing done for longer waits for its platform, and needs no room."""
_MOST_SECONDS: Final = 1.0
"""After each batch: a large run goes on, whatever else there is."""


@dataclass(slots=True, eq=False)
class Turn:
    """One run's part in it. Two runs of one sync, of which one has lost its lease, have two."""

    moved_at: float
    items: int = 0
    """Stored by this run."""


class FairShareThrottle:
    """Lets a run that has stored much stand back while much smaller ones are at work beside it.

    All runs share the CPUs of the replica, the connectors and PostgreSQL, and a shop of a million items keeps
    them as busy as it can. Pauses between batches are felt everywhere: the source is read no faster than batches
    are stored.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turns: set[Turn] = set()

    @contextmanager
    def register(self) -> Iterator[Turn]:
        """A run that begins now; what is yielded stands for it."""
        turn = Turn(moved_at=self._monotonic())
        self._turns.add(turn)
        try:
            yield turn
        finally:
            self._turns.remove(turn)

    def moved(self, turn: Turn, *, items: int = 0) -> None:
        """The run got on, and has stored so many more items."""
        turn.items += items
        turn.moved_at = self._monotonic()

    def pause(self, turn: Turn, *, spent: float) -> float:
        """How many seconds the run should leave to others after a batch that took it `spent` seconds to store: as
        long as that for each of them."""
        if turn.items < _LARGE:
            return 0.0
        since = self._monotonic() - _RECENTLY
        others = sum(
            other.items * _TIMES_SMALLER <= turn.items and other.moved_at >= since for other in self._turns
        )
        return min(spent * others, _MOST_SECONDS)
