"""The lifetime of a stream to a client: it ends at its maximum age, and when the replica drains."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from enum import Enum

from catalogsync_common.drain import Drain, ServerDraining


class ReconnectReason(Enum):
    """Why a stream ends although its client has not ended it; the names are those of the contract."""

    STREAM_EXPIRED = "STREAM_EXPIRED"
    """The stream reached its maximum age."""
    SERVER_DRAINING = "SERVER_DRAINING"
    """The replica shuts down."""


class StreamLifetime:
    """The lifetime of one stream, which begins now."""

    def __init__(
        self, drain: Drain, *, max_age: timedelta, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin the lifetime.

        Args:
            drain: The drain of the replica.
            max_age: Upper bound of the stream's age; it ends up to a fifth earlier.
            monotonic: A clock, in seconds.

        Raises:
            ServerDraining: The replica is shutting down already. An error, not a reconnect reason: the client
                backs off instead of calling this replica at once again.
        """
        if drain.started:
            raise ServerDraining
        self._drain = drain
        self._monotonic = monotonic
        # Clients that reconnected together, after a replica went down, must not all expire together.
        self._expires_at = monotonic() + random.uniform(0.8, 1) * max_age.total_seconds()

    def reconnect_reason(self) -> ReconnectReason | None:
        """Return why the stream must end now; None: it continues."""
        if self._drain.started:
            return ReconnectReason.SERVER_DRAINING
        return ReconnectReason.STREAM_EXPIRED if self._monotonic() >= self._expires_at else None
