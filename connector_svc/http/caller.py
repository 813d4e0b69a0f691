"""Sends a request until it is answered or our patience ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from multidict import CIMultiDict

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.exchange import CertificateRefused, Exchange, HttpRequest
from connector_svc.http.failures import HttpFailure, NoAnswer, TooManyRequests
from connector_svc.http.retry import RetryPolicy, retry_after
from connector_svc.platforms.base import HttpReply

_TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


def utc_now() -> datetime:
    """The clock of the system."""
    return datetime.now(UTC)


async def _sleep(delay: timedelta) -> None:
    await asyncio.sleep(delay.total_seconds())


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What the client takes from the world; tests bring their own."""

    clock: Callable[[], datetime] = utc_now
    sleep: Callable[[timedelta], Awaitable[None]] = _sleep
    jitter: Callable[[], float] = random.random
    """From 0 to 1."""
    correlation_id: Callable[[], str] = str
    """Of the call that we work for; empty: none."""


class HttpCaller:
    """Repeats what may be repeated."""

    def __init__(
        self, exchange: Exchange, policy: RetryPolicy, surroundings: Surroundings, *, user_agent: str
    ) -> None:
        self._exchange = exchange
        self._policy = policy
        self._world = surroundings
        self._user_agent = user_agent

    async def call(
        self, request: HttpRequest, *, on_wait: WaitReporter | None = None, policy: RetryPolicy | None = None
    ) -> HttpReply:
        """The answer, never a redirect nor (once patience ends) 429, 500, 502, 503 or 504. Raises HttpFailure."""
        limits = policy or self._policy
        request = replace(request, headers=self._headers(request.headers))
        waited = timedelta()
        for failures in range(1, limits.attempts + 1):
            outcome = await self._attempt(request)
            if isinstance(outcome, HttpReply):
                return outcome
            last = failures == limits.attempts or not request.idempotent or isinstance(outcome, CertificateRefused)
            delay = self._delay(outcome, failures, limits)
            if last or waited + delay > limits.patience:
                raise outcome
            self._report(outcome, delay, on_wait)
            await self._world.sleep(delay)
            waited += delay
        raise AssertionError("a policy allows at least one attempt")

    async def _attempt(self, request: HttpRequest) -> HttpReply | NoAnswer | TooManyRequests:
        try:
            reply = await self._exchange.send(request)
        except NoAnswer as failure:
            return failure
        if reply.status not in _TRY_AGAIN:
            return reply
        pause = retry_after(reply.headers, self._world.clock())
        kind = TooManyRequests if reply.status == 429 else NoAnswer
        return kind(f"HTTP {reply.status}", retry_after=pause)

    def _delay(self, failure: HttpFailure, failures: int, limits: RetryPolicy) -> timedelta:
        """What the host asked for, with a little jitter on top; else our own back-off."""
        if failure.retry_after is not None:
            return failure.retry_after + limits.first_delay * self._world.jitter()
        return limits.ceiling(failures) * self._world.jitter()

    def _report(self, failure: HttpFailure, delay: timedelta, on_wait: WaitReporter | None) -> None:
        if on_wait is None:
            return
        throttled = isinstance(failure, TooManyRequests)
        reason = WaitReason.THROTTLED if throttled else WaitReason.SOURCE_UNREACHABLE
        on_wait(Wait(reason=reason, until=self._world.clock() + delay, message=failure.detail))

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
