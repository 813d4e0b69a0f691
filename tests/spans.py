"""Records the spans that code of this process makes. Elsewhere the process records none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes


class SpanRecorder(Sampler):
    """The sampler and the exporter of the test process, whose provider can be set only once."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.is_on = False

    @classmethod
    def install(cls) -> SpanRecorder:
        """Return the recorder of this process."""
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider) and isinstance(provider.sampler, cls):
            return provider.sampler
        recorder = cls()
        provider = TracerProvider(sampler=recorder, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(recorder.exporter))
        trace.set_tracer_provider(provider)
        return recorder

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        state = trace.get_current_span(parent_context).get_span_context().trace_state
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.is_on else Decision.DROP, attributes, state)

    def get_description(self) -> str:
        return type(self).__name__


@contextmanager
def recorded_spans() -> Iterator[InMemorySpanExporter]:
    """Record all spans within the block; `get_finished_spans` returns those that have ended."""
    recorder = SpanRecorder.install()
    recorder.exporter.clear()
    recorder.is_on = True
    try:
        yield recorder.exporter
    finally:
        recorder.is_on = False


def the_span(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    """Return the only ended span of this name."""
    (found,) = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def texts(span: ReadableSpan) -> str:
    """Return all that a span says, as it is exported."""
    return str(span.to_json())
