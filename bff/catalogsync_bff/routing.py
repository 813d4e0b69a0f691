"""Routes: each with its handler, who may call it, and its description for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from aiohttp import web

from catalogsync_bff.callers import CALLER, Callers
from catalogsync_bff.csrf import CsrfGuard
from catalogsync_bff.json_form import Json
from catalogsync_bff.shop_headers import check_shop_headers

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

API: Final = "/api/v1/catalog"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """What the OpenAPI document says of a route."""

    operation_id: str
    summary: str
    query: Mapping[str, Json] = field(default_factory=dict)
    """JSON schema of each query parameter."""
    body: Json = None
    """JSON schema of the body; None: there is none."""
    response: Json = None
    """JSON schema of `data`; None: the response has another form, described by `content_types`."""
    status: int = 200
    paged: bool = False
    content_types: Sequence[str] = ()
    errors: Sequence[int] = ()
    """Statuses of errors, besides those that every route has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A method and a path with their handler."""

    method: str
    path: str
    handler: Handler
    operation: Operation | None = None
    """None: the route is not part of the API."""
    needs_caller: bool = True
    """Whether the handler is called for a known caller only: `caller_of(request)`."""
    csrf_exempt: bool = False
    """Whether the handler itself checks where the request comes from."""
    checks_shop_headers: bool = True
    """Whether X-Platform and X-Shop-Domain must name a registered shop of the caller."""


class Gatekeeper:
    """Checks a request before its handler is called."""

    def __init__(self, callers: Callers, csrf: CsrfGuard) -> None:
        self._callers = callers
        self._csrf = csrf

    def guard(self, route: Route) -> Handler:
        """Return the handler of a route behind its checks."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not route.csrf_exempt:
                self._csrf.check(request)
            if route.needs_caller:
                caller = self._callers.identify(request)
                request[CALLER] = caller
                if route.checks_shop_headers:
                    await check_shop_headers(request, caller)
            return await route.handler(request)

        return guarded
