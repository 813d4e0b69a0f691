"""Faults of a shop's replies."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
from aiohttp import web

_INNER = "X-Inner-Request"
_CONNECTION_HEADERS = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "server"}


@dataclass(slots=True)
class Truncated:
    """Cuts the bodies of some replies of the shop in half, with status 200 and a matching Content-Length."""

    numbers: frozenset[int]
    """Numbers of the replies that are cut, from 1."""
    replies: int = 0
    cut: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if _INNER in request.headers:
            return None
        self.replies += 1
        if self.replies not in self.numbers:
            return None
        self.cut += 1
        headers = {name: value for name, value in request.headers.items() if name.lower() != "accept-encoding"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                request.url,
                headers=headers | {_INNER: "1"},
                data=await request.read(),
                ssl=False,
            ) as reply,
        ):
            body = await reply.read()
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in _CONNECTION_HEADERS}
            return web.Response(status=200, body=body[: len(body) // 2], headers=kept)
