"""Leaves a host alone that does not answer, whoever asks and in whatever pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

_ZERO: Final = timedelta()


@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitPolicy:
    """When a host is left alone, and for how long."""

    failures: int = 8
    """Attempts in a row that nobody answered,"""
    over: timedelta = timedelta(seconds=5)
    """if they are spread over so long: a restart breaks all connections at once, and is soon over."""
    first_pause: timedelta = timedelta(seconds=5)
    max_pause: timedelta = timedelta(seconds=30)
    """Pauses double up to this; a host that is back waits no longer to be found."""


class Circuit:
    """Of one host. Closed: all may call. Open: nobody, for a pause. Then half open: one attempt tries."""

    def __init__(self, policy: CircuitPolicy, monotonic: Callable[[], float]) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._failures = 0
        self._failing_since = 0.0
        self._open_until: float | None = None
        self._pause = policy.first_pause
        self._probing = False

    @property
    def is_pristine(self) -> bool:
        """Whether there is nothing to remember."""
        return not self._failures and self._open_until is None

    @property
    def open_for(self) -> timedelta:
        """How long nobody may call; zero: somebody may."""
        if self._open_until is None:
            return _ZERO
        return max(_ZERO, timedelta(seconds=self._open_until - self._monotonic()))

    def admit(self) -> timedelta:
        """Zero: go ahead, and then say how it went. Else how long to leave the host alone."""
        if self._open_until is None or self.open_for:
            return self.open_for
        if self._probing:
            return self._policy.first_pause
        self._probing = True
        return _ZERO

    def answered(self) -> None:
        """The host is there."""
        self._failures = 0
        self._open_until = None
        self._pause = self._policy.first_pause
        self._probing = False

    def unanswered(self) -> bool:
        """The host is not there; whether the circuit has opened by that."""
        now = self._monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._probing:
            self._pause = min(self._pause * 2, self._policy.max_pause)
        elif self._open_until is not None or not self._is_enough(now):
            return False
        self._probing = False
        self._open_until = now + self._pause.total_seconds()
        return True

    def undecided(self) -> None:
        """The attempt was given up before anyone could tell; somebody else may try."""
        self._probing = False

    def _is_enough(self, now: float) -> bool:
        policy = self._policy
        spread = now - self._failing_since
        return self._failures >= policy.failures and spread >= policy.over.total_seconds()
