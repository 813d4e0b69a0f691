"""Sends a request until it is answered or our patience ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from multidict import CIMultiDict
from yarl import URL

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.circuit_breaker import Circuit, Host, HostClass, Hosts, HostState
from connector_svc.http.connection_limits import ConnectionSlots
from connector_svc.http.dependencies import HttpMetrics, NullHttpMetrics
from connector_svc.http.failures import (
    AddressForbidden,
    BadGateway,
    CertificateRefused,
    CircuitOpen,
    HttpFailure,
    NoAnswer,
    RedirectAnswer,
    ServerError,
    TooManyRequests,
    UnusableAnswer,
)
from connector_svc.http.retry import RetryPolicy, transient_failure
from connector_svc.http.transport import Exchange, HttpRequest
from connector_svc.platforms.base import HttpReply

_log = logging.getLogger(__name__)

_UNANSWERED: Final = frozenset({"no_answer", "gateway"})
"""A proxy that says that nobody answers behind it is as good as silence."""
_UNDECIDED: Final = frozenset({"cancelled", "forbidden", "certificate"})


def utc_now() -> datetime:
    """The clock of the system."""
    return datetime.now(UTC)


async def _sleep(delay: timedelta) -> None:
    await asyncio.sleep(delay.total_seconds())


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpDependencies:
    """What the client takes from the world; tests bring their own."""

    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[timedelta], Awaitable[None]] = _sleep
    jitter: Callable[[], float] = random.random
    """From 0 to 1."""
    correlation_id: Callable[[], str] = str
    """Of the call that we work for; empty: none."""
    meter: HttpMetrics = field(default_factory=NullHttpMetrics)


class HttpCaller:
    """Repeats what may be repeated, as long as the host bears it."""

    def __init__(
        self,
        exchange: Exchange,
        hosts: Hosts,
        policy: RetryPolicy,
        surroundings: HttpDependencies,
        *,
        slots: ConnectionSlots,
        user_agent: str,
    ) -> None:
        self._exchange = exchange
        self._slots = slots
        self._hosts = hosts
        self._policy = policy
        self._world = surroundings
        self._user_agent = user_agent

    async def call(
        self,
        request: HttpRequest,
        *,
        host: Host | None = None,
        on_wait: WaitReporter | None = None,
        policy: RetryPolicy | None = None,
    ) -> HttpReply:
        """The answer, never a redirect nor one of TRANSIENT_STATUSES. Raises HttpFailure.

        `host` None: a service, by the name in the URL.
        """
        limits = policy or self._policy
        host = host or Host(name=_authority(request.url), host_class=HostClass.SERVICE)
        state = self._hosts.state(host)
        request = replace(request, headers=self._headers(request.headers))
        state.earn()
        waited = timedelta()
        for failures in range(1, limits.attempts + 1):
            async with self._slots.slot(host, on_wait):
                outcome = await self._attempt(request, host, state.circuit)
            if isinstance(outcome, HttpReply):
                return outcome
            if state.circuit.open_for:
                outcome.retry_after = outcome.retry_after or state.circuit.open_for
                raise outcome
            delay = self._delay(outcome, failures, limits)
            over = failures == limits.attempts or waited + delay > limits.patience
            if over or not _may_repeat(request, outcome) or not self._affords(outcome, host, state):
                raise outcome
            await self._pause(outcome, delay, host, on_wait)
            waited += delay
        raise AssertionError("a policy allows at least one attempt")

    async def _attempt(
        self, request: HttpRequest, host: Host, circuit: Circuit
    ) -> HttpReply | NoAnswer | TooManyRequests:
        """One try, of which the circuit learns."""
        closed_for = circuit.admit()
        if closed_for:
            return CircuitOpen("nobody answered for some time, we ask again soon", retry_after=closed_for)
        begin = self._world.monotonic()
        kind = "cancelled"
        try:
            outcome = await self._try(request)
            kind = outcome_of(outcome)
        except HttpFailure as failure:
            kind = outcome_of(failure)
            raise
        finally:
            self._world.meter.attempted(host, kind, self._world.monotonic() - begin)
            if kind in _UNDECIDED:
                circuit.undecided()
            elif kind not in _UNANSWERED:
                circuit.answered()
            elif circuit.unanswered():
                self._opened(host)
        return outcome

    async def _try(self, request: HttpRequest) -> HttpReply | NoAnswer | TooManyRequests:
        try:
            reply = await self._exchange.send(request)
        except NoAnswer as failure:
            return failure
        return transient_failure(reply.status, reply.headers, self._world.clock()) or reply

    def _opened(self, host: Host) -> None:
        _log.warning("nobody answers there: we leave it alone for a moment", extra={"host": host.name})
        self._world.meter.circuit_opened(host)

    def _affords(self, failure: HttpFailure, host: Host, state: HostState) -> bool:
        """Whether the host's budget has one more retry. To come back when told to is not pressing on."""
        if isinstance(failure, TooManyRequests) and failure.retry_after is not None:
            return True
        if state.spend():
            return True
        self._world.meter.budget_spent(host)
        return False

    def _delay(self, failure: HttpFailure, failures: int, limits: RetryPolicy) -> timedelta:
        """What the host asked for, with a little jitter on top; else our own back-off."""
        if failure.retry_after is not None:
            return failure.retry_after + limits.first_delay * self._world.jitter()
        return limits.ceiling(failures) * self._world.jitter()

    async def _pause(
        self, failure: HttpFailure, delay: timedelta, host: Host, on_wait: WaitReporter | None
    ) -> None:
        throttled = isinstance(failure, TooManyRequests)
        self._world.meter.waiting(host, delay, throttled=throttled)
        if on_wait is not None:
            reason = WaitReason.THROTTLED if throttled else WaitReason.SOURCE_UNREACHABLE
            on_wait(Wait(reason=reason, until=self._world.clock() + delay, message=failure.detail))
        await self._world.sleep(delay)
        self._world.meter.retried(host)

    def _headers(self, asked: Mapping[str, str]) -> CIMultiDict[str]:
        """Ours, under those that were asked for, whatever their case."""
        headers = CIMultiDict(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._user_agent}
        )
        correlation_id = self._world.correlation_id()
        if correlation_id:
            headers["x-correlation-id"] = correlation_id
        headers.update(asked)
        return headers


def outcome_of(outcome: HttpReply | HttpFailure) -> str:
    """One word for what became of an attempt, out of few."""
    match outcome:
        case HttpReply():
            return f"{outcome.status // 100}xx"
        case TooManyRequests():
            return "429"
        case ServerError():
            return "5xx"
        case BadGateway():
            return "gateway"
        case CertificateRefused():
            return "certificate"
        case RedirectAnswer():
            return "3xx"
        case UnusableAnswer():
            return "unusable"
        case AddressForbidden():
            return "forbidden"
        case _:
            return "no_answer"


def _may_repeat(request: HttpRequest, failure: HttpFailure) -> bool:
    return request.idempotent and not isinstance(failure, CertificateRefused | CircuitOpen)


def _authority(url: URL) -> str:
    return f"{url.raw_host}:{url.port}"
