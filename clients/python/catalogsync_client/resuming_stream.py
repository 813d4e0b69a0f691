"""A server stream that is opened again whenever it breaks, stalls, expires or its replica drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import WatchSyncResponse
from catalogsync_common.status import ReceivedFailure, read_failure

from catalogsync_client.caller import OpenStream
from catalogsync_client.errors import CatalogSyncError
from catalogsync_client.reasons import error_of
from catalogsync_client.retry_policy import RetryPolicy


class StreamMessage(Protocol):
    """A message of a stream that announces its end."""

    @property
    def reconnect_reason(self) -> WatchSyncResponse.ReconnectReason.ValueType: ...


M = TypeVar("M", bound=StreamMessage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect:
    """A broken stream that will be opened again."""

    failure: ReceivedFailure
    backoff_seconds: float
    """Time until the next attempt."""


ConnectionCallback: TypeAlias = Callable[[Disconnect | None], None]
"""Called with a Disconnect when a stream broke, and with None when messages arrive again."""


async def has_no_other_token() -> bool:
    """Return False: the credentials do not change."""
    return False


class ResumingStream(Generic[M]):
    """Messages of one call after the other, each of which continues after the last message.

    A stream whose last message has a reconnect_reason (it reached its maximum age, or its replica drains) is
    followed by another one at once. A stream that broke or stalled is followed by another one after a backoff with
    full jitter, but not sooner than the server asked for.
    """

    def __init__(
        self,
        open_call: Callable[[], Awaitable[OpenStream[M]]],
        *,
        callee: str,
        retry_policy: RetryPolicy,
        on_connection: ConnectionCallback | None = None,
        renew_token: Callable[[], Awaitable[bool]] = has_no_other_token,
        starts_over: Callable[[ReceivedFailure], bool] = lambda failure: False,
    ) -> None:
        """Prepare a stream.

        Args:
            open_call: makes a call that continues after the last message.
            callee: name and address of the service, for error messages.
            retry_policy: time limits and backoff.
            on_connection: told of broken and of new streams.
            renew_token: called after TOKEN_EXPIRED; returns whether the next call sends another token than the
                last one. Then the stream is followed by another one at once.
            starts_over: returns whether `open_call` begins from the start after this failure, and must be called
                at once.
        """
        self._open_call = open_call
        self._callee = callee
        self._retry_policy = retry_policy
        self._on_connection = on_connection
        self._renew_token = renew_token
        self._starts_over = starts_over
        self._attempts = 0
        self._last_message_at = time.monotonic()
        self._disconnected = False
        self._must_reconnect = False
        """Whether the last message of the current call announced its end."""

    async def messages(self) -> AsyncGenerator[M, None]:
        """Yield messages without end. Every call is cancelled when the generator is closed.

        Raises:
            CatalogSyncError: the error is not transient, or no message arrived for `give_up_seconds`.
        """
        while True:
            try:
                async with aclosing(self._of_one_call()) as messages:
                    async for message in messages:
                        yield message
                if self._must_reconnect:
                    continue
                failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended too early")
                error = error_of(failure, callee=self._callee)
            except CatalogSyncError as raised:
                error = raised
            backoff = await self._backoff_after(error)
            self._report_connection(Disconnect(failure=error.failure, backoff_seconds=backoff))
            await asyncio.sleep(backoff)

    async def _of_one_call(self) -> AsyncGenerator[M, None]:
        self._must_reconnect = False
        stream = await self._open_call()
        with stream.span:
            try:
                while (message := await _read(stream, self._retry_policy.stall_seconds, self._callee)) is not None:
                    self._attempts = 0
                    if self._disconnected:
                        self._report_connection(None)
                    reason = message.reconnect_reason
                    self._must_reconnect = reason != WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
                    yield message
                    # The consumer may have taken long with the message; that is no silence of the server.
                    self._last_message_at = time.monotonic()
            finally:
                stream.call.cancel()

    def _report_connection(self, disconnect: Disconnect | None) -> None:
        self._disconnected = disconnect is not None
        if self._on_connection is not None:
            self._on_connection(disconnect)

    async def _backoff_after(self, error: CatalogSyncError) -> float:
        """Return the seconds until the next attempt; raise the error when there must be none."""
        failure = error.failure
        if self._starts_over(failure):
            return 0.0
        if failure.reason == "TOKEN_EXPIRED":
            try:
                if await self._renew_token():
                    return 0.0
            except CatalogSyncError as renewal:
                error, failure = renewal, renewal.failure
        silence = time.monotonic() - self._last_message_at
        if not failure.is_transient or silence > self._retry_policy.give_up_seconds:
            raise error
        self._attempts += 1
        return self._retry_policy.backoff_seconds(failure, attempts=self._attempts - 1)


async def _read(stream: OpenStream[M], stall_seconds: float, callee: str) -> M | None:
    """Return the next message, or None when the stream ended with OK; raise CatalogSyncError for any other end."""
    try:
        async with asyncio.timeout(stall_seconds):
            message = await stream.call.read()
    except TimeoutError:
        failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=f"no message for {stall_seconds:g} s")
    except grpc.aio.AioRpcError as error:
        failure = await read_failure(error, stream.call)
    else:
        return None if message is grpc.aio.EOF else cast("M", message)
    raise stream.error_of(failure, callee=callee)
