"""Downloads of large files that a platform puts on a file host: streamed, and resumed where a connection broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import aiohttp
from yarl import URL

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter
from connector_svc.http.config import Endpoints
from connector_svc.http.connection_limits import ConnectionLimiter
from connector_svc.http.dependencies import Host, HttpDependencies
from connector_svc.http.failures import (
    AddressForbidden,
    CertificateRejected,
    HttpFailure,
    NoResponse,
    RedirectRefused,
    TooManyRequests,
    UnusableResponse,
)
from connector_svc.http.request_spans import record_status, request_span
from connector_svc.http.retry import RetryPolicy, transient_failure

_CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadTimeouts:
    """Time limits of one file."""

    total: timedelta = timedelta(hours=2)
    idle: timedelta = timedelta(seconds=30)
    """Without a byte; after that the connection counts as broken."""
    connect: timedelta = timedelta(seconds=10)


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What was received so far, over all connections."""

    received_bytes: int = 0
    etag: str = ""
    """Of the file, so that parts of two files are never joined."""


class Downloader:
    """Downloads files over one session. Sends only the address: no token, no cookie."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: RetryPolicy,
        dependencies: HttpDependencies,
        timeouts: DownloadTimeouts | None = None,
        *,
        limiter: ConnectionLimiter,
        user_agent: str,
    ) -> None:
        self._session = session
        self._policy = policy
        self._dependencies = dependencies
        self._timeouts = timeouts or DownloadTimeouts()
        self._user_agent = user_agent
        self._limiter = limiter

    async def chunks(
        self, url: URL, *, host: Host, max_bytes: int, on_wait: WaitReporter | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the file at `url`, each once, in chunks of at most 256 KiB.

        A broken connection is opened again at the byte where it broke, as long as each connection delivers
        something or the policy's attempts last.

        Args:
            url: Where the file is, from `resolve_file_url`.
            host: The shop whose file it is; its download limit applies.
            max_bytes: Maximum size of the file.
            on_wait: Called with each wait when the wait begins.

        Raises:
            UnusableResponse: The file is larger than `max_bytes`, is not there, or was replaced by another one.
            HttpFailure: The download failed otherwise.
        """
        async with (
            self._limiter.connection(host, on_wait),
            aclosing(self._chunks(url, host, max_bytes, on_wait)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def _chunks(
        self, url: URL, host: Host, max_bytes: int, on_wait: WaitReporter | None
    ) -> AsyncGenerator[bytes, None]:
        progress = _Progress()
        deadline = self._dependencies.monotonic() + self._timeouts.total.total_seconds()
        failures = 0
        while True:
            before = progress.received_bytes
            try:
                async with self._open(url, host, progress) as response:
                    async for chunk in self._read(response, progress, max_bytes, deadline):
                        yield chunk
                return
            except (aiohttp.ClientError, TimeoutError, NoResponse, TooManyRequests) as error:
                failure = _to_failure(error)
            failures = 1 if progress.received_bytes > before else failures + 1
            delay = self._delay(failure, failures)
            exhausted = failures >= self._policy.attempts or delay > self._policy.max_total_delay
            if exhausted or isinstance(failure, CertificateRejected):
                raise failure
            await self._pause(failure, delay, on_wait)

    @asynccontextmanager
    async def _open(self, url: URL, host: Host, progress: _Progress) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request the rest of the file; the response begins at the first missing byte, or at the very start."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self._user_agent}
        if progress.received_bytes:
            headers["Range"] = f"bytes={progress.received_bytes}-"
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._timeouts.connect.total_seconds(),
            sock_read=self._timeouts.idle.total_seconds(),
        )
        with request_span("GET", url, host, is_current=False) as span:
            response_of = self._session.get(url, headers=headers, allow_redirects=False, timeout=timeout)
            async with response_of as response:
                record_status(span, response.status)
                now = self._dependencies.clock()
                failure = transient_failure(response.status, response.headers, now, host.rate_limit_headers)
                if failure is not None:
                    raise failure
                _check_continues(response, progress)
                yield response

    async def _read(
        self, response: aiohttp.ClientResponse, progress: _Progress, max_bytes: int, deadline: float
    ) -> AsyncGenerator[bytes, None]:
        skip = progress.received_bytes if response.status == 200 else 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            if self._dependencies.monotonic() > deadline:
                raise UnusableResponse("the download takes too long")
            fresh = chunk[skip:]
            skip -= len(chunk) - len(fresh)
            if not fresh:
                continue
            progress.received_bytes += len(fresh)
            if progress.received_bytes > max_bytes:
                raise UnusableResponse(f"the file is larger than {max_bytes} bytes")
            yield fresh

    def _delay(self, failure: HttpFailure, failures: int) -> timedelta:
        """Return what the host asked for, else the backoff of the policy."""
        return failure.retry_after or self._policy.max_backoff(failures) * self._dependencies.jitter()

    async def _pause(self, failure: HttpFailure, delay: timedelta, on_wait: WaitReporter | None) -> None:
        if on_wait is not None:
            throttled = isinstance(failure, TooManyRequests)
            reason = WaitReason.THROTTLED if throttled else WaitReason.SOURCE_UNREACHABLE
            on_wait(Wait(reason=reason, until=self._dependencies.clock() + delay, message=failure.detail))
        await self._dependencies.sleep(delay)


def resolve_file_url(text: str, *, hosts: Collection[str], base_url: URL, endpoints: Endpoints) -> URL:
    """Return the URL at which a file is downloaded: over HTTPS from one of `hosts`, or from the host's override.

    A file next to a shop whose base URL the operator configured may be read from there.

    Args:
        text: The file's address as the platform gave it.
        hosts: The platform's file hosts.
        base_url: Base URL of the shop.
        endpoints: The operator's overrides.

    Raises:
        AddressForbidden: The address is not valid, or its host is not one of `hosts`.
    """
    try:
        # Encoded: another spelling of the query would break its signature.
        url = URL(text, encoded=True)
        host, port = url.raw_host or "", url.port
    except ValueError:
        raise AddressForbidden("the file's address is not valid") from None
    if url.user or url.password or not host or port is None:
        raise AddressForbidden("the file's address is not valid")
    if url.origin() == base_url.origin() and endpoints.is_override(host, port):
        return url
    if url.scheme != "https" or port != 443 or host not in hosts:
        raise AddressForbidden("the file is on a host that we do not call")
    override = endpoints.overrides.get(host)
    return url if override is None else URL(f"{override}{url.raw_path_qs}", encoded=True)


def _check_continues(response: aiohttp.ClientResponse, progress: _Progress) -> None:
    """Raise HttpFailure unless the response holds the rest of the same file."""
    if 300 <= response.status < 400:
        raise RedirectRefused("of a file")
    if response.status not in (200, 206):
        raise UnusableResponse(f"HTTP {response.status} instead of a file")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnusableResponse("the file is compressed, which was not requested")
    etag = response.headers.get("ETag", "")
    if progress.received_bytes and etag != progress.etag:
        raise UnusableResponse("the file was replaced by another one")
    progress.etag = etag
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if response.status == 206 and begin != str(progress.received_bytes):
        raise UnusableResponse("the rest of the file starts at another byte than was requested")


def _to_failure(error: aiohttp.ClientError | TimeoutError | NoResponse | TooManyRequests) -> HttpFailure:
    """Map an error of a download, without its cause: aiohttp writes the signed address into some messages."""
    match error:
        case NoResponse() | TooManyRequests():
            return error
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return CertificateRejected("the file host's TLS certificate is not trusted")
        case _:
            return NoResponse("the download broke off")
