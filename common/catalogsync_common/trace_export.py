"""Sends spans to an OTLP collector: the tracer provider of a process, from its settings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry import trace

from catalogsync_common.settings import ProcessSettings, SettingsError, variable_name

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_MAX_ATTRIBUTES: Final = 32
_MAX_ATTRIBUTE_CHARACTERS: Final = 256
_MAX_EVENTS: Final = 8
_MAX_LINKS: Final = 4
_MAX_QUEUED_SPANS: Final = 2_048
"""While the collector does not keep up, further spans are dropped."""
_MAX_BATCH_SPANS: Final = 512
_EXPORT_INTERVAL_MILLISECONDS: Final = 2_000
_EXPORT_TIMEOUT_SECONDS: Final = 5
_FLUSH_TIMEOUT_SECONDS: Final = 2.0
"""How long a stop waits for the collector."""


@asynccontextmanager
async def traced_process(settings: ProcessSettings, service: str) -> AsyncIterator[None]:
    """Export the spans of this process within the block, if the settings name a collector.

    The spans are sent by a thread of their own. The end waits for the last ones at most two seconds.

    Args:
        settings: where to, and how many.
        service: `service.name` of the spans.

    Raises:
        SettingsError: a collector is set, and the exporter is not installed.
    """
    if not settings.trace_endpoint:
        yield
        return
    provider = open_provider(settings, service)
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        await _shut_down(provider)


def open_provider(settings: ProcessSettings, service: str) -> TracerProvider:
    """Return a provider whose spans are sent to the collector, with limits of their size and number.

    Raises:
        SettingsError: the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        variable = variable_name(type(settings), "trace_endpoint")
        problem = "needs OpenTelemetry's exporter: install the extra `tracing`, as in catalogsync-common[tracing]"
        raise SettingsError((f"{variable}: {problem}",)) from None
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        resource=Resource.create({"service.name": service}),
        span_limits=SpanLimits(
            max_span_attributes=_MAX_ATTRIBUTES,
            max_span_attribute_length=_MAX_ATTRIBUTE_CHARACTERS,
            max_events=_MAX_EVENTS,
            max_links=_MAX_LINKS,
            max_link_attributes=_MAX_ATTRIBUTES,
            max_event_attributes=_MAX_ATTRIBUTES,
        ),
        # It would wait for the collector when the interpreter exits.
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        settings.trace_endpoint,
        timeout=_EXPORT_TIMEOUT_SECONDS,
        insecure=urlsplit(settings.trace_endpoint).scheme == "http",
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_MAX_QUEUED_SPANS,
            schedule_delay_millis=_EXPORT_INTERVAL_MILLISECONDS,
            max_export_batch_size=_MAX_BATCH_SPANS,
        )
    )
    return provider


async def _shut_down(provider: TracerProvider) -> None:
    """Send what is queued and stop, without blocking the event loop; give up after the timeout."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        # After the timeout the event loop may be closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    # Not a thread of the default pool, which the end of the event loop waits for.
    threading.Thread(target=shut_down, name="trace shutdown", daemon=True).start()
    try:
        async with asyncio.timeout(_FLUSH_TIMEOUT_SECONDS):
            await ended.wait()
    except TimeoutError:
        return
