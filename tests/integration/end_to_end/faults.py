"""Ways in which a shop lies."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
from aiohttp import web

_INNER = "X-Inner-Request"
_OF_THE_CONNECTION = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "server"}


@dataclass(slots=True)
class Truncated:
    """Cuts the bodies of some answers of the shop in half, with status 200 and a length that fits."""

    which: frozenset[int]
    """Which answers, from 1 on."""
    answers: int = 0
    cut: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if _INNER in request.headers:
            return None
        self.answers += 1
        if self.answers not in self.which:
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
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in _OF_THE_CONNECTION}
            return web.Response(status=200, body=body[: len(body) // 2], headers=kept)
