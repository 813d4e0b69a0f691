"""The server span of a call: in the trace of its client, with the code of its end, and ended with the call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from catalogsync_common.failure import Failure
from catalogsync_common.tracing import current_traceparent
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Serve
from tests.spans import recorded_spans, texts, the_span
from tests.waiting import forever, until

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
SECRET = "hunter2hunter2"


class SyncNotFound(Failure):
    reason = "SYNC_NOT_FOUND"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


async def echo_trace(request: Any, context: Any) -> StringValue:
    return StringValue(value=current_traceparent())


async def test_a_call_continues_the_trace_of_its_client(
    serve: Serve, spans: InMemorySpanExporter, logged: LogLines
) -> None:
    metadata = (("traceparent", TRACEPARENT), ("x-correlation-id", "c-1"))
    async with serve(Handlers(unary_unary=echo_trace)) as running:
        [seen] = await running.call("unary_unary", metadata=metadata)
        line = await logged.call()
    span = the_span(spans, f"{SERVICE}/unary_unary")
    span_id = format_span_id(span.context.span_id)
    assert seen == f"00-{TRACE_ID}-{span_id}-01"
    assert span.parent is not None
    assert (format_span_id(span.parent.span_id), span.kind) == (SPAN_ID, SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "catalogsync.correlation_id": "c-1",
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/unary_unary",
        "rpc.response.status_code": "OK",
    }
    assert (line["trace_id"], line["span_id"]) == (TRACE_ID, span_id)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
@pytest.mark.parametrize(
    ("error", "code", "reason", "status"),
    [
        (SyncNotFound(f"no {SECRET}"), "NOT_FOUND", "SYNC_NOT_FOUND", StatusCode.UNSET),
        (RuntimeError(f"broken {SECRET}"), "INTERNAL", "INTERNAL", StatusCode.ERROR),
    ],
)
async def test_a_refusal_is_no_error_of_the_server_and_an_exception_is(
    serve: Serve,
    spans: InMemorySpanExporter,
    kind: str,
    error: Exception,
    code: str,
    reason: str,
    status: StatusCode,
) -> None:
    async def unary(request: Any, context: Any) -> StringValue:
        raise error

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="1")
        raise error

    async with serve(Handlers(unary_unary=unary, unary_stream=stream)) as running:
        await running.error(kind)
    span = the_span(spans, f"{SERVICE}/{kind}")
    attributes = span.attributes or {}
    assert (attributes["rpc.response.status_code"], attributes["catalogsync.reason"]) == (code, reason)
    assert span.status.status_code is status
    assert SECRET not in texts(span)


async def test_the_span_of_a_stream_ends_when_its_client_is_gone(
    serve: Serve, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="1")
        await forever()

    async with serve(Handlers(unary_stream=stream)) as running:
        call = running.open("unary_stream")
        assert (await call.read()).value == "1"
        assert spans.get_finished_spans() == ()
        call.cancel()
        await until(spans.get_finished_spans)
    span = the_span(spans, f"{SERVICE}/unary_stream")
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"
    assert span.status.status_code is StatusCode.UNSET
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_probes_make_no_spans(serve: Serve, spans: InMemorySpanExporter) -> None:
    async with serve(Handlers(unary_unary=echo_trace)) as running:
        await health_pb2_grpc.HealthStub(running.channel).Check(health_pb2.HealthCheckRequest())
        watch = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        watch.cancel()
    assert spans.get_finished_spans() == ()
