"""Faults that are described by data: in a test, or as JSON over the control API."""

from __future__ import annotations

import email.utils
import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Final

import msgspec
from aiohttp import web

from devstore.faults import connection_faults
from devstore.faults.fault import ORIGINAL_REPLY, RequestMatcher

_MEBIBYTE_OF_BLANKS: Final = b" " * 2**20
_NESTING_DEPTH: Final = 100_000
_HTML: Final = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking</body></html>"


class FaultKind(Enum):
    """What a fault does."""

    STATUS = "status"
    """Send `status` with an error page and, if set, Retry-After: `retry_after` seconds (a date if `as_date`)."""
    CUT = "cut"
    """Send half of the reply with the Content-Length of the whole, then close the connection."""
    RESET_BEFORE = "reset_before"
    """Reset the connection instead of replying."""
    RESET_MIDDLE = "reset_middle"
    """Send half of the reply, then reset the connection."""
    DRIP = "drip"
    """Send the reply at `bytes_per_second`."""
    HANG = "hang"
    """Send nothing for `seconds`, then close the connection."""
    TRUNCATED = "truncated"
    """Send half of the reply's body with status 200 and the matching Content-Length."""
    EMPTY = "empty"
    """Send status 200 without a body."""
    HTML = "html"
    """Send status 200 with a web page."""
    WRONG_TYPE = "wrong_type"
    """Send the original reply with the content type text/html."""
    GZIP_BOMB = "gzip_bomb"
    """Send a hundred kilobytes that decompress to 100 MiB of blanks in a JSON list."""
    DEEP = "deep"
    """Send 100,000 nested JSON lists."""
    DROPPED_ROWS = "dropped_rows"
    """Leave out one row of a list; headers and totals still count it."""
    REDIRECT = "redirect"
    """Redirect with 302 to `location`."""


@dataclass(slots=True, kw_only=True)
class ScriptedFault:
    """Applies `kind` to every request that its matcher selects."""

    kind: FaultKind
    matcher: RequestMatcher = field(default_factory=RequestMatcher)
    status: int = 503
    retry_after: int | None = None
    as_date: bool = False
    seconds: float = 3600.0
    bytes_per_second: float = 200.0
    location: str = "https://elsewhere.example/"

    @property
    def matched(self) -> int:
        """The number of requests it was applied to."""
        return self.matcher.matched

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if not await self.matcher.matches(request):
            return None
        if self.kind in _CONNECTION_FAULTS:
            return await self._break_connection(request)
        if self.kind in _FALSIFIED_REPLIES:
            return self._falsify(await request[ORIGINAL_REPLY]())
        return self._replacement()

    async def _break_connection(self, request: web.Request) -> web.StreamResponse:
        match self.kind:
            case FaultKind.HANG:
                return await connection_faults.hang(request, self.seconds)
            case FaultKind.RESET_BEFORE:
                connection_faults.reset_connection(request)
                return web.Response()
            case FaultKind.DRIP:
                original = await request[ORIGINAL_REPLY]()
                return await connection_faults.send_slowly(
                    request, original, bytes_per_second=self.bytes_per_second
                )
            case _:
                original = await request[ORIGINAL_REPLY]()
                with_reset = self.kind is FaultKind.RESET_MIDDLE
                return await connection_faults.send_half(request, original, with_reset=with_reset)

    def _falsify(self, original: web.Response) -> web.Response:
        body, headers = connection_faults.body_of(original), connection_faults.content_headers(original)
        if self.kind is FaultKind.DROPPED_ROWS:
            return web.Response(status=original.status, body=self._drop_row(body), headers=headers)
        if self.kind is FaultKind.TRUNCATED:
            return web.Response(status=200, body=body[: len(body) // 2], headers=headers)
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        return web.Response(status=original.status, body=body, headers=headers, content_type="text/html")

    def _drop_row(self, body: bytes) -> bytes:
        """Return `body` without one row; unchanged when it neither is a list nor has one as its "data"."""
        try:
            if not body.startswith(b"{"):
                return msgspec.json.encode(self._without_one(body))
            reply = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            reply["data"] = msgspec.Raw(msgspec.json.encode(self._without_one(reply["data"])))
            return msgspec.json.encode(reply)
        except (msgspec.DecodeError, KeyError):
            return body

    def _without_one(self, encoded_rows: bytes) -> list[msgspec.Raw]:
        rows = msgspec.json.decode(encoded_rows, type=list[msgspec.Raw])
        if rows:
            del rows[self.matcher.choose(len(rows))]
        return rows

    def _replacement(self) -> web.Response:
        match self.kind:
            case FaultKind.EMPTY:
                return web.Response(status=200, content_type="application/json")
            case FaultKind.HTML:
                return web.Response(status=200, text=_HTML, content_type="text/html")
            case FaultKind.GZIP_BOMB:
                return _json(_gzip_bomb(), {"Content-Encoding": "gzip"})
            case FaultKind.DEEP:
                return _json(b"[" * _NESTING_DEPTH + b"]" * _NESTING_DEPTH)
            case FaultKind.REDIRECT:
                return web.Response(status=302, headers={"Location": self.location})
            case _:
                return web.Response(
                    status=self.status, text=_HTML, content_type="text/html", headers=self._retry_after_header()
                )

    def _retry_after_header(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        if self.as_date:
            return {"Retry-After": email.utils.formatdate(time.time() + self.retry_after, usegmt=True)}
        return {"Retry-After": str(self.retry_after)}


_CONNECTION_FAULTS: Final = frozenset(
    {FaultKind.CUT, FaultKind.RESET_BEFORE, FaultKind.RESET_MIDDLE, FaultKind.DRIP, FaultKind.HANG}
)
_FALSIFIED_REPLIES: Final = frozenset({FaultKind.TRUNCATED, FaultKind.WRONG_TYPE, FaultKind.DROPPED_ROWS})


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)


@cache
def _gzip_bomb() -> bytes:
    # Cached, since compressing blocks the server for half a second, which would be another fault.
    return gzip.compress(b"[" + _MEBIBYTE_OF_BLANKS * 100 + b"]", 6)


class InvalidFault(ValueError):
    """An invalid description of a fault; the message says why."""


class _FaultDescription(msgspec.Struct, forbid_unknown_fields=True):
    kind: FaultKind
    where: str = ""
    nth: list[int] = []
    share: float = 1.0
    seed: int = 7
    times: int | None = None
    status: int = 503
    retry_after: int | None = None
    as_date: bool = False
    seconds: float = 3600.0
    bytes_per_second: float = 200.0
    location: str = "https://elsewhere.example/"


def parse_fault(body: bytes) -> ScriptedFault:
    """Return the fault that a JSON object describes.

    Args:
        body: A JSON object with the fields of `ScriptedFault` and `RequestMatcher`; only `kind` is required.

    Raises:
        InvalidFault: A field is unknown or has an invalid value.
    """
    try:
        described = msgspec.json.decode(body, type=_FaultDescription)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFault(str(error)) from None
    if not 0 <= described.share <= 1 or described.bytes_per_second <= 0 or not 100 <= described.status <= 599:
        raise InvalidFault("share is 0 to 1, bytes_per_second above 0, status 100 to 599")
    matcher = RequestMatcher(
        where=described.where,
        nth=frozenset(described.nth),
        share=described.share,
        seed=described.seed,
        times=described.times,
    )
    return ScriptedFault(
        kind=described.kind,
        matcher=matcher,
        status=described.status,
        retry_after=described.retry_after,
        as_date=described.as_date,
        seconds=described.seconds,
        bytes_per_second=described.bytes_per_second,
        location=described.location,
    )
