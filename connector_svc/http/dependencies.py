"""Who is told what the client does, to count it. Never a host's name: there may be as many as merchants."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from connector_svc.http.circuit_breaker import Host


class HttpMetrics(Protocol):
    """Counts."""

    def attempted(self, host: Host, outcome: str, seconds: float) -> None:
        """One attempt ended: "2xx", "4xx", "429", "5xx", or the kind of failure."""
        ...

    def retried(self, host: Host) -> None:
        """An attempt is made again."""
        ...

    def waiting(self, host: Host, delay: timedelta, *, throttled: bool) -> None:
        """A pause before the next attempt begins; `throttled`: the host asked for it."""
        ...

    def budget_spent(self, host: Host) -> None:
        """An attempt is not made again because the host had too many second ones."""
        ...

    def circuit_opened(self, host: Host) -> None:
        """The host is left alone."""
        ...


class NullHttpMetrics:
    """For those who do not want to know."""

    def attempted(self, host: Host, outcome: str, seconds: float) -> None: ...

    def retried(self, host: Host) -> None: ...

    def waiting(self, host: Host, delay: timedelta, *, throttled: bool) -> None: ...

    def budget_spent(self, host: Host) -> None: ...

    def circuit_opened(self, host: Host) -> None: ...
