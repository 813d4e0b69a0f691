"""The web application: routes behind their checks, and one form of answer for every error."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from catalogsync_client import CatalogSyncError
from catalogsync_common.call_context import correlated

from catalogsync_bff.callers import CALLER
from catalogsync_bff.envelope import (
    CORRELATION_HEADER,
    CORRELATION_ID,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    error_response,
    new_request_id,
)
from catalogsync_bff.errors import HttpError, http_error
from catalogsync_bff.request_spans import PROBES, SPAN, request_span
from catalogsync_bff.routing import Gatekeeper, Route

_access_log = logging.getLogger("catalogsync_bff.access")
_log = logging.getLogger(__name__)

_MAX_BODY_BYTES: Final = 1024 * 1024
_EVENT_STREAM: Final = "text/event-stream"
_CLIENT_CLOSED_REQUEST: Final = 499
"""The code that nginx logs when the client closed the connection before the response."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RequestMeter(Protocol):
    """Counts requests."""

    def request_started(self) -> None: ...
    def request_ended(self, route: str, status: int, seconds: float) -> None: ...


def build_app(routes: Iterable[Route], gatekeeper: Gatekeeper, meter: RequestMeter) -> web.Application:
    """Return the application that serves these routes."""
    app = web.Application(middlewares=[_answering(meter)], client_max_size=_MAX_BODY_BYTES)
    for route in routes:
        app.router.add_route(route.method, route.path, gatekeeper.guard(route))
    app.on_response_prepare.append(_prepare)
    return app


def _answering(meter: RequestMeter) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give the request its ids, answer errors in the envelope, log and count the request."""
        request[REQUEST_ID] = new_request_id()
        begin = time.monotonic()
        status = _CLIENT_CLOSED_REQUEST
        meter.request_started()
        with (
            correlated(request.headers.get(CORRELATION_HEADER)) as request[CORRELATION_ID],
            request_span(request, _route_name(request)) as span,
        ):
            try:
                response = await _answer(request, handler)
                status = response.status
                return response
            finally:
                seconds = time.monotonic() - begin
                meter.request_ended(_route_name(request), status, seconds)
                span.end_with(status)
                _log_access(request, status, seconds)

    return answer


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HttpError as error:
        return error_response(request, error)
    except CatalogSyncError as error:
        caller = request.get(CALLER)
        has_token = caller is not None and caller.session is None
        return error_response(request, http_error(error, caller_has_token=has_token))
    except web.HTTPException as error:
        return error_response(request, _of_http_exception(error))
    except Exception:
        _log.exception("a request failed")
        message = "An unexpected error occurred. The log has the request_id."
        return error_response(request, HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", message))


def _of_http_exception(error: web.HTTPException) -> HttpError:
    """Return the error for what aiohttp refuses by itself: unknown addresses, methods, large bodies."""
    match error:
        case web.HTTPMethodNotAllowed():
            headers: dict[str, str] = {hdrs.ALLOW: ", ".join(sorted(error.allowed_methods))}
            return HttpError(
                error.status, "METHOD_NOT_ALLOWED", "This address has other methods.", headers=headers
            )
        case web.HTTPNotFound():
            return HttpError(error.status, "NOT_FOUND", "There is no such address.")
        case web.HTTPRequestEntityTooLarge():
            return HttpError(error.status, "PAYLOAD_TOO_LARGE", f"The body exceeds {_MAX_BODY_BYTES} bytes.")
        case _:
            return HttpError(error.status, "INVALID_REQUEST", "The request cannot be read.")


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every response. The span of an event stream ends here: the stream may last for hours."""
    response.headers[hdrs.SERVER] = "catalogsync"
    response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID, "")
    response.headers[CORRELATION_HEADER] = request.get(CORRELATION_ID, "")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.content_type == _EVENT_STREAM and (span := request.get(SPAN)) is not None:
        span.end_with(response.status)


def _route_name(request: web.Request) -> str:
    """Return the route's path with the names of its parameters: there are few of them."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def _log_access(request: web.Request, status: int, seconds: float) -> None:
    if request.path in PROBES:
        return
    _access_log.info(
        "%s %s %d",
        request.method,
        request.path,
        status,
        extra={"ms": round(seconds * 1000, 1), "request_id": request[REQUEST_ID]},
    )
