"""Fetches images from the hosts that shops name, behind the host guard."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import hdrs
from catalogsync_common.ssrf_guard import (
    AddressForbidden,
    AddressGuard,
    GuardedConnector,
    GuardedResolver,
    Network,
)
from yarl import URL

from catalogsync_bff.images.resizing import ImageUnusable

MAX_BYTES: Final = 5 * 1024 * 1024
TIMEOUT_SECONDS: Final = 10.0
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_MAX_REDIRECTS: Final = 3
_MAX_CONNECTIONS: Final = 32
_MAX_CONNECTIONS_PER_HOST: Final = 8
_CHUNK_BYTES: Final = 64 * 1024
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_REFUSED_TYPES: Final = ("image/svg+xml", "text/", "application/xhtml")
_HEADERS: Final = {
    hdrs.ACCEPT: "image/webp,image/jpeg,image/png,image/gif",
    # A compressed body could be far larger than what is received.
    hdrs.ACCEPT_ENCODING: "identity",
    hdrs.USER_AGENT: "catalogsync-bff",
}


class ImageUnavailable(Exception):
    """The host did not return the image; it may later. The message names no address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHosts:
    """Where images may be fetched besides the public internet, and where not."""

    exempt: Collection[str] = ()
    """"host:port" that the operator configured, so that their addresses are not checked."""
    denied: tuple[Network, ...] = ()
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def is_exempt(self, host: str, port: int) -> bool:
        """Return whether the operator configured this host and port."""
        return f"{host}:{port}" in self.exempt


class ImageFetcher:
    """Fetches images. Open it with `open_fetcher`."""

    def __init__(self, session: aiohttp.ClientSession, hosts: ImageHosts, *, timeout_seconds: float) -> None:
        self._session = session
        self._hosts = hosts
        self._timeout_seconds = timeout_seconds

    async def fetch(self, url: str) -> bytes:
        """Return the content at an address that a shop names.

        Raises:
            ImageUnusable: the address is not one of an image, leads into an internal network, or the content is
                too large.
            ImageUnavailable: the host did not return it.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._fetch(self._parsed(url))
        except AddressForbidden:
            raise ImageUnusable("the address is not one of the public internet") from None
        except TimeoutError:
            raise ImageUnavailable("the host did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # Without the text, which may contain the address.
            raise ImageUnavailable(f"the host did not answer ({type(error).__name__})") from None

    async def _fetch(self, url: URL) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._session.get(url, headers=_HEADERS, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    url = self._redirect_target(url, response.headers.get(hdrs.LOCATION, ""))
                    continue
                if response.status != 200:
                    raise ImageUnavailable(f"the host answered {response.status}")
                return await _read(response)
        raise ImageUnusable("there are too many redirects")

    def _redirect_target(self, url: URL, location: str) -> URL:
        """Return the address of a redirect, which is checked like the first one. From https only to https."""
        try:
            target = url.join(URL(location))
        except ValueError:
            raise ImageUnusable("the host redirects to an address that is not valid") from None
        if not location or (url.scheme == "https" and target.scheme != "https"):
            raise ImageUnusable("the host redirects to an address that is not valid")
        return self._parsed(str(target))

    def _parsed(self, text: str) -> URL:
        """Return the address if it may be one of an image: HTTP, without credentials, on the usual port."""
        try:
            url = URL(text)
        except ValueError:
            url = URL()
        if url.scheme not in _DEFAULT_PORTS or not url.host or url.user or url.password:
            raise ImageUnusable("the address is not valid")
        port = url.port or 0
        if port != _DEFAULT_PORTS[url.scheme] and not self._hosts.is_exempt(url.raw_host or "", port):
            raise ImageUnusable("the address has an unusual port")
        return url


@asynccontextmanager
async def open_fetcher(
    hosts: ImageHosts, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[ImageFetcher]:
    """Yield a fetcher with connections of its own."""
    guard = AddressGuard(is_exempt=hosts.is_exempt, denied=hosts.denied)
    connector = GuardedConnector(
        guard,
        GuardedResolver(guard),
        ssl=hosts.tls,
        limit=_MAX_CONNECTIONS,
        limit_per_host=_MAX_CONNECTIONS_PER_HOST,
    )
    timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=_CONNECT_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield ImageFetcher(session, hosts, timeout_seconds=timeout_seconds)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise ImageUnusable("the content is compressed although that was not requested")
    if response.content_type.startswith(_REFUSED_TYPES):
        raise ImageUnusable("the content is not an image that is shown")
    if (response.content_length or 0) > MAX_BYTES:
        response.close()
        raise _too_large()
    parts: list[bytes] = []
    total = 0
    async for part in response.content.iter_chunked(_CHUNK_BYTES):
        total += len(part)
        if total > MAX_BYTES:
            response.close()
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> ImageUnusable:
    return ImageUnusable(f"the content is larger than {MAX_BYTES // (1024 * 1024)} MiB")
