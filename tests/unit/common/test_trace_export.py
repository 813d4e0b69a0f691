"""The export of spans is off unless a setting names a collector, and says what is missing."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from catalogsync_common.settings import ProcessSettings, SettingsError
from catalogsync_common.trace_export import traced_process
from opentelemetry import trace


async def test_without_a_collector_there_is_neither_a_provider_nor_a_thread() -> None:
    before = (trace.get_tracer_provider(), threading.active_count())
    async with traced_process(ProcessSettings(), "test"):
        assert (trace.get_tracer_provider(), threading.active_count()) == before


async def test_a_missing_exporter_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"TRACE_ENDPOINT: needs .*catalogsync-common\[tracing\]"):
        async with asyncio.timeout(60), traced_process(ProcessSettings(trace_endpoint="http://a:4317"), "test"):
            pass
