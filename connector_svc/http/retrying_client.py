"""Retrying client: repeats a request until it is answered or the retry policy is exhausted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from catalogsync_common.tracing import fail_span
from multidict import CIMultiDict
from yarl import URL

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.circuit_breaker import CircuitBreaker, HostState, HostStates
from connector_svc.http.connection_limits import ConnectionLimiter
from connector_svc.http.dependencies import Host, HostClass, HttpDependencies
from connector_svc.http.failures import (
    AddressForbidden,
    BadGateway,
    CertificateRejected,
    CircuitOpen,
    HttpFailure,
    NoResponse,
    RedirectRefused,
    ServerError,
    TooManyRequests,
    UnusableResponse,
)
from connector_svc.http.request_spans import headers_for, record_status, request_span
from connector_svc.http.retry import RetryPolicy, transient_failure
from connector_svc.http.transport import HttpRequest, HttpTransport
from connector_svc.platforms.base import HttpReply

_log = logging.getLogger(__name__)

_FAILURE_OUTCOMES: Final = frozenset({"no_answer", "gateway"})
"""Outcomes that count as failures for the circuit breaker. A proxy that says that the host behind it does not
answer counts as much as silence."""
_INCONCLUSIVE_OUTCOMES: Final = frozenset({"cancelled", "forbidden", "certificate"})


class RetryingClient:
    """Sends requests within the limits of a host: retry policy, retry budget, circuit breaker and connections."""

    def __init__(
        self,
        transport: HttpTransport,
        hosts: HostStates,
        policy: RetryPolicy,
        dependencies: HttpDependencies,
        *,
        limiter: ConnectionLimiter,
        user_agent: str,
    ) -> None:
        self._transport = transport
        self._limiter = limiter
        self._hosts = hosts
        self._policy = policy
        self._dependencies = dependencies
        self._user_agent = user_agent

    async def send(
        self,
        request: HttpRequest,
        *,
        host: Host | None = None,
        on_wait: WaitReporter | None = None,
        policy: RetryPolicy | None = None,
    ) -> HttpReply:
        """Send a request, and repeat it while its failure is transient. Raises HttpFailure.

        The reply is never a redirect and never has one of TRANSIENT_STATUSES.

        Args:
            request: Repeated only if it is idempotent.
            host: Whose limits apply; None: those of a service, by the host name in the URL.
            on_wait: Called with each wait when the wait begins.
            policy: Replaces the client's own retry policy.
        """
        policy = policy or self._policy
        host = host or Host(name=_authority(request.url), host_class=HostClass.SERVICE)
        state = self._hosts.get(host)
        request = replace(request, headers=self._headers(request.headers))
        state.record_request()
        waited = timedelta()
        for failures in range(1, policy.attempts + 1):
            async with self._limiter.connection(host, on_wait):
                outcome = await self._attempt(request, host, state.circuit, resends=failures - 1)
            if isinstance(outcome, HttpReply):
                return outcome
            if state.circuit.open_for:
                outcome.retry_after = outcome.retry_after or state.circuit.open_for
                raise outcome
            delay = self._delay(outcome, failures, policy)
            exhausted = failures == policy.attempts or waited + delay > policy.max_total_delay
            if exhausted or not _may_retry(request, outcome) or not self._spend_budget(outcome, host, state):
                raise outcome
            await self._pause(outcome, delay, host, on_wait)
            waited += delay
        raise AssertionError("a policy allows at least one attempt")

    async def _attempt(
        self, request: HttpRequest, host: Host, circuit: CircuitBreaker, *, resends: int
    ) -> HttpReply | NoResponse | TooManyRequests:
        """Send the request once, and record the outcome in the circuit breaker and the metrics."""
        closed_in = circuit.admit()
        if closed_in:
            return CircuitOpen("no answer for some time, calls are paused", retry_after=closed_in)
        begin = self._dependencies.monotonic()
        kind = "cancelled"
        try:
            outcome = await self._send_once(request, host, resends)
            kind = outcome_label(outcome)
        except HttpFailure as failure:
            kind = outcome_label(failure)
            raise
        finally:
            self._dependencies.metrics.record_attempt(host, kind, self._dependencies.monotonic() - begin)
            if kind in _INCONCLUSIVE_OUTCOMES:
                circuit.record_inconclusive()
            elif kind not in _FAILURE_OUTCOMES:
                circuit.record_success()
            elif circuit.record_failure():
                self._circuit_opened(host)
        return outcome

    async def _send_once(
        self, request: HttpRequest, host: Host, resends: int
    ) -> HttpReply | NoResponse | TooManyRequests:
        with request_span(request.method, request.url, host, resends=resends) as span:
            if trace := headers_for(host, send_to_shops=self._dependencies.send_traceparent):
                request = replace(request, headers=CIMultiDict(request.headers, **trace))
            try:
                reply = await self._transport.send(request)
            except NoResponse as failure:
                fail_span(span, failure)
                return failure
            record_status(span, reply.status)
        now = self._dependencies.clock()
        return transient_failure(reply.status, reply.headers, now, host.rate_limit_headers) or reply

    def _circuit_opened(self, host: Host) -> None:
        _log.warning("circuit opened: the host does not answer", extra={"host": host.name})
        self._dependencies.metrics.record_circuit_opened(host)

    def _spend_budget(self, failure: HttpFailure, host: Host, state: HostState) -> bool:
        """Return whether the host's budget has one more retry. A retry at the time the host asked for is free."""
        if isinstance(failure, TooManyRequests) and failure.retry_after is not None:
            return True
        if state.try_spend_retry():
            return True
        self._dependencies.metrics.record_retry_budget_exhausted(host)
        return False

    def _delay(self, failure: HttpFailure, failures: int, policy: RetryPolicy) -> timedelta:
        """Return what the host asked for plus a little jitter, else the backoff of the policy."""
        if failure.retry_after is not None:
            return failure.retry_after + policy.first_delay * self._dependencies.jitter()
        return policy.max_backoff(failures) * self._dependencies.jitter()

    async def _pause(
        self, failure: HttpFailure, delay: timedelta, host: Host, on_wait: WaitReporter | None
    ) -> None:
        throttled = isinstance(failure, TooManyRequests)
        self._dependencies.metrics.record_wait(host, delay, throttled=throttled)
        if on_wait is not None:
            reason = WaitReason.THROTTLED if throttled else WaitReason.SOURCE_UNREACHABLE
            on_wait(Wait(reason=reason, until=self._dependencies.clock() + delay, message=failure.detail))
        await self._dependencies.sleep(delay)
        self._dependencies.metrics.record_retry(host)

    def _headers(self, requested: Mapping[str, str]) -> CIMultiDict[str]:
        """Return our default headers, overridden by the requested ones, whatever their case."""
        headers = CIMultiDict(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._user_agent}
        )
        correlation_id = self._dependencies.correlation_id()
        if correlation_id:
            headers["x-correlation-id"] = correlation_id
        headers.update(requested)
        return headers


def outcome_label(outcome: HttpReply | HttpFailure) -> str:
    """Return one of a few words for the outcome of an attempt, for the metrics."""
    match outcome:
        case HttpReply():
            return f"{outcome.status // 100}xx"
        case TooManyRequests():
            return "429"
        case ServerError():
            return "5xx"
        case BadGateway():
            return "gateway"
        case CertificateRejected():
            return "certificate"
        case RedirectRefused():
            return "3xx"
        case UnusableResponse():
            return "unusable"
        case AddressForbidden():
            return "forbidden"
        case _:
            return "no_answer"


def _may_retry(request: HttpRequest, failure: HttpFailure) -> bool:
    return request.idempotent and not isinstance(failure, CertificateRejected | CircuitOpen)


def _authority(url: URL) -> str:
    return f"{url.raw_host}:{url.port}"
