"""Large files that a platform puts on a host of its own: streamed, and taken up where a connection broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from yarl import URL

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.circuit_breaker import Host
from connector_svc.http.config import Endpoints
from connector_svc.http.connection_limits import ConnectionSlots
from connector_svc.http.failures import (
    AddressForbidden,
    CertificateRefused,
    HttpFailure,
    NoAnswer,
    RedirectAnswer,
    TooManyRequests,
    UnusableAnswer,
)
from connector_svc.http.retry import RetryPolicy, transient_failure
from connector_svc.http.retrying_client import HttpDependencies

_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadLimits:
    """How long a file may take; a body has no time limit of its own."""

    total: timedelta = timedelta(hours=2)
    silence: timedelta = timedelta(seconds=30)
    """Without a byte; then the connection counts as broken."""
    connect: timedelta = timedelta(seconds=10)


@dataclass(slots=True, kw_only=True)
class _Received:
    """What came so far, over all connections."""

    size: int = 0
    tag: str = ""
    """The file's ETag, so that two files are never glued together."""


class Downloader:
    """Reads files over one session. Sends nothing but the address: no token, no cookie."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: RetryPolicy,
        surroundings: HttpDependencies,
        limits: DownloadLimits | None = None,
        *,
        slots: ConnectionSlots,
        user_agent: str,
    ) -> None:
        self._session = session
        self._policy = policy
        self._world = surroundings
        self._limits = limits or DownloadLimits()
        self._user_agent = user_agent
        self._slots = slots

    async def chunks(
        self, url: URL, *, host: Host, max_bytes: int, on_wait: WaitReporter | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of the file at `url`, each once, in pieces of at most 256 KiB; `host`: whose file it is.

        A connection that breaks is opened again at the byte where it broke, as long as each one brings something
        or the policy's attempts last. Raises HttpFailure; UnusableAnswer when the file is larger than `max_bytes`,
        is not there, or has become another one.
        """
        async with self._slots.slot(host, on_wait), aclosing(self._chunks(url, max_bytes, on_wait)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks(self, url: URL, max_bytes: int, on_wait: WaitReporter | None) -> AsyncGenerator[bytes, None]:
        received = _Received()
        deadline = self._world.monotonic() + self._limits.total.total_seconds()
        failures = 0
        while True:
            before = received.size
            try:
                async with self._opened(url, received) as response:
                    async for chunk in self._pieces(response, received, max_bytes, deadline):
                        yield chunk
                return
            except (aiohttp.ClientError, TimeoutError, NoAnswer, TooManyRequests) as error:
                failure = _failure(error)
            failures = 1 if received.size > before else failures + 1
            delay = self._delay(failure, failures)
            exhausted = failures >= self._policy.attempts or delay > self._policy.patience
            if exhausted or isinstance(failure, CertificateRefused):
                raise failure
            await self._pause(failure, delay, on_wait)

    @asynccontextmanager
    async def _opened(self, url: URL, received: _Received) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer that begins at the first byte that has not come, or at the very first one."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self._user_agent}
        if received.size:
            headers["Range"] = f"bytes={received.size}-"
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._limits.connect.total_seconds(),
            sock_read=self._limits.silence.total_seconds(),
        )
        async with self._session.get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            _check(response, received, self._world.clock())
            yield response

    async def _pieces(
        self, response: aiohttp.ClientResponse, received: _Received, max_bytes: int, deadline: float
    ) -> AsyncGenerator[bytes, None]:
        skip = received.size if response.status == 200 else 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            if self._world.monotonic() > deadline:
                raise UnusableAnswer("the file takes too long to come")
            fresh = chunk[skip:]
            skip -= len(chunk) - len(fresh)
            if not fresh:
                continue
            received.size += len(fresh)
            if received.size > max_bytes:
                raise UnusableAnswer(f"the file is larger than {max_bytes} bytes")
            yield fresh

    def _delay(self, failure: HttpFailure, failures: int) -> timedelta:
        """What the host asked for, else our own backoff."""
        return failure.retry_after or self._policy.ceiling(failures) * self._world.jitter()

    async def _pause(self, failure: HttpFailure, delay: timedelta, on_wait: WaitReporter | None) -> None:
        if on_wait is not None:
            throttled = isinstance(failure, TooManyRequests)
            reason = WaitReason.THROTTLED if throttled else WaitReason.SOURCE_UNREACHABLE
            on_wait(Wait(reason=reason, until=self._world.clock() + delay, message=failure.detail))
        await self._world.sleep(delay)


def file_address(text: str, *, hosts: Collection[str], base_url: URL, endpoints: Endpoints) -> URL:
    """Where the file at `text` is called: on one of `hosts` over HTTPS, or where the operator says instead of it.

    A file beside a shop whose address the operator named may be read from there. Raises AddressForbidden.
    """
    try:
        # Encoded: another spelling of the query would break its signature.
        url = URL(text, encoded=True)
        host, port = url.raw_host or "", url.port
    except ValueError:
        raise AddressForbidden("the file's address is not valid") from None
    if url.user or url.password or not host or port is None:
        raise AddressForbidden("the file's address is not valid")
    if url.origin() == base_url.origin() and endpoints.is_operators(host, port):
        return url
    if url.scheme != "https" or port != 443 or host not in hosts:
        raise AddressForbidden("the file lies on a host that we do not call")
    instead = endpoints.overrides.get(host)
    return url if instead is None else URL(f"{instead}{url.raw_path_qs}", encoded=True)


def _check(response: aiohttp.ClientResponse, received: _Received, now: datetime) -> None:
    """Raises HttpFailure unless the answer brings the rest of the same file."""
    if 300 <= response.status < 400:
        raise RedirectAnswer("of a file")
    failure = transient_failure(response.status, response.headers, now)
    if failure is not None:
        raise failure
    if response.status not in (200, 206):
        raise UnusableAnswer(f"HTTP {response.status} instead of a file")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnusableAnswer("the file came compressed, which was not asked for")
    tag = response.headers.get("ETag", "")
    if received.size and tag != received.tag:
        raise UnusableAnswer("the file has become another one")
    received.tag = tag
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if response.status == 206 and begin != str(received.size):
        raise UnusableAnswer("the file goes on at another byte than was asked for")


def _failure(error: aiohttp.ClientError | TimeoutError | NoAnswer | TooManyRequests) -> HttpFailure:
    """Without the cause: aiohttp writes the address with its signature into some messages."""
    match error:
        case NoAnswer() | TooManyRequests():
            return error
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return CertificateRefused("the file host's TLS certificate is not trusted")
        case _:
            return NoAnswer("the download broke off")
