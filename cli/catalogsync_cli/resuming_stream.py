"""A server stream that is opened again whenever it breaks, stalls, expires or its replica drains."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import WatchSyncResponse
from catalogsync_common.status import ReceivedFailure, read_failure

from catalogsync_cli.errors import CallFailed


class StreamMessage(Protocol):
    """A message of a stream that announces its end."""

    @property
    def reconnect_reason(self) -> WatchSyncResponse.ReconnectReason.ValueType: ...


M = TypeVar("M", bound=StreamMessage)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Time limits and backoff of a stream."""

    stall_seconds: float = 60.0
    """Time without a message after which a stream counts as dead: two heartbeats, which come every 30 s."""
    give_up_seconds: float = 300.0
    """Time without a message over all attempts after which the last error is raised."""
    initial_backoff_seconds: float = 0.5
    """Upper bound of the first backoff; doubled after each attempt that brought no message."""
    max_backoff_seconds: float = 15.0

    def backoff_seconds(self, failure: ReceivedFailure, *, attempts: int) -> float:
        """Return the time until the next attempt: what the server asked for, and full jitter.

        Args:
            failure: the error of the last attempt.
            attempts: how many attempts had failed in a row before it.
        """
        ceiling = min(self.initial_backoff_seconds * 2 ** min(attempts, 16), self.max_backoff_seconds)
        requested = failure.retry_after.total_seconds() if failure.retry_after is not None else 0.0
        return requested + random.uniform(0, ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect:
    """A broken stream that will be opened again."""

    failure: ReceivedFailure
    backoff_seconds: float
    """Time until the next attempt."""


ConnectionCallback = Callable[[Disconnect | None], None]
"""Called with a Disconnect when a stream broke, and with None when messages arrive again."""


class ResumingStream(Generic[M]):
    """Messages of one call after the other, each of which continues after the last message.

    A stream whose last message has a reconnect_reason (it reached its maximum age, or its replica drains) is
    followed by another one at once. A stream that broke or stalled is followed by another one after a backoff with
    full jitter, but not sooner than the server asked for.
    """

    def __init__(
        self,
        open_call: Callable[[], grpc.aio.UnaryStreamCall[Any, M]],
        *,
        callee: str,
        retry_policy: RetryPolicy,
        on_connection: ConnectionCallback | None = None,
        has_fresh_token: Callable[[], bool] = lambda: False,
        starts_over: Callable[[ReceivedFailure], bool] = lambda failure: False,
    ) -> None:
        """Prepare a stream.

        Args:
            open_call: makes a call that continues after the last message.
            callee: name and address of the service, for error messages.
            retry_policy: time limits and backoff.
            on_connection: told of broken and of new streams.
            has_fresh_token: returns whether the next call would send another token than the last one; then a
                stream whose token has expired is followed by another one.
            starts_over: returns whether `open_call` begins from the start after this failure, and must be called
                at once.
        """
        self._open_call = open_call
        self._callee = callee
        self._retry_policy = retry_policy
        self._on_connection = on_connection
        self._has_fresh_token = has_fresh_token
        self._starts_over = starts_over
        self._attempts = 0
        self._last_message_at = time.monotonic()
        self._disconnected = False
        self._must_reconnect = False
        """Whether the last message of the current call announced its end."""

    async def messages(self) -> AsyncGenerator[M, None]:
        """Yield messages without end. Every call is cancelled when the generator is closed.

        Raises:
            CallFailed: the error is not transient, or no message arrived for `give_up_seconds`.
        """
        while True:
            try:
                async with aclosing(self._of_one_call()) as messages:
                    async for message in messages:
                        yield message
                if self._must_reconnect:
                    continue
                failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended too early")
            except CallFailed as error:
                failure = error.failure
            backoff = self._backoff_after(failure)
            self._report_connection(Disconnect(failure=failure, backoff_seconds=backoff))
            await asyncio.sleep(backoff)

    async def _of_one_call(self) -> AsyncGenerator[M, None]:
        self._must_reconnect = False
        call = self._open_call()
        try:
            while (message := await _read(call, self._retry_policy.stall_seconds, self._callee)) is not None:
                self._attempts = 0
                self._last_message_at = time.monotonic()
                if self._disconnected:
                    self._report_connection(None)
                self._must_reconnect = message.reconnect_reason != WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
                yield message
        finally:
            call.cancel()

    def _report_connection(self, disconnect: Disconnect | None) -> None:
        self._disconnected = disconnect is not None
        if self._on_connection is not None:
            self._on_connection(disconnect)

    def _backoff_after(self, failure: ReceivedFailure) -> float:
        """Return the seconds until the next attempt; raise CallFailed when there must be none."""
        if self._starts_over(failure):
            return 0.0
        if failure.reason == "TOKEN_EXPIRED" and self._has_fresh_token():
            return 0.0
        silence = time.monotonic() - self._last_message_at
        if not failure.is_transient or silence > self._retry_policy.give_up_seconds:
            raise CallFailed(failure)
        self._attempts += 1
        return self._retry_policy.backoff_seconds(failure, attempts=self._attempts - 1)


async def _read(call: grpc.aio.UnaryStreamCall[Any, M], stall_seconds: float, callee: str) -> M | None:
    """Return the next message, or None when the stream ended with OK; raise CallFailed for any other end."""
    try:
        async with asyncio.timeout(stall_seconds):
            message = await call.read()
    except TimeoutError:
        failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=f"no message for {stall_seconds:g} s")
    except grpc.aio.AioRpcError as error:
        failure = await read_failure(error, call)
    else:
        return None if message is grpc.aio.EOF else cast("M", message)
    raise CallFailed.of(failure, callee=callee)
