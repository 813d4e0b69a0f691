"""Spans and trace contexts: OpenTelemetry's API, with W3C Trace Context. All spans are made here.

Without a tracer provider (see `trace_export`) there are no spans, and the trace context of a caller is passed on
unchanged. Attributes hold neither secrets nor personal data: no URL, no statement, no message of an exception, and
nothing that a caller has sent, except its correlation id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Final, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from catalogsync_common.call_context import correlation_id

__all__ = [
    "Attributes",
    "Kind",
    "Span",
    "child_span",
    "continued_span",
    "current_traceparent",
    "fail_span",
    "log_fields",
    "server_span",
    "start_span",
    "trace_headers",
]

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

CORRELATION_ATTRIBUTE: Final = "catalogsync.correlation_id"
"""On every span: the traces of a call or sync are found by it."""
TRACEPARENT_HEADER: Final = "traceparent"
_HEADERS: Final = (TRACEPARENT_HEADER, "tracestate")
_NO_ATTRIBUTES: Final[Attributes] = {}

# A proxy, which finds the provider when one is set.
_TRACER: Final = trace.get_tracer("catalogsync")
# Not the baggage, which callers could fill with anything.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Kind(Enum):
    """The role of a span."""

    SERVER = SpanKind.SERVER
    CLIENT = SpanKind.CLIENT
    CONSUMER = SpanKind.CONSUMER
    """Work that was queued before."""


def start_span(
    name: str,
    kind: Kind,
    attributes: Attributes = _NO_ATTRIBUTES,
    *,
    parent: Context | None = None,
    links: Iterable[Link] = (),
) -> Span:
    """Start a span, which does not become the current one; the caller ends it.

    Args:
        name: what is done, one of a few values.
        kind: its role.
        attributes: what the sampler may look at, too.
        parent: the context of its parent; None: the current span.
        links: spans that caused this one.
    """
    return _TRACER.start_span(
        name,
        context=parent,
        kind=kind.value,
        attributes={CORRELATION_ATTRIBUTE: correlation_id.get(), **attributes},
        links=list(links),
    )


@contextmanager
def server_span(
    name: str, headers: Iterable[tuple[str, str | bytes]], attributes: Attributes = _NO_ATTRIBUTES
) -> Iterator[Span]:
    """Make a span for a request current within the block, in the trace that the headers name; end it."""
    span = start_span(name, Kind.SERVER, attributes, parent=_received_context(headers))
    # The handler records whether the request failed: a refusal is an exception as well.
    with _ended(span, failures=()):
        yield span


@contextmanager
def child_span(
    name: str,
    kind: Kind,
    attributes: Attributes = _NO_ATTRIBUTES,
    *,
    failures: tuple[type[Exception], ...] = (Exception,),
    is_current: bool = True,
) -> Iterator[Span]:
    """Make a span for a part of the current trace, and end it with the block.

    Outside of a recorded trace there is none: background loops that poll the database make no traces.

    Args:
        name: what is done, one of a few values.
        kind: the role of the span.
        attributes: its attributes.
        failures: exceptions that mean that the work failed.
        is_current: whether the span is the current one within the block. Not in a generator: it may be closed in
            another context.
    """
    if not trace.get_current_span().is_recording():
        yield trace.INVALID_SPAN
        return
    with _ended(start_span(name, kind, attributes), failures=failures, is_current=is_current) as span:
        yield span


@contextmanager
def continued_span(name: str, traceparent: str, attributes: Attributes = _NO_ATTRIBUTES) -> Iterator[Span]:
    """Make a span for queued work current within the block, and end it.

    It is a child of the span whose `traceparent` was stored with the work, and has a link to it as well
    (docs/decisions/0063). Without a `traceparent` it begins a trace.
    """
    parent = _received_context(((TRACEPARENT_HEADER, traceparent),) if traceparent else ())
    creator = trace.get_current_span(parent).get_span_context()
    links = (Link(creator),) if creator.is_valid else ()
    span = start_span(name, Kind.CONSUMER, attributes, parent=parent, links=links)
    with _ended(span, failures=(Exception,)):
        yield span


@contextmanager
def _ended(span: Span, *, failures: tuple[type[Exception], ...], is_current: bool = True) -> Iterator[Span]:
    """End the span with the block."""
    # Not as OpenTelemetry records exceptions: messages and tracebacks may hold secrets, and are in the log.
    using = trace.use_span(span, record_exception=False, set_status_on_exception=False)
    try:
        with using if is_current else nullcontext():
            yield span
    except failures as error:
        fail_span(span, error)
        raise
    finally:
        # It may have been ended before.
        if span.is_recording():
            span.end()


def fail_span(span: Span, error: BaseException | str) -> None:
    """Record that the work of a span failed: the reason of a failure, or the class of an exception."""
    kind = error if isinstance(error, str) else getattr(error, "reason", None) or type(error).__name__
    span.set_attribute("error.type", str(kind))
    span.set_status(StatusCode.ERROR)


def trace_headers(span: Span | None = None) -> dict[str, str]:
    """Return the headers that make the work of another process part of the trace; empty without a trace.

    Args:
        span: the parent of that work; None: the current span.
    """
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, context=None if span is None else trace.set_span_in_context(span))
    return headers


def current_traceparent() -> str:
    """Return the `traceparent` of the current span, at most 55 characters; empty without a trace."""
    return trace_headers().get(TRACEPARENT_HEADER, "")


def log_fields() -> dict[str, str]:
    """Return `trace_id` and `span_id` of the current span for a log line; empty without a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _received_context(headers: Iterable[tuple[str, str | bytes]]) -> Context:
    """Return the context that the headers describe; a new one, without a span, if they describe none."""
    found = {key.lower(): value for key, value in headers if isinstance(value, str) and key.lower() in _HEADERS}
    return _PROPAGATOR.extract(found)
