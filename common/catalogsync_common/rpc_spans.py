"""Spans of gRPC calls, by OpenTelemetry's semantic conventions for RPC.

An instrumentation package for grpc.aio is not used: its stream handler is a generator that attaches a context
across its `yield`, and a generator that a client drops is closed in another context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from catalogsync_common.call_context import outgoing_metadata
from catalogsync_common.tracing import Kind, Span, fail_span, server_span, start_span, trace_headers

UNTRACED_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.")
"""Methods without spans: probes call them every few seconds, and a watch of health lasts as long as its client."""

_SERVER_ERRORS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that are an error of the server; with all others the client is told of its own."""
_CLIENT_SUCCESSES: Final = frozenset({grpc.StatusCode.OK, grpc.StatusCode.CANCELLED})
"""Codes that are no error of a client: it ends its own watches by a cancel."""
_STATUS_ATTRIBUTE: Final = "rpc.response.status_code"


class ServerCallSpan:
    """The span of a call that this process answers."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def set_outcome(self, code: grpc.StatusCode, reason: str = "") -> None:
        """Set the code with which the call ends, and the reason of its failure."""
        if self._span is None or not self._span.is_recording():
            return
        self._span.set_attribute(_STATUS_ATTRIBUTE, code.name)
        if reason:
            self._span.set_attribute("catalogsync.reason", reason)
        if code in _SERVER_ERRORS:
            fail_span(self._span, code.name)


@contextmanager
def server_call_span(method: str, metadata: Any) -> Iterator[ServerCallSpan]:
    """Make the span of a call current within the block, and end it.

    Args:
        method: as gRPC names it: "/catalogsync.catalog.v1.CatalogService/StartSync".
        metadata: what the client has sent.
    """
    if method.startswith(UNTRACED_PREFIXES):
        yield ServerCallSpan(None)
        return
    name = method.lstrip("/")
    with server_span(name, metadata or (), _attributes(name)) as span:
        yield ServerCallSpan(span)


class ClientCallSpan:
    """The span of a call to another service: a context manager that ends it.

    It never becomes the current span, so that a generator may hold it across a `yield`.
    """

    def __init__(self, request: Message) -> None:
        """Start the span of the call with this request."""
        name = method_of(request.DESCRIPTOR)
        self._span = start_span(name, Kind.CLIENT, _attributes(name))
        self._code = grpc.StatusCode.OK

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that makes the call part of the trace, with the correlation id."""
        return (*outgoing_metadata(), *trace_headers(self._span).items())

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code with which the call ended, if no AioRpcError passes that tells it."""
        self._code = code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span.is_recording():
            code = self._code_after(error)
            self._span.set_attribute(_STATUS_ATTRIBUTE, code.name)
            if code not in _CLIENT_SUCCESSES:
                fail_span(self._span, code.name)
        self._span.end()

    def _code_after(self, error: BaseException | None) -> grpc.StatusCode:
        if error is None or self._code is not grpc.StatusCode.OK:
            return self._code
        if isinstance(error, grpc.aio.AioRpcError):
            return error.code()
        is_cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        return grpc.StatusCode.CANCELLED if is_cancelled else grpc.StatusCode.UNKNOWN


@lru_cache(maxsize=256)
def method_of(request_type: Descriptor) -> str:
    """Return the method that takes such requests: "catalogsync.catalog.v1.CatalogService/StartSync".

    Each method of our contracts has a request type of its own; `buf lint` checks that.
    """
    for service in request_type.file.services_by_name.values():
        for method in service.methods:
            if method.input_type.full_name == request_type.full_name:
                return f"{service.full_name}/{method.name}"
    return "_OTHER"


def _attributes(name: str) -> dict[str, str]:
    return {"rpc.system.name": "grpc", "rpc.method": name}
