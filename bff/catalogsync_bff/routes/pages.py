"""The web page and the probes."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from catalogsync_bff.errors import HttpError
from catalogsync_bff.routing import Route

PAGE: Final = Path(__file__).parents[1] / "page"
_INDEX: Final = "index.html"
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CONTENT_TYPES: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFile:
    """A file of the page."""

    content: bytes = field(repr=False)
    content_type: str
    etag: str

    @classmethod
    def read(cls, file: Path) -> PageFile:
        """Return a file's content."""
        content = file.read_bytes()
        guessed = _CONTENT_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]
        digest = hashlib.sha256(content).hexdigest()[:20]
        return cls(content=content, content_type=guessed or "application/octet-stream", etag=digest)


def read_page(folder: Path = PAGE) -> Mapping[str, PageFile]:
    """Return the files of the page by path: "app.js", "views/shops.js"."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(folder).as_posix(): PageFile.read(file) for file in files}


class PageRoutes:
    """Routes of the page's files and of the probes.

    Args:
        read: returns the files of the page; called with each request in development.
        reload: whether files may change while the process runs.
        is_ready: whether requests are to be sent to this process.
    """

    def __init__(
        self, read: Callable[[], Mapping[str, PageFile]], *, reload: bool, is_ready: Callable[[], bool]
    ) -> None:
        self._read = read
        self._files = None if reload else read()
        self._is_ready = is_ready

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            Route(method="GET", path="/", handler=self.index, needs_caller=False),
            Route(method="GET", path="/page/{file:.+}", handler=self.file, needs_caller=False),
            Route(method="GET", path="/healthz", handler=self.healthz, needs_caller=False, csrf_exempt=True),
            Route(method="GET", path="/readyz", handler=self.readyz, needs_caller=False, csrf_exempt=True),
        )

    async def index(self, request: web.Request) -> web.Response:
        """Return the page."""
        return self._respond(request, _INDEX)

    async def file(self, request: web.Request) -> web.Response:
        """Return a file of the page."""
        return self._respond(request, request.match_info["file"])

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process lives."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether requests are to be sent to this process."""
        if self._is_ready():
            return web.Response(text="ok\n")
        return web.Response(text="not ready\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    def _respond(self, request: web.Request, name: str) -> web.Response:
        files = self._files if self._files is not None else self._read()
        file = files.get(name)
        if file is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such file.")
        # A browser asks each time whether the file has changed: page and API are of the same release.
        headers = {**_SECURITY_HEADERS, hdrs.CACHE_CONTROL: "no-cache"}
        known = request.if_none_match or ()
        is_known = any(tag.value == file.etag for tag in known)
        response = web.Response(
            status=HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK,
            body=None if is_known else file.content,
            content_type=file.content_type,
            charset="utf-8" if file.content_type.startswith("text/") else None,
            headers=headers,
        )
        response.etag = file.etag
        return response
