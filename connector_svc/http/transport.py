"""HTTP transport: sends one request once and reads its whole reply."""

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

from connector_svc.http.failures import (
    CertificateRejected,
    HttpFailure,
    NoResponse,
    RedirectRefused,
    UnusableResponse,
)
from connector_svc.http.response_body import BodyDecoder, BodyLimits, is_nested_deeper
from connector_svc.platforms.base import HttpReply

_log = logging.getLogger(__name__)

_LARGE_BODY_BYTES: Final = 1024 * 1024
"""Decompressed; a larger body is processed in a thread."""
_PARTIAL_CONTENT: Final = 206
_MAX_PATH_PART: Final = 20
"""Characters. Access tokens and API keys are longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """One request to send."""

    method: str
    url: URL
    # Both may hold secrets.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    idempotent: bool = True
    """Whether it may be sent twice."""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url.raw_host} {self.url.path})"


class HttpTransport:
    """Sends requests over one session, which must be created with `auto_decompress=False`."""

    def __init__(self, session: aiohttp.ClientSession, limits: BodyLimits) -> None:
        self._session = session
        self._limits = limits

    async def send(self, request: HttpRequest) -> HttpReply:
        """Return the reply, whatever its status unless it is a redirect. Raises HttpFailure."""
        begin = time.monotonic()
        try:
            reply = await self._send(request)
        except HttpFailure as failure:
            _log_request(request, type(failure).__name__, 0, begin)
            raise
        except aiohttp.ClientError as error:
            _log_request(request, type(error).__name__, 0, begin)
            # Without the cause: aiohttp writes the URL with its query, hence with keys, into some messages.
            raise _to_failure(error) from None
        except TimeoutError:
            _log_request(request, "TimeoutError", 0, begin)
            raise NoResponse("no answer in time") from None
        _log_request(request, str(reply.status), len(reply.body), begin)
        if 300 <= reply.status < 400:
            raise RedirectRefused(_redirect_target(request.url, reply.headers.get("Location", "")))
        return reply

    async def _send(self, request: HttpRequest) -> HttpReply:
        async with self._session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            middlewares=(_no_automatic_retry,),
        ) as response:
            body = await self._read_body(response)
            return HttpReply(status=response.status, headers=response.headers, body=body)

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the decompressed body; stop reading as soon as a limit is exceeded."""
        try:
            decoder = BodyDecoder(response.headers.get("Content-Encoding", ""), self._limits)
            parts: list[bytes] = []
            async for piece in response.content.iter_any():
                parts += await _decode(decoder, piece)
            decoder.close()
        except UnusableResponse:
            response.close()
            raise
        if decoder.decoded_bytes <= _LARGE_BODY_BYTES:
            return self._join(response.status, parts)
        return await run_in_thread(partial(self._join, response.status, parts))

    def _join(self, status: int, parts: Iterable[bytes]) -> bytes:
        """Return the whole body. Raises UnusableResponse if it is JSON that is nested too deep."""
        body = b"".join(parts)
        # A part of a file is not a document: it may begin within a string, or be compressed.
        if status != _PARTIAL_CONTENT and is_nested_deeper(body, self._limits.max_nesting):
            raise UnusableResponse(f"the answer is nested deeper than {self._limits.max_nesting} levels")
        return body


async def _decode(decoder: BodyDecoder, piece: bytes) -> list[bytes]:
    """Decompress `piece`; in a thread if the body is large, so that the event loop is not blocked."""
    if decoder.is_identity or decoder.decoded_bytes <= _LARGE_BODY_BYTES:
        return list(decoder.feed(piece))
    return await run_in_thread(lambda: list(decoder.feed(piece)))


async def _no_automatic_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from resending a request on its own, past the retry budget, when a connection breaks."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectionError as error:
        raise _to_failure(error) from None


def _to_failure(error: aiohttp.ClientError) -> HttpFailure:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return CertificateRejected("its TLS certificate is not trusted")
        case aiohttp.ClientConnectorDNSError():
            return NoResponse("its name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return NoResponse("no connection")
        case aiohttp.ClientPayloadError():
            return NoResponse("the answer broke off")
        case aiohttp.ServerTimeoutError():
            return NoResponse("no answer in time")
        case aiohttp.ClientResponseError():
            return NoResponse("the answer is not HTTP")
        case _:
            return NoResponse("the connection broke")


def _redirect_target(requested: URL, location: str) -> str:
    """Describe where a redirect leads, without what may be a key: some shops put the keys they received into it.

    That is the query, and each part of the path that is as long as a key.
    """
    try:
        target = requested.join(URL(location))
        parts = ("..." if len(part) > _MAX_PATH_PART else part for part in target.path.split("/"))
        return f"to {target.origin()}{'/'.join(parts)}"[:200] if location else "nowhere"
    except ValueError:
        return "to an address that is not valid"


def _log_request(request: HttpRequest, outcome: str, size: int, begin: float) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "%s %s%s -> %s",
            request.method,
            request.url.raw_host,
            request.url.path,
            outcome,
            extra={"bytes": size, "ms": round((time.monotonic() - begin) * 1000, 1)},
        )
