"""Fair-share throttle: how a replica divides its capacity between the syncs that it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

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
