"""One request and its whole answer, tried once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import aiohttp
from catalogsync_common.threads import run_in_thread
from yarl import URL

from connector_svc.http.failures import CertificateRefused, HttpFailure, NoAnswer, RedirectAnswer, UnusableAnswer
from connector_svc.http.response_body import BodyLimits, Unpacker, is_nested_deeper
from connector_svc.platforms.base import HttpReply

_log = logging.getLogger(__name__)

_LARGE_BYTES: Final = 1024 * 1024
"""Unpacked; a larger body is worked on in a thread."""
_PARTIAL_CONTENT: Final = 206


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """What is sent."""

    method: str
    url: URL
    # Both may hold secrets.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    idempotent: bool = True
    """Whether it may be sent twice."""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url.host} {self.url.path})"


class Exchange:
    """Sends requests over one session, which must leave the unpacking to us."""

    def __init__(self, session: aiohttp.ClientSession, limits: BodyLimits) -> None:
        self._session = session
        self._limits = limits

    async def send(self, request: HttpRequest) -> HttpReply:
        """The answer, whatever its status but a redirect. Raises HttpFailure."""
        begin = time.monotonic()
        try:
            reply = await self._send(request)
        except HttpFailure as failure:
            _log_exchange(request, type(failure).__name__, 0, begin)
            raise
        except aiohttp.ClientError as error:
            _log_exchange(request, type(error).__name__, 0, begin)
            # Without the cause: aiohttp writes the URL with its query, hence with keys, into some messages.
            raise _failure(error) from None
        except TimeoutError:
            _log_exchange(request, "TimeoutError", 0, begin)
            raise NoAnswer("no answer in time") from None
        _log_exchange(request, str(reply.status), len(reply.body), begin)
        if 300 <= reply.status < 400:
            raise RedirectAnswer(_location(request.url, reply.headers.get("Location", "")))
        return reply

    async def _send(self, request: HttpRequest) -> HttpReply:
        async with self._session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            middlewares=(_only_once,),
        ) as response:
            body = await self._body(response)
            return HttpReply(status=response.status, headers=response.headers, body=body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The unpacked body; one beyond the limits is not read on."""
        try:
            unpacker = Unpacker(response.headers.get("Content-Encoding", ""), self._limits)
            parts: list[bytes] = []
            async for piece in response.content.iter_any():
                parts += await _unpacked(unpacker, piece)
            unpacker.close()
        except UnusableAnswer:
            response.close()
            raise
        if unpacker.unpacked <= _LARGE_BYTES:
            return self._checked(response.status, parts)
        return await run_in_thread(partial(self._checked, response.status, parts))

    def _checked(self, status: int, parts: Iterable[bytes]) -> bytes:
        """The whole body. Raises UnusableAnswer when it is JSON that is nested too deep."""
        body = b"".join(parts)
        # A part of a file is no document: it may begin within a string, or be compressed.
        if status != _PARTIAL_CONTENT and is_nested_deeper(body, self._limits.max_nesting):
            raise UnusableAnswer(f"the answer is nested deeper than {self._limits.max_nesting} levels")
        return body


async def _unpacked(unpacker: Unpacker, piece: bytes) -> list[bytes]:
    """What `piece` unpacks to; in a thread when the body is large, so that the event loop goes on."""
    if unpacker.is_identity or unpacker.unpacked <= _LARGE_BYTES:
        return list(unpacker.feed(piece))
    return await run_in_thread(lambda: list(unpacker.feed(piece)))


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a request a second time on its own, past our budget, when a connection breaks."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectionError as error:
        raise _failure(error) from None


def _failure(error: aiohttp.ClientError) -> HttpFailure:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return CertificateRefused("its TLS certificate is not trusted")
        case aiohttp.ClientConnectorDNSError():
            return NoAnswer("its name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return NoAnswer("no connection")
        case aiohttp.ClientPayloadError():
            return NoAnswer("the answer broke off")
        case aiohttp.ServerTimeoutError():
            return NoAnswer("no answer in time")
        case aiohttp.ClientResponseError():
            return NoAnswer("the answer is not HTTP")
        case _:
            return NoAnswer("the connection broke")


def _location(asked: URL, text: str) -> str:
    """Where a redirect leads, without a query: some shops put the keys they got into it."""
    try:
        target = asked.join(URL(text))
        return f"to {target.origin()}{target.path}"[:200] if text else "nowhere"
    except ValueError:
        return "to an address that is not valid"


def _log_exchange(request: HttpRequest, outcome: str, size: int, begin: float) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "%s %s%s -> %s",
            request.method,
            request.url.host,
            request.url.path,
            outcome,
            extra={"bytes": size, "ms": round((time.monotonic() - begin) * 1000, 1)},
        )
