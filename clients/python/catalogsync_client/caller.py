"""Makes calls to one service: credentials, correlation id, deadline, retries and readable errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from itertools import count
from typing import Final, TypeVar, cast

import grpc
from catalogsync_common.call_context import outgoing_metadata
from catalogsync_common.status import ReceivedFailure, read_failure

from catalogsync_client.credentials import Credentials, Metadata
from catalogsync_client.reasons import error_of
from catalogsync_client.retry_policy import RetryPolicy

TRequest = TypeVar("TRequest")
TResponse = TypeVar("TResponse")

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
"""The time limit of one unary call with all of its attempts."""
_STREAM_SILENCE_SECONDS: Final = 60.0
_UNAVAILABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""A server that stops answers calls that it has not begun with CANCELLED."""
_RETRY_POLICY: Final = RetryPolicy(initial_backoff_seconds=0.2, max_backoff_seconds=2.0)
"""Of calls that gRPC does not repeat by itself: it does not know whether they have a request_id."""


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

    async def metadata(self) -> Metadata:
        """Return the metadata of the next call: the correlation id and the credentials."""
        return (*outgoing_metadata(), *await self.credentials.metadata())

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
        for attempts in count():
            metadata = await self.metadata()
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
        raise error_of(failure, callee=self.callee, timeout=seconds)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[TRequest, TResponse], request: TRequest
    ) -> AsyncGenerator[TResponse, None]:
        """Yield the responses of one call. Without a message for a minute, the stream counts as broken."""
        call = method(request, timeout=self._timeout, metadata=await self.metadata())
        try:
            while True:
                try:
                    async with asyncio.timeout(_STREAM_SILENCE_SECONDS):
                        response = await call.read()
                except TimeoutError:
                    text = f"no message for {_STREAM_SILENCE_SECONDS:.0f} s"
                    silent = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=text)
                    raise error_of(silent, callee=self.callee) from None
                except grpc.aio.AioRpcError as error:
                    failure = await read_failure(error, call)
                    raise error_of(failure, callee=self.callee, timeout=self._timeout) from None
                if response is grpc.aio.EOF:
                    return
                yield cast("TResponse", response)
        finally:
            call.cancel()
