"""A shop that breaks some of its own records on the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from tests.unit.connector_svc.mutation.mutator import encoded

Json = dict[str, Any]
Change = Callable[[Json], object]
"""Changes a record in place; a list that it returns stands in its place."""
_INNER = "X-Inner-Request"
_OF_THE_CONNECTION = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "server"}


@dataclass(slots=True)
class Tampering:
    """Changes every record with this id, wherever the shop sends it whole."""

    record_id: str | int
    """A gid, or the number of a row."""
    change: Change
    whole: str
    """A field that only whole records have."""
    changed: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """A devstore fault: the shop's own answer, tampered with."""
        if _INNER in request.headers or request.method == "HEAD":
            return None
        headers = {name: value for name, value in request.headers.items() if name.lower() != "accept-encoding"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, request.url, headers=headers | {_INNER: "1"}, data=await request.read(), ssl=False
            ) as reply,
        ):
            body = json.loads(await reply.read())
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in _OF_THE_CONNECTION}
            return web.Response(status=reply.status, body=encoded(self._tampered(body)), headers=kept)

    def _tampered(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for item in value for one in self._records(item)]
        if isinstance(value, dict):
            return {name: self._tampered(item) for name, item in value.items()}
        return value

    def _records(self, item: Any) -> Iterator[Any]:
        item = self._tampered(item)
        if not (isinstance(item, dict) and item.get("id") == self.record_id and self.whole in item):
            yield item
            return
        self.changed += 1
        instead = self.change(item)
        yield from instead if isinstance(instead, list) else [item]
