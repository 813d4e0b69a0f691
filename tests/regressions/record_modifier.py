"""A fault of the devstore that makes a shop return some of its records modified."""

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
"""Changes a record in place; if it returns a list, the list replaces the record."""
_INNER_REQUEST_HEADER = "X-Inner-Request"
_CONNECTION_HEADERS = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "server"}


@dataclass(slots=True)
class RecordModifier:
    """Applies a change to every complete record with one id, in all responses of the shop."""

    record_id: str | int
    """A gid of Shopify, or the number of a WooCommerce record."""
    change: Change
    complete_field: str
    """A field that only complete records have; references to the record lack it."""
    change_count: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Return the shop's own response with the record modified; None: respond as usual."""
        if _INNER_REQUEST_HEADER in request.headers or request.method == "HEAD":
            return None
        headers = {name: value for name, value in request.headers.items() if name.lower() != "accept-encoding"}
        headers[_INNER_REQUEST_HEADER] = "1"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, request.url, headers=headers, data=await request.read(), ssl=False
            ) as reply,
        ):
            body = json.loads(await reply.read())
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in _CONNECTION_HEADERS}
            return web.Response(status=reply.status, body=encoded(self._modified(body)), headers=kept)

    def _modified(self, value: Any) -> Any:
        if isinstance(value, list):
            return [record for item in value for record in self._records(item)]
        if isinstance(value, dict):
            return {name: self._modified(item) for name, item in value.items()}
        return value

    def _records(self, item: Any) -> Iterator[Any]:
        """Yield what replaces one item of a list."""
        item = self._modified(item)
        if not (isinstance(item, dict) and item.get("id") == self.record_id and self.complete_field in item):
            yield item
            return
        self.change_count += 1
        replacement = self.change(item)
        yield from replacement if isinstance(replacement, list) else [item]
