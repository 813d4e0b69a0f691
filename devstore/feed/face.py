"""Answers the requests of one publisher's host."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from devstore.catalog.catalog import Catalog
from devstore.feed.publisher import Publisher
from devstore.feed.quirk import FeedQuirk
from devstore.traffic import Note

_MANIFEST = ".well-known/catalogsync-feed.json"


class FeedFace:
    """A static file host behind a bearer token."""

    def __init__(self, catalog: Catalog, *, quirks: set[FeedQuirk], clock: Callable[[], datetime]) -> None:
        self._token = catalog.spec.credentials["feed_token"]
        self._quirks = quirks
        self._publisher = Publisher(catalog, quirks, clock)

    async def answer(self, request: web.Request, path: str, site: str, note: Note) -> web.Response:
        """The manifest, a file or a piece of it."""
        note.operation = "manifest" if path == _MANIFEST else "file"
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return web.Response(status=401, text="no such token")
        if path == _MANIFEST:
            return web.Response(body=self._publisher.manifest(site), content_type="application/json")
        if FeedQuirk.FIXED_NAMES in self._quirks:
            self._publisher.manifest(site)
        body = self._publisher.files.get(path.removeprefix("feeds/"))
        if body is None:
            return web.Response(status=404, text="no such file")
        return self._file(request, body)

    def _file(self, request: web.Request, body: bytes) -> web.Response:
        if FeedQuirk.NO_RANGES in self._quirks or "Range" not in request.headers:
            return web.Response(body=body, content_type="application/octet-stream")
        wanted = request.http_range
        start, end = wanted.start or 0, min(wanted.stop or len(body), len(body))
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}", "Accept-Ranges": "bytes"}
        return web.Response(status=206, body=body[start:end], headers=headers)
