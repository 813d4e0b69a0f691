"""What a fault is, and the simplest one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
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
