"""Leaves a host alone that does not answer, whoever asks and in whatever pass.

What is remembered of each host from one pass to the next: its circuit and its budget of retries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
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


_REMEMBERED: Final = 10_000


class HostClass(Enum):
    """What a host is to us; what metrics are told instead of its name."""

    SHOP = "shop"
    SERVICE = "service"
    """One that the operator named, such as the Token Service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Whom we call."""

    name: str
    """What trouble is counted by: a shop's domain, wherever it is called; of others the host name."""
    host_class: HostClass
    platform: str = ""
    """A registered platform's name; empty for services."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryBudget:
    """How many attempts of a host may be second ones. A host that dies is not asked four times as often."""

    share: float = 0.2
    """Of its requests, in the long run."""
    reserve: int = 10
    """Retries that a host may have at once, before that."""


class HostState:
    """Of one host; shared by everyone in the process who calls it."""

    def __init__(self, budget: RetryBudget, circuit: Circuit) -> None:
        self.circuit = circuit
        self._budget = budget
        self._retries_left = float(budget.reserve)

    @property
    def is_pristine(self) -> bool:
        """Whether nothing is lost when this is forgotten."""
        return self.circuit.is_pristine and self._retries_left >= self._budget.reserve

    def earn(self) -> None:
        """A request begins."""
        self._retries_left = min(self._retries_left + self._budget.share, self._budget.reserve)

    def spend(self) -> bool:
        """Whether one more retry is within the budget; it is spent then."""
        if self._retries_left < 1:
            return False
        self._retries_left -= 1
        return True


class Hosts:
    """The states of hosts, by name. Bounded: those in no trouble are forgotten first, then the longest unused."""

    def __init__(
        self,
        budget: RetryBudget,
        circuit: CircuitPolicy,
        monotonic: Callable[[], float],
        *,
        most: int = _REMEMBERED,
    ) -> None:
        self._budget = budget
        self._circuit = circuit
        self._monotonic = monotonic
        self._most = most
        self._states: OrderedDict[str, HostState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def state(self, host: Host) -> HostState:
        """The one state of `host`."""
        state = self._states.get(host.name)
        if state is None:
            self._make_room()
            state = HostState(self._budget, Circuit(self._circuit, self._monotonic))
            self._states[host.name] = state
        self._states.move_to_end(host.name)
        return state

    def _make_room(self) -> None:
        if len(self._states) < self._most:
            return
        pristine = [name for name, state in self._states.items() if state.is_pristine]
        for name in pristine or list(self._states)[:1]:
            del self._states[name]
