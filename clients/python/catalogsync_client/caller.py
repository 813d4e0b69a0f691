"""Makes calls to one service: credentials, correlation id, spans, deadline, retries and readable errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Generic, TypeVar, cast

import grpc
from catalogsync_common.rpc_spans import ClientCallSpan
from catalogsync_common.status import ReceivedFailure, read_failure
from google.protobuf.message import Message

from catalogsync_client.credentials import Credentials, Metadata
from catalogsync_client.errors import CatalogSyncError
from catalogsync_client.reasons import error_of
from catalogsync_client.retry_policy import RetryPolicy

TRequest = TypeVar("TRequest", bound=Message)
TResponse = TypeVar("TResponse")

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
"""The time limit of one unary call with all of its attempts."""
_STREAM_SILENCE_SECONDS: Final = 60.0
_UNAVAILABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""A server that stops answers calls that it has not begun with CANCELLED."""
_RETRY_POLICY: Final = RetryPolicy(initial_backoff_seconds=0.2, max_backoff_seconds=2.0)
"""Of calls that gRPC does not repeat by itself: it does not know whether they have a request_id."""


@dataclass(frozen=True, slots=True)
class OpenStream(Generic[TResponse]):
    """A stream that was opened, and its span, which the reader of the stream ends."""

    call: grpc.aio.UnaryStreamCall[Any, TResponse]
    span: ClientCallSpan

    def error_of(self, failure: ReceivedFailure, *, callee: str, timeout: float | None = None) -> CatalogSyncError:
        """Return the error to raise for a failure of the call, and record its code."""
        self.span.set_code(failure.code)
        return error_of(failure, callee=callee, timeout=timeout)


class Caller:
    """Makes calls to one service with the credentials, a deadline and readable errors."""

    def __init__(self, callee: str, credentials: Credentials, *, timeout_seconds: float | None = None) -> None:
        """Create a caller.

        Args:
            callee: name and address of the service, for error messages.
            credentials: authenticate each call.
            timeout_seconds: the time limit of every call; None: the default of the call.
        """
        self.callee = callee
        self.credentials = credentials
        self._timeout = timeout_seconds

    def authenticated_by(self, credentials: Credentials) -> Caller:
        """Return a caller of the same service with other credentials."""
        return Caller(self.callee, credentials, timeout_seconds=self._timeout)

    async def open(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[TRequest, TResponse],
        request: TRequest,
        *,
        timeout_seconds: float | None = None,
    ) -> OpenStream[TResponse]:
        """Open a stream; who reads it cancels its call and ends its span."""
        span = ClientCallSpan(request)
        try:
            metadata = await self._metadata(span)
        except BaseException:
            with span:
                raise
        return OpenStream(method(request, timeout=timeout_seconds, metadata=metadata), span)

    async def _metadata(self, span: ClientCallSpan) -> Metadata:
        """Return the metadata of the next call: the correlation id, the trace and the credentials."""
        return (*span.metadata(), *await self.credentials.metadata())

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[TRequest, TResponse],
        request: TRequest,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_attempts: int = 1,
    ) -> TResponse:
        """Return the response; after TOKEN_EXPIRED, call once more with another token if there is one.

        Args:
            method: the method of the stub.
            request: its request.
            timeout_seconds: the time limit of all attempts, unless the caller has another one.
            max_attempts: how often to call before the service counts as unavailable. The call must be idempotent.
        """
        seconds = self._timeout or timeout_seconds
        deadline = time.monotonic() + seconds
        renewed = False
        with ClientCallSpan(request) as span:
            for attempts in count():
                metadata = await self._metadata(span)
                try:
                    return await method(request, timeout=deadline - time.monotonic(), metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    failure = await read_failure(error)
                if failure.reason == "TOKEN_EXPIRED" and not renewed:
                    renewed = await self.credentials.renew()
                    if renewed:
                        continue
                backoff = _RETRY_POLICY.backoff_seconds(failure, attempts=attempts)
                is_last = attempts + 1 >= max_attempts or time.monotonic() + backoff >= deadline
                if is_last or failure.code not in _UNAVAILABLE:
                    break
                await asyncio.sleep(backoff)
            span.set_code(failure.code)
            raise error_of(failure, callee=self.callee, timeout=seconds)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[TRequest, TResponse], request: TRequest
    ) -> AsyncGenerator[TResponse, None]:
        """Yield the responses of one call. Without a message for a minute, the stream counts as broken."""
        stream = await self.open(method, request, timeout_seconds=self._timeout)
        with stream.span:
            try:
                while (response := await self._read(stream)) is not None:
                    yield response
            finally:
                stream.call.cancel()

    async def _read(self, stream: OpenStream[TResponse]) -> TResponse | None:
        """Return the next response, or None when the stream has ended with OK."""
        try:
            async with asyncio.timeout(_STREAM_SILENCE_SECONDS):
                response = await stream.call.read()
        except TimeoutError:
            text = f"no message for {_STREAM_SILENCE_SECONDS:.0f} s"
            silent = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=text)
            raise stream.error_of(silent, callee=self.callee) from None
        except grpc.aio.AioRpcError as error:
            failure = await read_failure(error, stream.call)
            raise stream.error_of(failure, callee=self.callee, timeout=self._timeout) from None
        return None if response is grpc.aio.EOF else cast("TResponse", response)
