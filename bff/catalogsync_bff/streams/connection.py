"""Reports to browsers when the connection to catalog_svc is interrupted for longer than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from catalogsync_client import Disconnect

REPORT_AFTER_SECONDS: Final = 5.0


class ConnectionMonitor:
    """Reports an interruption once it has lasted for a while, and then its end.

    Args:
        report: called with whether the connection is interrupted, when that changes.
        report_after_seconds: shorter interruptions are not reported.
    """

    def __init__(
        self, report: Callable[[bool], None], *, report_after_seconds: float = REPORT_AFTER_SECONDS
    ) -> None:
        self._report = report
        self._report_after_seconds = report_after_seconds
        self._timer: asyncio.TimerHandle | None = None
        self.interrupted = False
        """Whether an interruption was reported that has not ended."""

    def changed(self, disconnect: Disconnect | None) -> None:
        """Take note of a broken stream, or of messages that arrive again (None)."""
        if disconnect is None:
            self.close()
            if self.interrupted:
                self.interrupted = False
                self._report(False)
        elif self._timer is None and not self.interrupted:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._report_after_seconds, self._expired)

    def close(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self.interrupted = True
        self._report(True)
