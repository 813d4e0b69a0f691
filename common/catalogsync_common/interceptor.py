"""The one server interceptor: what every call gets, whatever its handler does.

A correlation id, a status with details for every failure, no word of an unexpected exception to the client,
clean-up in the call's own task, and one log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
from google.rpc import status_pb2

from catalogsync_common.access_log import AccessLogEntry, CallMeter
from catalogsync_common.call_context import CORRELATION_HEADER, correlated, set_deadline
from catalogsync_common.failure import Failure, InvalidRequest
from catalogsync_common.status import DETAILS_KEY

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
TRequest = TypeVar("TRequest")
TResponse = TypeVar("TResponse")

_CANCELLATION_GRACE_SECONDS: Final = 1.0
"""Seconds."""

_CODES: Final = MappingProxyType({code.value[0]: code for code in grpc.StatusCode})


class MethodNotImplemented(Failure):
    """The method's service has it, this server does not."""

    reason = "NOT_IMPLEMENTED"

    def __init__(self, method: str) -> None:
        super().__init__(f"{method.lstrip('/')} is not implemented by this server.")


class StreamStalled(Failure):
    """The client of a stream has not taken a message for too long."""

    reason = "STREAM_EXPIRED"

    def __init__(self, bound: timedelta) -> None:
        super().__init__(f"no message of this stream was read for {bound.total_seconds():.0f} s; call again")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Guards handlers of all four kinds. They must be asynchronous: coroutines, or async generators.

    A handler raises a Failure to end a call with its reason; it neither aborts nor logs by itself. It must not
    swallow CancelledError. `write_timeout`: how long a message of a stream may wait for its client; None: for ever.
    """

    def __init__(self, meter: CallMeter | None = None, *, write_timeout: timedelta | None = None) -> None:
        self._meter = meter
        self._max_write = write_timeout

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
        return _wrap_handler(handler, handler_call_details.method, self._meter, self._max_write)


def _wrap_handler(
    handler: Handler, method: str, meter: CallMeter | None, write_timeout: timedelta | None
) -> Handler:
    behaviour = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )  # exactly one is set
    assert behaviour is not None
    call = _WrappedCall(
        method=method,
        meter=meter,
        write_timeout=write_timeout,
        behaviour=behaviour,
        parse=None if handler.request_streaming else handler.request_deserializer,
        serialize=None if handler.response_streaming else handler.response_serializer,
    )
    make = _HANDLER_FACTORIES[handler.request_streaming, handler.response_streaming]
    # gRPC answers UNKNOWN with the exception's text when it fails to (de)serialise, so single messages go
    # through it as bytes, and the call does that work where it is guarded.
    return make(
        call.respond,
        request_deserializer=handler.request_deserializer if handler.request_streaming else None,
        response_serializer=handler.response_serializer if handler.response_streaming else None,
    )


_HANDLER_FACTORIES: Final = MappingProxyType(
    {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _WrappedCall:
    method: str
    meter: CallMeter | None
    write_timeout: timedelta | None
    behaviour: Callable[[Any, Any], Any]
    parse: Callable[[bytes], Any] | None
    """Of a single request; None: the request is a stream of messages, or is wanted as bytes."""
    serialize: Callable[[Any], bytes] | None
    """Of a single response; None: gRPC does it."""

    async def respond(self, request: Any, context: Context) -> Any:
        # None without a deadline, whatever the stubs say.
        remaining: float | None = context.time_remaining()
        with correlated(_received_id(context)) as identifier, set_deadline(remaining):
            context.set_trailing_metadata(((CORRELATION_HEADER, identifier),))
            # The line is in the log before the client has its answer.
            with AccessLogEntry(self.method, context.peer(), identifier, self.meter) as log:
                try:
                    response = await self._behave(request, context)
                    log.ended(_code_of(context))
                    return response
                except grpc.aio.AbortError:
                    log.ended(_code_of(context))
                    raise
                except asyncio.CancelledError as error:
                    # A task inside the handler was cancelled, not the call: passed on, this would leave the
                    # client without any answer.
                    if _is_cancelled():
                        log.ended(_cancel_code(context))
                        raise
                    status = log.failed(error)
                except Exception as error:
                    if _is_client_gone(error):
                        log.ended(grpc.StatusCode.CANCELLED)
                        raise
                    status = log.failed(
                        MethodNotImplemented(self.method) if _is_method_not_implemented(error, context) else error
                    )
            return await _abort(context, status, identifier)

    async def _behave(self, request: Any, context: Context) -> Any:
        if self.parse is not None:
            request = _parsed(self.parse, request)
        result = self.behaviour(request, context)
        if hasattr(result, "__aiter__"):
            return await _write_all(result, context, self.write_timeout)
        response = await result
        if self.serialize is None or _code_of(context) is not grpc.StatusCode.OK:
            return response
        return self.serialize(response)


async def _write_all(responses: Any, context: Context, write_timeout: timedelta | None) -> None:
    """Drives a generator from the call's own task.

    Left to gRPC, a generator whose client leaves during a write is dropped, and closed some time later by some
    other task. Raises StreamStalled after a write of `write_timeout`: the generator is closed by then, and what it
    held is free, though the status waits for the client to read on or to go.
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
                # The client is gone, and the cancellation of this task is on its way. It shall not meet the
                # clean-up, which would then stop at its first `await`.
                await asyncio.sleep(_CANCELLATION_GRACE_SECONDS)
                raise


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except Exception as error:
        raise InvalidRequest.of("request", "is not a message of this method's request type") from error


async def _abort(context: Context, status: status_pb2.Status, identifier: str) -> NoReturn:
    trailers = ((DETAILS_KEY, status.SerializeToString()), (CORRELATION_HEADER, identifier))
    await context.abort(_CODES[status.code], status.message, trailers)


def _received_id(context: Context) -> str | bytes | None:
    for key, value in context.invocation_metadata() or ():
        if key == CORRELATION_HEADER:
            return value
    return None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancel_code(context: Context) -> grpc.StatusCode:
    # None without a deadline, whatever the stubs say.
    remaining: float | None = context.time_remaining()
    expired = remaining is not None and remaining <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _code_of(context: Context) -> grpc.StatusCode:
    # None, a number or a member, whatever the stubs say.
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES[code or 0]


def _is_method_not_implemented(error: Exception, context: Context) -> bool:
    """What the methods of a generated servicer do that its subclass does not have."""
    return isinstance(error, NotImplementedError) and _code_of(context) is grpc.StatusCode.UNIMPLEMENTED


def _is_client_gone(error: Exception) -> bool:
    """What a write raises when nobody is there to read; gRPC does not export the class."""
    return isinstance(error, grpc.aio.InternalError) and type(error).__name__ == "ExecuteBatchError"
