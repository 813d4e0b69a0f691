"""The server interceptor of every call.

It sets the correlation id, the span, the deadline and the principal, refuses calls that the principal may not
make, applies the limits, answers every failure with a status that has details, hides unexpected exceptions from
the client, closes streams in the call's own task, ends streams whose token has expired, and writes the access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
from google.rpc import code_pb2, status_pb2

from catalogsync_common.access_log import AccessLogEntry, CallMeter
from catalogsync_common.auth.call_access import CallAccess, seconds_until_expiry
from catalogsync_common.auth.failures import TokenExpired, Unauthenticated
from catalogsync_common.call_context import CORRELATION_HEADER, SERVER_TIME_HEADER, correlated, set_deadline
from catalogsync_common.call_limits import CallLimiter, CallSlot
from catalogsync_common.failure import Failure, InvalidRequest
from catalogsync_common.principal import SYSTEM, Principal, acting_as, current_principal
from catalogsync_common.rpc_spans import server_call_span
from catalogsync_common.status import DETAILS_KEY

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
TRequest = TypeVar("TRequest")
TResponse = TypeVar("TResponse")

_CANCELLATION_GRACE_SECONDS: Final = 1.0
"""How long a write to a disconnected client waits for the cancellation of its task."""

_CODES: Final = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})


class MethodNotImplemented(Failure):
    """A method of the contract that this server does not implement."""

    reason = "NOT_IMPLEMENTED"

    def __init__(self, method: str) -> None:
        super().__init__(f"{method.lstrip('/')} is not implemented by this server.")


class StreamStalled(Failure):
    """The client of a stream has not read a message for too long."""

    reason = "STREAM_EXPIRED"

    def __init__(self, write_timeout: timedelta) -> None:
        seconds = write_timeout.total_seconds()
        super().__init__(f"The client read no message of this stream for {seconds:.0f} s. Call again.")


class RequestStalled(Failure):
    """The request of a call did not arrive in time after its headers."""

    reason = "STREAM_EXPIRED"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request did not arrive within {seconds:g} s. Call again.")


class _CallTimedOut(Exception):
    """A unary call took as long as the server allows."""

    def __init__(self, seconds: float) -> None:
        self.message = f"The server ended the call after {seconds:g} s, the maximum for this method."
        super().__init__(self.message)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps handlers of all four kinds, which must be asynchronous: coroutines or async generators.

    A handler raises a Failure to end a call with its reason; it neither aborts nor logs by itself. It must not
    swallow CancelledError.

    Args:
        meter: counts the calls.
        write_timeout: how long a message of a stream may wait for its client to read; None: forever.
        access: authenticates callers and authorizes calls; None: authentication is off, everybody may call.
        check_peer: called first in every call, before a message of the client is used; raises a Failure to reject
            the client.
        limiter: the limits of the calls; None: the default ones.
    """

    def __init__(
        self,
        meter: CallMeter | None = None,
        *,
        write_timeout: timedelta | None = None,
        check_peer: Callable[[Context], None] | None = None,
        access: CallAccess | None = None,
        limiter: CallLimiter | None = None,
    ) -> None:
        self._meter = meter
        self._write_timeout = write_timeout
        self._check_peer = check_peer
        self._access = access
        self._limiter = limiter or CallLimiter()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[TRequest, TResponse] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[TRequest, TResponse] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return self._wrap(handler, handler_call_details.method)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        # Exactly one is set.
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        assert behaviour is not None
        call = _WrappedCall(
            method=method,
            meter=self._meter,
            limiter=self._limiter,
            write_timeout=self._write_timeout,
            check_peer=self._check_peer,
            access=self._access,
            behaviour=behaviour,
            request_streaming=handler.request_streaming,
            response_streaming=handler.response_streaming,
            parse=handler.request_deserializer,
            serialize=None if handler.response_streaming else handler.response_serializer,
        )
        return _handler_of(call, handler)


def _handler_of(call: _WrappedCall, handler: Handler) -> Handler:
    # On the wire a single request is a stream of one. gRPC would wait for it without a time limit before it calls
    # the handler; as a stream, `_WrappedCall` receives it. So a client that sends nothing is refused at once.
    make = _HANDLER_FACTORIES[handler.response_streaming]
    # gRPC answers UNKNOWN with the exception's text when it fails to (de)serialise. So single messages pass
    # through it as bytes, and `_WrappedCall` (de)serialises them where it handles exceptions.
    return make(
        call.respond,
        request_deserializer=handler.request_deserializer if handler.request_streaming else None,
        response_serializer=handler.response_serializer if handler.response_streaming else None,
    )


_HANDLER_FACTORIES: Final = MappingProxyType(
    {False: grpc.stream_unary_rpc_method_handler, True: grpc.stream_stream_rpc_method_handler}
)
"""By whether the response is a stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _WrappedCall:
    """A method of a service, with its handler and its (de)serialisers."""

    method: str
    meter: CallMeter | None
    limiter: CallLimiter
    write_timeout: timedelta | None
    check_peer: Callable[[Context], None] | None
    access: CallAccess | None
    behaviour: Callable[[Any, Any], Any]
    request_streaming: bool
    response_streaming: bool
    parse: Callable[[bytes], Any] | None
    """Deserialises a single request; None: the handler takes bytes."""
    serialize: Callable[[Any], bytes] | None
    """Serialises a single response; None: gRPC does."""

    async def respond(self, requests: AsyncIterator[Any], context: Context) -> Any:
        # None without a deadline, although the type stubs say float.
        remaining: float | None = context.time_remaining()
        cap = self._cap_seconds(remaining)
        with (
            correlated(_received_id(context)) as identifier,
            server_call_span(self.method, context.invocation_metadata()) as span,
            set_deadline(remaining if cap is None else cap),
            # A stalled stream keeps its slot until its status is sent: until then it costs memory.
            self.limiter.slot(self.method) as slot,
        ):
            context.set_trailing_metadata(_trailers(identifier))
            # The log line is written before the client receives the response.
            with AccessLogEntry(self.method, context.peer(), identifier, self.meter, span) as entry:
                try:
                    response = await self._admit(requests, context, cap, slot, entry)
                    entry.set_code(_code_of(context))
                    return response
                except grpc.aio.AbortError:
                    entry.set_code(_code_of(context))
                    raise
                except _CallTimedOut as error:
                    entry.set_code(grpc.StatusCode.DEADLINE_EXCEEDED)
                    status = status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message=error.message)
                except asyncio.CancelledError as error:
                    if _is_cancelled():
                        entry.set_code(_cancel_code(context))
                        raise
                    # A task inside the handler was cancelled, not the call: re-raised, this would leave the
                    # client without a response.
                    status = entry.set_error(error)
                except Exception as error:
                    if _is_client_disconnected(error):
                        entry.set_code(grpc.StatusCode.CANCELLED)
                        raise
                    if _is_not_implemented(error, context):
                        error = MethodNotImplemented(self.method)
                    status = entry.set_error(error)
            return await _abort(context, status, identifier)

    async def _admit(
        self,
        requests: AsyncIterator[Any],
        context: Context,
        cap: float | None,
        slot: CallSlot,
        entry: AccessLogEntry,
    ) -> Any:
        """Handle the call as its principal, which must be allowed to make it."""
        if self.check_peer is not None:
            self.check_peer(context)
        principal = self._authenticate(context)
        entry.set_principal(principal)
        with acting_as(principal):
            return await self._handle_within(cap, requests, context, slot)

    def _authenticate(self, context: Context) -> Principal:
        if self.access is None or self.access.is_public(self.method):
            return SYSTEM
        self.limiter.check_peer(context.peer())
        try:
            return self.access.admit(self.method, context.invocation_metadata())
        except Unauthenticated:
            self.limiter.count_peer_failure(context.peer())
            raise

    def _cap_seconds(self, remaining: float | None) -> float | None:
        """Return after how many seconds the server ends a unary call; None: its client's deadline is earlier."""
        if self.request_streaming or self.response_streaming:
            return None
        cap = self.limiter.call_seconds(self.method)
        return cap if remaining is None or remaining > cap else None

    async def _handle_within(
        self, cap: float | None, requests: AsyncIterator[Any], context: Context, slot: CallSlot
    ) -> Any:
        try:
            async with asyncio.timeout(cap) as scope:
                return await self._handle(requests, context, slot)
        except TimeoutError:
            if cap is None or not scope.expired():
                raise
            raise _CallTimedOut(cap) from None

    async def _handle(self, requests: AsyncIterator[Any], context: Context, slot: CallSlot) -> Any:
        self.limiter.check_principal(self.method)
        slot.acquire()
        request = requests if self.request_streaming else await self._receive(requests)
        if self.access is not None:
            await self.access.authorize(current_principal(), self.method, request)
        self.limiter.check_shop(self.method, request)
        result = self.behaviour(request, context)
        if hasattr(result, "__aiter__"):
            return await self._stream(result, context)
        response = await result
        if self.serialize is None or _code_of(context) is not grpc.StatusCode.OK:
            return response
        return self.serialize(response)

    async def _stream(self, responses: Any, context: Context) -> None:
        """Write the responses until their end. Raises TokenExpired when the principal's token expires before."""
        expiry = asyncio.timeout(seconds_until_expiry(current_principal()))
        try:
            async with expiry:
                await _write_all(responses, context, self.write_timeout)
        except TimeoutError:
            if expiry.expired():
                raise TokenExpired from None
            raise

    async def _receive(self, requests: AsyncIterator[bytes]) -> Any:
        """Return the request of a call that has a single one."""
        seconds = self.limiter.limits.request_time.total_seconds()
        try:
            async with asyncio.timeout(seconds) as scope:
                raw = await anext(requests, None)
        except TimeoutError:
            if not scope.expired():
                raise
            raise RequestStalled(seconds) from None
        if raw is None:
            raise InvalidRequest.of("request", "is missing")
        return raw if self.parse is None else _parse(self.parse, raw)


async def _write_all(responses: Any, context: Context, write_timeout: timedelta | None) -> None:
    """Iterate over the responses in the call's own task, and write them.

    gRPC itself would drop a generator whose client disconnects during a write, and some other task would close it
    some time later.

    Raises:
        StreamStalled: a write took longer than `write_timeout`. By then the generator is closed and its resources
            are released, though the status is not sent before the client reads on or disconnects.
    """
    closing: AbstractAsyncContextManager[Any] = (
        aclosing(responses) if hasattr(responses, "aclose") else nullcontext(responses)
    )
    async with closing:
        async for response in responses:
            try:
                async with asyncio.timeout(write_timeout.total_seconds() if write_timeout else None):
                    await context.write(response)
            except TimeoutError:
                assert write_timeout is not None
                raise StreamStalled(write_timeout) from None
            except grpc.aio.InternalError:
                # The client has disconnected, and the cancellation of this task will follow. It must not arrive
                # during the clean-up, which would then stop at its first `await`.
                await asyncio.sleep(_CANCELLATION_GRACE_SECONDS)
                raise


def _parse(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except Exception as error:
        raise InvalidRequest.of("request", "is not a message of this method's request type") from error


async def _abort(context: Context, status: status_pb2.Status, identifier: str) -> NoReturn:
    trailers = ((DETAILS_KEY, status.SerializeToString()), *_trailers(identifier))
    await context.abort(_CODES[status.code], status.message, trailers)


def _trailers(identifier: str) -> tuple[tuple[str, str], ...]:
    return (CORRELATION_HEADER, identifier), (SERVER_TIME_HEADER, datetime.now(UTC).isoformat())


def _received_id(context: Context) -> str | bytes | None:
    for key, value in context.invocation_metadata() or ():
        if key == CORRELATION_HEADER:
            return value
    return None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancel_code(context: Context) -> grpc.StatusCode:
    # None without a deadline, although the type stubs say float.
    remaining: float | None = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _code_of(context: Context) -> grpc.StatusCode:
    # None, a number or a member, although the type stubs say StatusCode.
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES[code or 0]


def _is_not_implemented(error: Exception, context: Context) -> bool:
    """Return whether a generated servicer raised the error, since its subclass lacks the method."""
    return isinstance(error, NotImplementedError) and _code_of(context) is grpc.StatusCode.UNIMPLEMENTED


def _is_client_disconnected(error: Exception) -> bool:
    """Return whether a write raised the error after the client disconnected; gRPC does not export the class."""
    return isinstance(error, grpc.aio.InternalError) and type(error).__name__ == "ExecuteBatchError"
