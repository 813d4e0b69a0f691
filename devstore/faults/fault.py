"""The fault interface, the requests a fault applies to, and the simplest fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from aiohttp import web

ORIGINAL_REPLY: Final[web.RequestKey[Callable[[], Awaitable[web.Response]]]] = web.RequestKey("ORIGINAL_REPLY")
"""Computes the shop's own reply; set on each request, for faults that cut, slow down or falsify the reply."""


class Fault(Protocol):
    """Called before each API request of its shop; the first fault that returns a reply wins."""

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Return the reply to send instead of the shop's; None: let the request pass. May also sleep or raise."""
        ...


@dataclass(slots=True, kw_only=True)
class FailNext:
    """Answers the next `times` requests with an error, then lets all requests pass."""

    times: int
    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if self.times <= 0:
            return None
        self.times -= 1
        return web.Response(
            status=self.status,
            text=self.body,
            content_type=self.content_type,
            charset="utf-8",
            headers=dict(self.headers),
        )


@dataclass(slots=True, kw_only=True)
class RequestMatcher:
    """Selects the requests that a fault applies to: those that meet all conditions. No condition: all requests."""

    where: str = ""
    """A substring of the path, the query or the body: a route, or a GraphQL field."""
    nth: frozenset[int] = frozenset()
    """Positions among the requests that contain `where`, counted from 1; empty: all."""
    share: float = 1.0
    """The share of these requests, 0 to 1, drawn at random with `seed`."""
    seed: int = 7
    times: int | None = None
    """The maximum number of matches; None: no limit."""
    candidates: int = field(default=0, init=False)
    """The number of requests so far that contain `where`."""
    matched: int = field(default=0, init=False)
    """The number of requests that matched so far."""
    _random: Random = field(init=False, repr=False)
    _choices: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._choices = Random(self.seed + 1)

    async def matches(self, request: web.Request) -> bool:
        """Return whether the fault applies to this request, and count it."""
        if self.where and not await self._contains_text(request):
            return False
        self.candidates += 1
        # Drawn for every candidate, so that a seed selects the same requests whatever the other conditions are.
        drawn = self._random.random() < self.share
        if not drawn or (self.nth and self.candidates not in self.nth):
            return False
        if self.times is not None and self.matched >= self.times:
            return False
        self.matched += 1
        return True

    def choose(self, below: int) -> int:
        """Return a random number from 0 to `below` - 1. A separate generator: it does not affect what matches."""
        return self._choices.randrange(below)

    async def _contains_text(self, request: web.Request) -> bool:
        return self.where in request.path_qs or self.where.encode() in await request.read()
