"""The export of spans is off unless a setting names a collector, and says what is missing."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from catalogsync_common.settings import ProcessSettings, SettingsError
from catalogsync_common.trace_export import open_provider, traced_process
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan


async def test_without_a_collector_there_is_neither_a_provider_nor_a_thread() -> None:
    before = (trace.get_tracer_provider(), threading.active_count())
    async with traced_process(ProcessSettings(), "test"):
        assert (trace.get_tracer_provider(), threading.active_count()) == before


def test_a_span_has_a_maximum_size() -> None:
    """Whatever is recorded: at most 2,048 spans wait for a collector that does not answer."""
    provider = open_provider(ProcessSettings(trace_endpoint="http://127.0.0.1:1"), "test")
    span = provider.get_tracer("test").start_span("x", attributes={f"a{n}": "x" * 10_000 for n in range(100)})
    for number in range(100):
        span.add_event(f"e{number}")
    assert isinstance(span, ReadableSpan)
    attributes = span.attributes or {}
    assert (len(attributes), max(len(str(value)) for value in attributes.values())) == (32, 256)
    assert len(span.events) == 8
    # The span has not ended, so that nothing is sent.
    provider.shutdown()


async def test_a_missing_exporter_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"TRACE_ENDPOINT: needs .*catalogsync-common\[tracing\]"):
        async with asyncio.timeout(60), traced_process(ProcessSettings(trace_endpoint="http://a:4317"), "test"):
            pass
