"""State monitor: reads the state of the whole catalog from the database, for the metrics.

Each replica reads it, so that the metrics need no particular replica.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat, no_heartbeat

from catalog_svc.domain.errors import QueryTooExpensive, StorageUnavailable
from catalog_svc.domain.monitoring import CatalogState
from catalog_svc.domain.refresh import PendingRefreshes
from catalog_svc.usecases.refresh_ports import RefreshRequests

_log = logging.getLogger(__name__)

_READS_PER_PAUSE: Final = 20
"""A pause is at least as long as so many reads: the scans of millions of analysis tasks take seconds, and must not
take more than a twentieth of a connection."""
_MAX_PAUSE_SECONDS: Final = 60.0


class CatalogStates(Protocol):
    """The state of the catalog as a whole."""

    async def read(self) -> CatalogState:
        """Return the present state. Raises QueryTooExpensive, StorageUnavailable."""
        ...


class StateMetrics(Protocol):
    """Gauges of the state, which is the same for all replicas."""

    def state_read(self, state: CatalogState, refreshes: PendingRefreshes) -> None:
        """Set the gauges: zero for platforms without active syncs, none for analyzers without tasks."""
        ...

    def state_unknown(self) -> None:
        """Remove the gauges: old values would hide that the state cannot be read."""
        ...


class StateMonitor:
    """The state monitor loop of one replica."""

    def __init__(
        self,
        *,
        states: CatalogStates,
        refreshes: RefreshRequests,
        drain: Drain,
        metrics: StateMetrics,
        interval: timedelta = timedelta(seconds=15),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._states = states
        self._refreshes = refreshes
        self._drain = drain
        self._metrics = metrics
        self._interval_seconds = interval.total_seconds()
        self._monotonic = monotonic

    async def run(self, heartbeat: Heartbeat = no_heartbeat) -> None:
        """Read the state about once per interval, until the drain."""
        while True:
            try:
                pause_seconds = await self._drain.race(self.read())
                heartbeat()
                await self._drain.race(asyncio.sleep(pause_seconds * random.uniform(0.8, 1.2)))
            except ServerDraining:
                return

    async def read(self) -> float:
        """Read the state once, and return the seconds until the next read.

        Without the database, or if a read takes too long, the metrics have no values.
        """
        began = self._monotonic()
        try:
            self._metrics.state_read(await self._states.read(), await self._refreshes.pending())
        except (StorageUnavailable, QueryTooExpensive) as failure:
            self._metrics.state_unknown()
            _log.warning("cannot read the state of the catalog for the metrics: %s", failure.reason)
        except Exception:
            self._metrics.state_unknown()
            raise
        longest = max(self._interval_seconds, _MAX_PAUSE_SECONDS)
        return min(longest, max(self._interval_seconds, _READS_PER_PAUSE * (self._monotonic() - began)))
