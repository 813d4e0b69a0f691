"""The envelope of every JSON response: data or error, the ids of the request, and links to other pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from aiohttp import hdrs, web
from yarl import URL

from catalogsync_bff.errors import HttpError
from catalogsync_bff.json_form import Json, encode

CORRELATION_HEADER: Final = "X-Correlation-ID"
REQUEST_ID_HEADER: Final = "X-Request-ID"
REQUEST_ID: Final = web.RequestKey("request_id", str)
CORRELATION_ID: Final = web.RequestKey("correlation_id", str)
_NO_STORE: Final = "no-store"


def new_request_id() -> str:
    """Return the id of one request."""
    return uuid4().hex


def data_response(
    request: web.Request, data: Json, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with data."""
    return _response(request, {"data": data, "links": _links(request)}, status, headers)


def page_response(request: web.Request, data: Json, *, next_page_token: str, page_size: int) -> web.Response:
    """Return a response with a page of a list, and the link to the next page.

    Args:
        request: the request.
        data: the records.
        next_page_token: of the catalog; "" on the last page.
        page_size: that was requested; 0: the default.
    """
    links = _links(request)
    if next_page_token:
        links["next"] = str(_own_url(request).update_query(page_token=next_page_token))
    pagination = {"next_page_token": next_page_token, "page_size": page_size}
    return _response(request, {"data": data, "pagination": pagination, "links": links}, HTTPStatus.OK, None)


def error_response(request: web.Request, error: HttpError) -> web.Response:
    """Return the response for an error."""
    content = {"code": error.code, "message": error.message, "details": dict(error.details)}
    return _response(request, {"data": None, "error": content}, error.status, error.headers)


def _response(
    request: web.Request, content: Mapping[str, Json], status: int, headers: Mapping[str, str] | None
) -> web.Response:
    meta = {
        "request_id": request.get(REQUEST_ID, ""),
        "correlation_id": request.get(CORRELATION_ID, ""),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    body = encode({"data": content.get("data"), "error": content.get("error"), **content, "meta": meta})
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: _NO_STORE, **(headers or {})},
    )


def _links(request: web.Request) -> dict[str, str]:
    return {"self": str(_own_url(request))}


def _own_url(request: web.Request) -> URL:
    return request.rel_url
