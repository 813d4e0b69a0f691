"""A collector of spans: OTLP over gRPC, as the real exporters of real processes send it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.waiting import until

CORRELATION = "catalogsync.correlation_id"


@dataclass(frozen=True, kw_only=True)
class CollectedSpan:
    """A span that a process has exported."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any] = field(repr=False)
    links: tuple[str, ...]
    """Ids of the linked spans."""
    is_error: bool
    message: SpanMessage = field(repr=False)

    @property
    def operation(self) -> str:
        """The name, without that of a database."""
        return str(self.attributes.get("db.operation.name", self.name))

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


class Collector(TraceServiceServicer):
    """Keeps all spans."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[CollectedSpan] = []
        self.raw = bytearray()
        """All that was received."""
        self.exports = 0

    async def Export(
        self, request: ExportTraceServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExportTraceServiceResponse:
        self.exports += 1
        self.raw += request.SerializeToString()
        for each in request.resource_spans:
            service = _values(each.resource.attributes)["service.name"]
            for scope in each.scope_spans:
                self.spans += (_collected(service, span) for span in scope.spans)
        return ExportTraceServiceResponse()

    def of_correlation_id(self, identifier: str) -> list[CollectedSpan]:
        """Return the spans with this correlation id, as an operator looks for them."""
        return [span for span in self.spans if span.attributes.get(CORRELATION) == identifier]

    async def wait_for(self, *operations: tuple[str, str], correlation_id: str) -> list[CollectedSpan]:
        """Return the spans of this correlation id once there are some of each service and operation."""

        def found() -> set[tuple[str, str]]:
            return {(span.service, span.operation) for span in self.of_correlation_id(correlation_id)}

        await until(lambda: found() >= set(operations))
        return self.of_correlation_id(correlation_id)


class SilentCollector(Collector):
    """Receives spans and never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_left: list[float] = []
        """Of the exporter's own time limit, when it gave up or its process ended."""

    async def Export(
        self, request: ExportTraceServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExportTraceServiceResponse:
        self.exports += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.seconds_left.append(context.time_remaining())
        raise AssertionError("the event is never set")


@asynccontextmanager
async def running_collector(collector: Collector | None = None) -> AsyncIterator[Collector]:
    """Run a collector; yield it with its endpoint."""
    collector = collector or Collector()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def _collected(service: str, span: SpanMessage) -> CollectedSpan:
    return CollectedSpan(
        service=service,
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        message=span,
    )


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
