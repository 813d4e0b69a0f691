"""What a fault is, and the simplest one.

Which requests a fault meets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from aiohttp import web

HONEST_REPLY: Final[web.RequestKey[Callable[[], Awaitable[web.Response]]]] = web.RequestKey("HONEST_REPLY")
"""Of a request that a fault is asked about: works out what the shop would have answered, for faults that cut it,
slow it down or falsify it."""


class Fault(Protocol):
    """Asked before each API request of its shop; the first fault that answers wins."""

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """The reply to send instead of the shop's, or None to let the request pass. May also sleep or raise."""
        ...


@dataclass(slots=True, kw_only=True)
class FailNext:
    """Answers the next `times` requests and then lets everything pass."""

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
class Aim:
    """All conditions together; without any, every request is met."""

    where: str = ""
    """Text of the path, the query or the body: a route, or a field of GraphQL."""
    nth: frozenset[int] = frozenset()
    """Of the requests that `where` leaves, from 1 on."""
    share: float = 1.0
    """Of these, 0 to 1, drawn by `seed`."""
    seed: int = 7
    times: int | None = None
    """At most so many; None: for ever."""
    seen: int = field(default=0, init=False)
    """Requests that `where` left."""
    met: int = field(default=0, init=False)
    """Requests that were met."""
    _random: Random = field(init=False, repr=False)
    _details: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._details = Random(self.seed + 1)

    async def meets(self, request: web.Request) -> bool:
        """Whether this is one of them; it counts."""
        if self.where and not await self._is_there(request):
            return False
        self.seen += 1
        # Drawn always, so that the same seed meets the same requests whatever else is asked.
        drawn = self._random.random() < self.share
        if not drawn or (self.nth and self.seen not in self.nth):
            return False
        if self.times is not None and self.met >= self.times:
            return False
        self.met += 1
        return True

    def draw(self, below: int) -> int:
        """A number from 0 on, from a sequence of its own: it changes nothing about which requests are met."""
        return self._details.randrange(below)

    async def _is_there(self, request: web.Request) -> bool:
        return self.where in request.path_qs or self.where.encode() in await request.read()
