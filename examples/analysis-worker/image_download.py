"""Downloads images from the hosts that shops name, behind the host guard, within limits of size and time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import hdrs
from catalogsync_client import TaskFailed
from catalogsync_common.ssrf_guard import AddressForbidden, AddressGuard, GuardedConnector, GuardedResolver
from yarl import URL

MAX_BYTES: Final = 10 * 1024 * 1024
TIMEOUT_SECONDS: Final = 20.0
"""Of one download with its redirects."""
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_MAX_REDIRECTS: Final = 3
_MAX_CONNECTIONS_PER_HOST: Final = 8
_CHUNK_BYTES: Final = 64 * 1024
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_REFUSED_TYPES: Final = ("image/svg+xml", "text/", "application/xhtml", "application/json")
_HEADERS: Final = {
    hdrs.ACCEPT: "image/webp,image/jpeg,image/png,image/gif",
    # A compressed body could be far larger than what is received.
    hdrs.ACCEPT_ENCODING: "identity",
    hdrs.USER_AGENT: "catalogsync-analysis-worker",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHosts:
    """Where images may be downloaded besides the public internet."""

    exempt: Collection[str] = ()
    """"host:port" whose addresses are not checked: for development, such as a devstore on 127.0.0.1."""
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def is_exempt(self, host: str, port: int) -> bool:
        """Return whether the address of this host and port is not checked."""
        return f"{host}:{port}" in self.exempt


class ImageDownloads:
    """Downloads images. Open it with `open_downloads`."""

    def __init__(self, session: aiohttp.ClientSession, hosts: ImageHosts, *, timeout_seconds: float) -> None:
        self._session = session
        self._hosts = hosts
        self._timeout_seconds = timeout_seconds

    async def download(self, url: str) -> bytes:
        """Return the content at an address. The messages of errors do not name it: it may contain a signature.

        Raises:
            TaskFailed: IMAGE_NOT_FOUND, IMAGE_TOO_LARGE, IMAGE_UNREADABLE and ADDRESS_FORBIDDEN are permanent,
                DOWNLOAD_FAILED is not.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._follow(self._allowed(url))
        except AddressForbidden:
            raise _address_forbidden("the address is not one of the public internet") from None
        except TimeoutError:
            raise TaskFailed("DOWNLOAD_FAILED", f"no image after {self._timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TaskFailed("DOWNLOAD_FAILED", f"the host did not answer ({type(error).__name__})") from None

    async def _follow(self, url: URL) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._session.get(url, headers=_HEADERS, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    url = self._redirect_target(url, response.headers.get(hdrs.LOCATION, ""))
                    continue
                if response.status in (404, 410):
                    raise TaskFailed("IMAGE_NOT_FOUND", f"the host answered {response.status}", permanent=True)
                if response.status != 200:
                    raise TaskFailed("DOWNLOAD_FAILED", f"the host answered {response.status}")
                return await _read(response)
        raise TaskFailed("DOWNLOAD_FAILED", "there are too many redirects")

    def _redirect_target(self, url: URL, location: str) -> URL:
        """Return the address of a redirect, which is checked like the first one. From https only to https."""
        try:
            target = url.join(URL(location))
        except ValueError:
            raise _address_forbidden("the host redirects to an address that is not valid") from None
        if not location or (url.scheme == "https" and target.scheme != "https"):
            raise _address_forbidden("the host redirects to an address that is not valid")
        return self._allowed(str(target))

    def _allowed(self, text: str) -> URL:
        """Return the address if it may be one of an image: HTTP, without credentials, on the usual port."""
        try:
            url = URL(text)
        except ValueError:
            url = URL()
        if url.scheme not in _DEFAULT_PORTS or not url.host or url.user or url.password:
            raise _address_forbidden("the address is not valid")
        port = url.port or 0
        if port != _DEFAULT_PORTS[url.scheme] and not self._hosts.is_exempt(url.raw_host or "", port):
            raise _address_forbidden("the address has an unusual port")
        return url


@asynccontextmanager
async def open_downloads(
    hosts: ImageHosts, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[ImageDownloads]:
    """Yield an ImageDownloads with connections of its own."""
    guard = AddressGuard(is_exempt=hosts.is_exempt)
    connector = GuardedConnector(
        guard, GuardedResolver(guard), ssl=hosts.tls, limit_per_host=_MAX_CONNECTIONS_PER_HOST
    )
    # The time limit of a download covers its redirects, so that it is not one of a request.
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield ImageDownloads(session, hosts, timeout_seconds=timeout_seconds)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    if encoding != "identity" or response.content_type.startswith(_REFUSED_TYPES):
        response.close()
        raise TaskFailed("IMAGE_UNREADABLE", "the host did not answer with an image", permanent=True)
    parts: list[bytes] = []
    total = response.content_length or 0
    if total <= MAX_BYTES:
        total = 0
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            total += len(part)
            if total > MAX_BYTES:
                break
            parts.append(part)
    if total > MAX_BYTES:
        response.close()
        raise TaskFailed("IMAGE_TOO_LARGE", f"the image has more than {MAX_BYTES} bytes", permanent=True)
    return b"".join(parts)


def _address_forbidden(message: str) -> TaskFailed:
    return TaskFailed("ADDRESS_FORBIDDEN", message, permanent=True)
