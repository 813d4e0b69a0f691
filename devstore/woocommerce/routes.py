"""What the routes of the REST API are made of: a request, a handler, a reply."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

BodyAndHeaders = tuple[Any, dict[str, str]]
Handler = Callable[["ApiRequest", re.Match[str]], BodyAndHeaders]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request to a route of the API."""

    http: web.Request
    route: str
    url: str
    """The requested URL as the store writes it, without the query."""
    site: str
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route; the first one whose pattern and method match answers a request."""

    name: str
    pattern: re.Pattern[str]
    handler: Handler
    single: bool = False
    public: bool = False
    bulk: bool = False
    methods: frozenset[str] = frozenset()
    """Empty: any."""
    status: int = 200
