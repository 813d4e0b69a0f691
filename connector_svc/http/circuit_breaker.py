"""Circuit breakers and retry budgets: the state of each host, shared by all passes that call it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from connector_svc.http.dependencies import Host
from connector_svc.http.retry import RetryBudget

_ZERO: Final = timedelta()
_MAX_HOSTS: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitBreakerPolicy:
    """When a circuit breaker opens, and for how long."""

    failures: int = 8
    """Attempts in a row without an answer after which it opens,"""
    failing_for: timedelta = timedelta(seconds=5)
    """if the first and the last of them are at least this far apart: a restart of the host breaks all connections
    at once and is soon over."""
    first_open_time: timedelta = timedelta(seconds=5)
    max_open_time: timedelta = timedelta(seconds=30)
    """The open time doubles up to this; a host that is back is found after at most this long."""


class CircuitBreaker:
    """The circuit breaker of one host.

    Closed: all requests are sent. Open: none is sent for a while. Half-open after that: one attempt probes the
    host.
    """

    def __init__(self, policy: CircuitBreakerPolicy, monotonic: Callable[[], float]) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._failures = 0
        self._failing_since = 0.0
        self._open_until: float | None = None
        self._open_time = policy.first_open_time
        self._probing = False

    @property
    def is_reset(self) -> bool:
        """Whether there is no failure to remember."""
        return not self._failures and self._open_until is None

    @property
    def open_for(self) -> timedelta:
        """How much longer no request may be sent; zero if one may."""
        if self._open_until is None:
            return _ZERO
        return max(_ZERO, timedelta(seconds=self._open_until - self._monotonic()))

    def admit(self) -> timedelta:
        """Return zero if a request may be sent now, else how long to wait.

        The outcome of an admitted request must be recorded.
        """
        if self._open_until is None or self.open_for:
            return self.open_for
        if self._probing:
            return self._policy.first_open_time
        self._probing = True
        return _ZERO

    def record_success(self) -> None:
        """Record that the host answered; closes the circuit."""
        self._failures = 0
        self._open_until = None
        self._open_time = self._policy.first_open_time
        self._probing = False

    def record_failure(self) -> bool:
        """Record that the host did not answer. Return whether that opened the circuit."""
        now = self._monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._probing:
            self._open_time = min(self._open_time * 2, self._policy.max_open_time)
        elif self._open_until is not None or not self._must_open(now):
            return False
        self._probing = False
        self._open_until = now + self._open_time.total_seconds()
        return True

    def record_inconclusive(self) -> None:
        """Record that an attempt ended before the host could answer; another one may probe."""
        self._probing = False

    def _must_open(self, now: float) -> bool:
        policy = self._policy
        failing_for = now - self._failing_since
        return self._failures >= policy.failures and failing_for >= policy.failing_for.total_seconds()


class HostState:
    """Circuit breaker and retry budget of one host, shared by everything in the process that calls it."""

    def __init__(self, budget: RetryBudget, circuit: CircuitBreaker) -> None:
        self.circuit = circuit
        self._budget = budget
        self._retries_left = float(budget.reserve)

    @property
    def is_reset(self) -> bool:
        """Whether nothing is lost when this state is dropped."""
        return self.circuit.is_reset and self._retries_left >= self._budget.reserve

    def record_request(self) -> None:
        """Add a request's share of retries to the budget."""
        self._retries_left = min(self._retries_left + self._budget.share, self._budget.reserve)

    def try_spend_retry(self) -> bool:
        """Spend one retry of the budget. Return False if none is left."""
        if self._retries_left < 1:
            return False
        self._retries_left -= 1
        return True


class HostStates:
    """Bounded map of host states: those without failures are evicted first, then the least recently used."""

    def __init__(
        self,
        budget: RetryBudget,
        circuit: CircuitBreakerPolicy,
        monotonic: Callable[[], float],
        *,
        max_hosts: int = _MAX_HOSTS,
    ) -> None:
        self._budget = budget
        self._circuit = circuit
        self._monotonic = monotonic
        self._max_hosts = max_hosts
        self._states: OrderedDict[str, HostState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, host: Host) -> HostState:
        """Return the one state of `host`, created on first use."""
        state = self._states.get(host.name)
        if state is None:
            self._evict()
            state = HostState(self._budget, CircuitBreaker(self._circuit, self._monotonic))
            self._states[host.name] = state
        self._states.move_to_end(host.name)
        return state

    def _evict(self) -> None:
        if len(self._states) < self._max_hosts:
            return
        reset = [name for name, state in self._states.items() if state.is_reset]
        for name in reset or list(self._states)[:1]:
            del self._states[name]
