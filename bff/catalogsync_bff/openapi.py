"""The OpenAPI 3.1 document, made of the routes that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from catalogsync_bff.csrf import REQUESTED_WITH, REQUESTED_WITH_HEADER
from catalogsync_bff.json_form import Json, encode
from catalogsync_bff.routes.syncs import IDEMPOTENCY_HEADER
from catalogsync_bff.routing import API, Operation, Route
from catalogsync_bff.schemas import record_schemas, ref

PATH: Final = f"{API}/openapi.json"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_COMMON_ERRORS: Final = (400, 401, 403, 429, 502, 503, 504)
_ENVELOPE_PARTS: Final[Mapping[str, Json]] = {
    "Meta": {
        "type": "object",
        "properties": {
            "request_id": {"type": "string"},
            "correlation_id": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
        },
        "required": ["request_id", "correlation_id", "timestamp"],
    },
    "Pagination": {
        "type": "object",
        "properties": {"next_page_token": {"type": "string"}, "page_size": {"type": "integer"}},
        "required": ["next_page_token", "page_size"],
    },
    "Links": {"type": "object", "additionalProperties": {"type": "string"}, "required": ["self"]},
    "Error": {
        "type": "object",
        "properties": {
            "data": {"type": "null"},
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "details": {"type": "object"},
                },
                "required": ["code", "message", "details"],
            },
            "meta": {"$ref": "#/components/schemas/Meta"},
        },
        "required": ["data", "error", "meta"],
    },
}


class OpenApiRoute:
    """Serves the document of the given routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._document = encode(document(routes))

    def routes(self) -> Sequence[Route]:
        """Return the route."""
        return (Route(method="GET", path=PATH, handler=self.get, needs_caller=False),)

    async def get(self, request: web.Request) -> web.Response:
        """Return the document."""
        return web.Response(body=self._document, content_type="application/json")


def document(routes: Iterable[Route]) -> Mapping[str, Json]:
    """Return the document of those routes that have an operation."""
    paths: dict[str, dict[str, Json]] = {}
    for route in routes:
        if route.operation is not None:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, route.operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "catalogsync BFF",
            "version": "1",
            "description": "Catalogs and syncs of a merchant's shops. See docs/bff.md.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_ENVELOPE_PARTS, **record_schemas()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": "catalogsync-session"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(route: Route, operation: Operation) -> Json:
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "parameters": _parameters(route, operation),
        "responses": _responses(operation),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"content": content, "required": False}
    return described


def _parameters(route: Route, operation: Operation) -> list[Json]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in _PARAMETER.findall(route.path)
    ]
    query = [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    headers = []
    if route.method != "GET":
        schema = {"type": "string", "const": REQUESTED_WITH}
        headers.append({"name": REQUESTED_WITH_HEADER, "in": "header", "required": True, "schema": schema})
    if "request_id" in (operation.body or {}).get("properties", {}):
        schema = {"type": "string", "format": "uuid"}
        headers.append({"name": IDEMPOTENCY_HEADER, "in": "header", "schema": schema})
    return path + query + headers


def _path_schema(name: str) -> Json:
    if name in ("shop_id", "sync_id"):
        return {"type": "string", "format": "uuid"}
    return {"type": "string", "minLength": 1}


def _responses(operation: Operation) -> Json:
    errors = {
        str(status): {"description": "No content." if status == 204 else "Error.", **_error_content(status)}
        for status in sorted({*_COMMON_ERRORS, *operation.errors})
    }
    return {str(operation.status): {"description": "Success.", "content": _content(operation)}, **errors}


def _error_content(status: int) -> Mapping[str, Json]:
    return {} if status in (204, 304) else {"content": {"application/json": {"schema": ref("Error")}}}


def _content(operation: Operation) -> Json:
    if operation.response is None:
        return {content_type: {"schema": {"type": "string"}} for content_type in operation.content_types}
    properties = {
        "data": operation.response,
        "error": {"type": "null"},
        "meta": ref("Meta"),
        "links": ref("Links"),
    }
    if operation.paged:
        properties["pagination"] = ref("Pagination")
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"application/json": {"schema": schema}}
