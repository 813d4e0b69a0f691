"""Faults that can be written down: in a test, or as JSON over the control face."""

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
from devstore.faults.fault import HONEST_REPLY, Aim

_BOMB_STEP: Final = b" " * 2**20
_DEPTH: Final = 100_000
_HTML: Final = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking</body></html>"


class FaultKind(Enum):
    """What happens."""

    STATUS = "status"
    """`status` with an error page; with `retry_after` seconds, as a date if `as_date`."""
    CUT = "cut"
    """Half of the reply, then the connection is closed."""
    RESET_BEFORE = "reset_before"
    """The connection is reset instead of a reply."""
    RESET_MIDDLE = "reset_middle"
    """Half of the reply, then the connection is reset."""
    DRIP = "drip"
    """The reply at `bytes_per_second`."""
    HANG = "hang"
    """Nothing for `seconds`, then the connection is closed."""
    TRUNCATED = "truncated"
    """Half of the reply's body with status 200 and a length that fits."""
    EMPTY = "empty"
    """Status 200 and no body."""
    HTML = "html"
    """Status 200 and a web page."""
    WRONG_TYPE = "wrong_type"
    """The true reply, called text/html."""
    GZIP_BOMB = "gzip_bomb"
    """A hundred kilobytes that unpack to 100 MiB of blanks in a JSON list."""
    DEEP = "deep"
    """JSON lists, 100,000 within each other."""
    DROPPED_ROWS = "dropped_rows"
    """A list without one of its rows, which headers and totals go on counting."""
    REDIRECT = "redirect"
    """302 to `location`."""


@dataclass(slots=True, kw_only=True)
class ScriptedFault:
    """Does `kind` to every request that its aim meets."""

    kind: FaultKind
    aim: Aim = field(default_factory=Aim)
    status: int = 503
    retry_after: int | None = None
    as_date: bool = False
    seconds: float = 3600.0
    bytes_per_second: float = 200.0
    location: str = "https://elsewhere.example/"

    @property
    def met(self) -> int:
        """How many requests it has met."""
        return self.aim.met

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if not await self.aim.meets(request):
            return None
        if self.kind in _OF_THE_WIRE:
            return await self._on_the_wire(request)
        if self.kind in _OF_THE_REPLY:
            return self._falsified(await request[HONEST_REPLY]())
        return self._instead()

    async def _on_the_wire(self, request: web.Request) -> web.StreamResponse:
        match self.kind:
            case FaultKind.HANG:
                return await connection_faults.silence(request, self.seconds)
            case FaultKind.RESET_BEFORE:
                connection_faults.reset(request)
                return web.Response()
            case FaultKind.DRIP:
                honest = await request[HONEST_REPLY]()
                return await connection_faults.dripping(request, honest, bytes_per_second=self.bytes_per_second)
            case _:
                honest = await request[HONEST_REPLY]()
                with_reset = self.kind is FaultKind.RESET_MIDDLE
                return await connection_faults.broken_off(request, honest, with_reset=with_reset)

    def _falsified(self, honest: web.Response) -> web.Response:
        body, headers = connection_faults.body_of(honest), connection_faults.kept_headers(honest)
        if self.kind is FaultKind.DROPPED_ROWS:
            return web.Response(status=honest.status, body=self._without_a_row(body), headers=headers)
        if self.kind is FaultKind.TRUNCATED:
            return web.Response(status=200, body=body[: len(body) // 2], headers=headers)
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        return web.Response(status=honest.status, body=body, headers=headers, content_type="text/html")

    def _without_a_row(self, body: bytes) -> bytes:
        """`body` as it is when it neither is a list nor holds one as its "data"."""
        try:
            if not body.startswith(b"{"):
                return msgspec.json.encode(self._shortened(body))
            reply = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            reply["data"] = msgspec.Raw(msgspec.json.encode(self._shortened(reply["data"])))
            return msgspec.json.encode(reply)
        except (msgspec.DecodeError, KeyError):
            return body

    def _shortened(self, rows: bytes) -> list[msgspec.Raw]:
        kept = msgspec.json.decode(rows, type=list[msgspec.Raw])
        if kept:
            del kept[self.aim.draw(len(kept))]
        return kept

    def _instead(self) -> web.Response:
        match self.kind:
            case FaultKind.EMPTY:
                return web.Response(status=200, content_type="application/json")
            case FaultKind.HTML:
                return web.Response(status=200, text=_HTML, content_type="text/html")
            case FaultKind.GZIP_BOMB:
                return _json(_bomb(), {"Content-Encoding": "gzip"})
            case FaultKind.DEEP:
                return _json(b"[" * _DEPTH + b"]" * _DEPTH)
            case FaultKind.REDIRECT:
                return web.Response(status=302, headers={"Location": self.location})
            case _:
                return web.Response(
                    status=self.status, text=_HTML, content_type="text/html", headers=self._pause()
                )

    def _pause(self) -> dict[str, str]:
        if self.retry_after is None:
            return {}
        if self.as_date:
            return {"Retry-After": email.utils.formatdate(time.time() + self.retry_after, usegmt=True)}
        return {"Retry-After": str(self.retry_after)}


_OF_THE_WIRE: Final = frozenset(
    {FaultKind.CUT, FaultKind.RESET_BEFORE, FaultKind.RESET_MIDDLE, FaultKind.DRIP, FaultKind.HANG}
)
_OF_THE_REPLY: Final = frozenset({FaultKind.TRUNCATED, FaultKind.WRONG_TYPE, FaultKind.DROPPED_ROWS})


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)


@cache
def _bomb() -> bytes:
    """Worked out once: a server that does nothing else for half a second is another fault."""
    return gzip.compress(b"[" + _BOMB_STEP * 100 + b"]", 6)


class BadFault(ValueError):
    """A description of a fault that cannot be understood; the message says why."""


class _Written(msgspec.Struct, forbid_unknown_fields=True):
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


def read_fault(body: bytes) -> ScriptedFault:
    """The fault that a JSON object describes by the names of `ScriptedFault` and `Aim`. Raises BadFault."""
    try:
        written = msgspec.json.decode(body, type=_Written)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFault(str(error)) from None
    if not 0 <= written.share <= 1 or written.bytes_per_second <= 0 or not 100 <= written.status <= 599:
        raise BadFault("share is 0 to 1, bytes_per_second above 0, status 100 to 599")
    aim = Aim(
        where=written.where,
        nth=frozenset(written.nth),
        share=written.share,
        seed=written.seed,
        times=written.times,
    )
    return ScriptedFault(
        kind=written.kind,
        aim=aim,
        status=written.status,
        retry_after=written.retry_after,
        as_date=written.as_date,
        seconds=written.seconds,
        bytes_per_second=written.bytes_per_second,
        location=written.location,
    )
