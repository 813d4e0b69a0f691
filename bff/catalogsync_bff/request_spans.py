"""Spans of requests, by OpenTelemetry's semantic conventions for HTTP servers.

Without `url.path` and `client.address`, which may hold what identifies a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from catalogsync_common.tracing import Span, fail_span, server_span

PROBES: Final = ("/healthz", "/readyz")
"""Neither traced nor logged: they are requested every few seconds."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestSpan:
    """The span of a request. Its end may come before the end of the response."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def end_with(self, status: int) -> None:
        """Record the status of the response and end the span, once."""
        span, self._span = self._span, None
        if span is None or not span.is_recording():
            return
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            fail_span(span, str(status))
        span.end()


SPAN: Final = web.RequestKey("span", RequestSpan)


@contextmanager
def request_span(request: web.Request, route: str) -> Iterator[RequestSpan]:
    """Make a span current within the block, in the trace that the request names, if any.

    Args:
        request: the request; it gets the span as SPAN.
        route: the path of its route, with the names of its parameters.
    """
    if request.path in PROBES:
        yield RequestSpan(None)
        return
    method = request.method if request.method in _METHODS else "_OTHER"
    attributes = {"http.request.method": method, "http.route": route, "url.scheme": request.scheme}
    with server_span(f"{method} {route}", request.headers.items(), attributes) as span:
        request[SPAN] = RequestSpan(span)
        yield request[SPAN]
