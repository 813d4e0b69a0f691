"""What is remembered of each host from one pass to the next: its circuit and its budget of retries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from connector_svc.http.circuit import Circuit, CircuitPolicy

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
