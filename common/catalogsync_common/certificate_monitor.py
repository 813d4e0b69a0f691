"""Monitors the TLS certificates of a process: reads changed files, and warns before a certificate expires."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from catalogsync_common.diagnosis import CERTIFICATE_WARNING_PERIOD
from catalogsync_common.drain import Drain
from catalogsync_common.supervisor import Heartbeat, Loop
from catalogsync_common.tls_files import TlsFiles

LOGGER: Final = logging.getLogger(__name__)

_CHECK_INTERVAL: Final = timedelta(seconds=30)
_WARNING_INTERVAL: Final = timedelta(days=1)
_MAX_SILENCE: Final = timedelta(minutes=2)


class CertificateMonitor:
    """A background loop over the TLS files of a process, and the gauge `tls_certificate_expiry_seconds{use}`.

    Args:
        files: the TLS files with a certificate; others are ignored.
        drain: ends the loop.
        registry: where the gauge is registered.
        utc_now: the clock that certificates are compared with.
    """

    def __init__(
        self,
        files: Sequence[TlsFiles],
        *,
        drain: Drain,
        registry: CollectorRegistry,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = tuple(one for one in files if one.expires_at is not None)
        self._drain = drain
        self._utc_now = utc_now
        self._warned_at: dict[str, datetime] = {}
        gauge = Gauge(
            "tls_certificate_expiry_seconds",
            "Time until the TLS certificate in use expires; negative afterwards.",
            ["use"],
            registry=registry,
        )
        for one in self._files:
            gauge.labels(one.name).set_function(self._seconds_left(one))

    def loops(self) -> tuple[Loop, ...]:
        """Return the loop for the process's supervisor; none, if the process has no certificate."""
        if not self._files:
            return ()
        return (Loop(name="certificates", run=self.run, heartbeat_timeout=_MAX_SILENCE),)

    async def run(self, beat: Heartbeat) -> None:
        """Check the files every 30 s until the drain."""
        while True:
            self.check()
            beat()
            await self._drain.race(asyncio.sleep(_CHECK_INTERVAL.total_seconds()))

    def check(self) -> None:
        """Read changed files, and log a warning, once a day, for each certificate that expires within 14 days."""
        now = self._utc_now()
        for one in self._files:
            one.current()
            expires_at = one.expires_at
            if expires_at is None or expires_at - now > CERTIFICATE_WARNING_PERIOD:
                self._warned_at.pop(one.name, None)
            elif one.name not in self._warned_at or now - self._warned_at[one.name] >= _WARNING_INTERVAL:
                self._warned_at[one.name] = now
                LOGGER.warning(
                    "the TLS certificate of the %s %s on %s",
                    one.name,
                    "expires" if expires_at > now else "has expired",
                    expires_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                    extra={"expires_at": expires_at.isoformat()},
                )

    def _seconds_left(self, files: TlsFiles) -> Callable[[], float]:
        def seconds_left() -> float:
            expires_at = files.expires_at
            return (expires_at - self._utc_now()).total_seconds() if expires_at else float("nan")

        return seconds_left
