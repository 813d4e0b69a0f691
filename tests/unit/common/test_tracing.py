"""Spans: whose trace they belong to, what they say of failures, and that they hold nothing secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator

import grpc
import pytest
from catalogsync.catalog.v1 import analysis_service_pb2, catalog_service_pb2
from catalogsync.connector.v1 import connector_service_pb2
from catalogsync_common.call_context import correlated
from catalogsync_common.failure import Failure
from catalogsync_common.rpc_spans import ClientCallSpan, method_of
from catalogsync_common.tracing import (
    Kind,
    child_span,
    continued_span,
    current_traceparent,
    log_fields,
    server_span,
    trace_headers,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from tests.spans import recorded_spans, texts, the_span

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
SECRET = "shpat_hunter2hunter2"
WATCH = catalog_service_pb2.WatchSyncRequest(sync_id="7")


class SyncRefused(Failure):
    reason = "SYNC_ALREADY_RUNNING"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    with recorded_spans() as exporter:
        yield exporter


def test_a_request_continues_the_trace_of_its_caller(spans: InMemorySpanExporter) -> None:
    headers = [("Traceparent", TRACEPARENT), ("tracestate", "vendor=1"), ("baggage", f"token={SECRET}")]
    with correlated("c-1"), server_span("GET /x", headers):
        outgoing = trace_headers()
    span = the_span(spans, "GET /x")
    assert span.parent is not None
    assert format_span_id(span.parent.span_id) == SPAN_ID
    assert format_trace_id(span.context.trace_id) == TRACE_ID
    assert (span.attributes or {})["catalogsync.correlation_id"] == "c-1"
    # Of the next service the parent is this span. Baggage is not passed on: it may hold anything.
    assert outgoing == {
        "traceparent": f"00-{TRACE_ID}-{format_span_id(span.context.span_id)}-01",
        "tracestate": "vendor=1",
    }


@pytest.mark.parametrize(
    "received",
    ["", "nonsense", f"00-{TRACE_ID}-{'0' * 16}-01", f"ff-{TRACE_ID}-{SPAN_ID}-01", b"\xff", "x" * 9_000],
)
def test_a_malformed_trace_context_begins_a_new_trace(spans: InMemorySpanExporter, received: str | bytes) -> None:
    with server_span("outer", ()), server_span("GET /x", [("traceparent", received)]):
        pass
    span = the_span(spans, "GET /x")
    # Nor does a request become a part of whatever runs in this process.
    assert span.parent is None
    assert format_trace_id(span.context.trace_id) != TRACE_ID


def test_queued_work_is_a_child_of_its_creator_and_linked_to_it(spans: InMemorySpanExporter) -> None:
    """A trace shows it below the call that asked for it; the conventions for messaging require the link."""
    with continued_span("process", TRACEPARENT):
        pass
    span = the_span(spans, "process")
    (link,) = span.links
    assert span.parent is not None
    assert format_span_id(span.parent.span_id) == format_span_id(link.context.span_id) == SPAN_ID


def test_queued_work_without_a_creator_begins_a_trace(spans: InMemorySpanExporter) -> None:
    with continued_span("process", ""):
        pass
    assert (the_span(spans, "process").parent, the_span(spans, "process").links) == (None, ())


def test_outside_of_a_trace_parts_make_no_spans(spans: InMemorySpanExporter) -> None:
    """Loops poll the database several times a second, outside of any call."""
    with child_span("poll", Kind.CLIENT):
        pass
    assert spans.get_finished_spans() == ()


def test_a_failure_is_recorded_by_its_reason_and_without_its_message(spans: InMemorySpanExporter) -> None:
    for error in (SyncRefused(f"refused {SECRET}"), RuntimeError(f"broken {SECRET}")):
        with pytest.raises(type(error)), continued_span("process", ""):
            raise error
    refused, broken = spans.get_finished_spans()
    assert [span.status.status_code for span in (refused, broken)] == [StatusCode.ERROR] * 2
    assert (refused.attributes or {})["error.type"] == "SYNC_ALREADY_RUNNING"
    assert (broken.attributes or {})["error.type"] == "RuntimeError"
    assert SECRET not in texts(refused) + texts(broken)


def test_exceptions_that_are_no_failures_of_a_part_are_not_recorded(spans: InMemorySpanExporter) -> None:
    with server_span("GET /x", ()), pytest.raises(SyncRefused), child_span("x", Kind.CLIENT, failures=(OSError,)):
        raise SyncRefused("no")
    assert the_span(spans, "x").status.status_code is StatusCode.UNSET


class TestClientCalls:
    def test_a_call_takes_the_trace_to_its_server(self, spans: InMemorySpanExporter) -> None:
        with (
            correlated("c-1"),
            server_span("GET /x", [("traceparent", TRACEPARENT)]),
            ClientCallSpan(WATCH) as span,
        ):
            metadata = dict(span.metadata())
        ended = the_span(spans, "catalogsync.catalog.v1.CatalogService/WatchSync")
        assert metadata == {
            "x-correlation-id": "c-1",
            "traceparent": f"00-{TRACE_ID}-{format_span_id(ended.context.span_id)}-01",
        }
        assert dict(ended.attributes or {}) == {
            "catalogsync.correlation_id": "c-1",
            "rpc.system.name": "grpc",
            "rpc.method": "catalogsync.catalog.v1.CatalogService/WatchSync",
            "rpc.response.status_code": "OK",
        }

    async def test_a_generator_may_hold_the_span_and_be_closed_in_another_task(
        self, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A current span would be detached in another context, which OpenTelemetry logs as an error."""

        async def stream() -> AsyncGenerator[int, None]:
            with ClientCallSpan(WATCH):
                yield 1
                yield 2

        generator = stream()
        assert await anext(generator) == 1
        assert current_traceparent() == ""
        await asyncio.create_task(generator.aclose())
        (span,) = spans.get_finished_spans()
        # The consumer wanted no more: that is no failure.
        assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"
        assert span.status.status_code is StatusCode.UNSET
        assert caplog.records == []

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (grpc.StatusCode.OK, StatusCode.UNSET),
            (grpc.StatusCode.CANCELLED, StatusCode.UNSET),
            (grpc.StatusCode.NOT_FOUND, StatusCode.ERROR),
            (grpc.StatusCode.UNAVAILABLE, StatusCode.ERROR),
        ],
    )
    def test_the_code_decides_about_the_status(
        self, spans: InMemorySpanExporter, code: grpc.StatusCode, status: StatusCode
    ) -> None:
        with ClientCallSpan(WATCH) as span:
            span.set_code(code)
        (ended,) = spans.get_finished_spans()
        assert (ended.attributes or {})["rpc.response.status_code"] == code.name
        assert ended.status.status_code is status

    @pytest.mark.parametrize("file", [catalog_service_pb2, analysis_service_pb2, connector_service_pb2])
    def test_each_method_is_found_by_its_request(self, file: object) -> None:
        services = file.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]
        methods = [(service, method) for service in services for method in service.methods]
        assert len(methods) > 4
        for service, method in methods:
            assert method_of(method.input_type) == f"{service.full_name}/{method.name}"


def test_a_log_line_names_the_current_span(spans: InMemorySpanExporter) -> None:
    assert log_fields() == {}
    with server_span("GET /x", [("traceparent", TRACEPARENT)]):
        fields = log_fields()
    span_id = format_span_id(the_span(spans, "GET /x").context.span_id)
    assert fields == {"trace_id": TRACE_ID, "span_id": span_id}


def test_without_a_provider_a_trace_context_is_passed_on_and_no_sdk_is_imported() -> None:
    """A service whose traces are off must not cut the traces of its callers."""
    code = f"""
import sys
from catalogsync_common.tracing import *
with server_span("GET /x", [("traceparent", "{TRACEPARENT}")]) as span:
    with child_span("part", Kind.CLIENT), continued_span("process", current_traceparent()):
        print(trace_headers(), span.is_recording(), log_fields()["trace_id"])
with server_span("GET /x", []):
    print(trace_headers(), log_fields())
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        f"{{'traceparent': '{TRACEPARENT}'}} False {TRACE_ID}",
        "{} {}",
        "[]",
    ]
