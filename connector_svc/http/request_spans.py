"""Spans of requests, by OpenTelemetry's semantic conventions for HTTP, and the trace context that a host gets.

Without `url.full`, which the conventions require: the query holds keys, and the path of a feed may be secret.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from catalogsync_common.tracing import (
    TRACEPARENT_HEADER,
    Kind,
    Span,
    child_span,
    current_traceparent,
    fail_span,
    trace_headers,
)
from yarl import URL

from connector_svc.http.dependencies import Host, HostClass


def request_span(
    method: str, url: URL, host: Host, *, resends: int = 0, is_current: bool = True
) -> AbstractContextManager[Span]:
    """Return a context manager that makes the span of one attempt, if the call that it is made for is traced.

    Args:
        method: of the request.
        url: its host and port are recorded.
        host: as metrics know it.
        resends: attempts before this one.
        is_current: see `child_span`.
    """
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        # As it is sent: decoding a host name that is no valid IDNA fails.
        "server.address": url.raw_host or "",
        "server.port": url.port or 0,
    }
    if resends:
        attributes["http.request.resend_count"] = resends
    if host.platform:
        attributes["catalogsync.platform"] = host.platform
    return child_span(method, Kind.CLIENT, attributes, is_current=is_current)


def record_status(span: Span, status: int) -> None:
    """Record the status of the reply."""
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        fail_span(span, str(status))


def headers_for(host: Host, *, send_to_shops: bool) -> dict[str, str]:
    """Return the headers with the trace context of the current span.

    A shop gets none unless it may, and never `tracestate`, which names systems of the operator.
    """
    if host.host_class is HostClass.SERVICE:
        return trace_headers()
    traceparent = current_traceparent() if send_to_shops else ""
    return {TRACEPARENT_HEADER: traceparent} if traceparent else {}
