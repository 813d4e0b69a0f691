"""The HTTP client of the process: opens and closes the sessions, and hands out HTTP to shops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version

import aiohttp
from aiohttp.abc import AbstractResolver
from catalogsync_common.ssrf_guard import AddressGuard, GuardedConnector, GuardedResolver
from yarl import URL

from connector_svc.domain.errors import (
    SourceAddressForbidden,
    SourceFailure,
    SourceRateLimited,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnreachable,
)
from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.shop import Shop
from connector_svc.http.circuit_breaker import HostStates
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.connection_limits import ConnectionLimiter
from connector_svc.http.dependencies import Host, HostClass, HttpDependencies
from connector_svc.http.download import Downloader, resolve_file_url
from connector_svc.http.failures import (
    AddressForbidden,
    HttpFailure,
    RedirectRefused,
    TooManyRequests,
    UnusableResponse,
)
from connector_svc.http.retrying_client import RetryingClient
from connector_svc.http.transport import HttpRequest, HttpTransport
from connector_svc.platforms.base import HttpReply, RateLimitHeaders


class ShopClient:
    """HTTP to one shop; the `ShopHttp` of platforms."""

    def __init__(
        self,
        shop: Shop,
        base_url: URL,
        client: RetryingClient,
        on_wait: WaitReporter | None,
        *,
        downloader: Downloader,
        endpoints: Endpoints,
        rate_limit_headers: RateLimitHeaders | None = None,
    ) -> None:
        self._shop = shop
        self._base_url = base_url
        self._client = client
        self._downloader = downloader
        self._endpoints = endpoints
        self._on_wait = on_wait
        self._host = Host(
            name=shop.domain,
            host_class=HostClass.SHOP,
            platform=shop.platform,
            rate_limit_headers=rate_limit_headers,
        )

    @property
    def base_url(self) -> URL:
        return self._base_url

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        idempotent: bool = True,
    ) -> HttpReply:
        """See `ShopHttp.request`."""
        request = HttpRequest(
            method=method,
            url=join_url(self._base_url, path, params),
            headers=headers or {},
            body=body,
            idempotent=idempotent,
        )
        try:
            return await self._client.send(request, host=self._host, on_wait=self._on_wait)
        except HttpFailure as failure:
            raise to_source_failure(self._shop, failure) from failure

    async def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        """See `ShopHttp.download`."""
        try:
            file_url = resolve_file_url(url, hosts=hosts, base_url=self._base_url, endpoints=self._endpoints)
            stream = self._downloader.chunks(file_url, host=self._host, max_bytes=max_bytes, on_wait=self._on_wait)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        except HttpFailure as failure:
            raise to_source_failure(self._shop, failure) from failure


class OutboundHttp:
    """The `HttpFactory` of platforms."""

    def __init__(
        self, endpoints: Endpoints, shops: RetryingClient, services: RetryingClient, downloader: Downloader
    ) -> None:
        self._endpoints = endpoints
        self._shops = shops
        self._downloader = downloader
        self.services = services
        """For services that the operator configured: their addresses are not guarded."""

    def to_shop(
        self,
        shop: Shop,
        *,
        on_wait: WaitReporter | None = None,
        api_host: str = "",
        rate_limit_headers: RateLimitHeaders | None = None,
    ) -> ShopClient:
        """See `HttpFactory.to_shop`. Raises SourceAddressForbidden if the domain is not a host name."""
        try:
            base_url = self._endpoints.base_url(shop.domain, api_host)
        except AddressForbidden as failure:
            raise to_source_failure(shop, failure) from failure
        return ShopClient(
            shop,
            base_url,
            self._shops,
            on_wait,
            downloader=self._downloader,
            endpoints=self._endpoints,
            rate_limit_headers=rate_limit_headers,
        )


def join_url(base: URL, path: str, params: Sequence[tuple[str, str]] = ()) -> URL:
    """Return the URL of `path` below `base`. Raises ValueError if that were on another host."""
    if not path.startswith("/"):
        raise ValueError("a path starts with a slash")
    url = base.with_path(base.path.rstrip("/") + path).with_query(list(params))
    if url.origin() != base.origin():
        raise ValueError("a path must not change the host")
    return url


def to_source_failure(shop: Shop, failure: HttpFailure) -> SourceFailure:
    """Map an HTTP failure to what it means for `shop`."""
    match failure:
        case TooManyRequests():
            return SourceRateLimited(shop, failure.detail, retry_after=failure.retry_after)
        case RedirectRefused():
            return SourceRedirected(shop, failure.detail, location=failure.detail.removeprefix("to "))
        case UnusableResponse():
            return SourceResponseInvalid(shop, failure.detail)
        case AddressForbidden():
            return SourceAddressForbidden(shop, failure.detail)
        case _:
            return SourceUnreachable(shop, failure.detail, retry_after=failure.retry_after)


@asynccontextmanager
async def open_http(
    config: HttpConfig | None = None, dependencies: HttpDependencies | None = None
) -> AsyncIterator[OutboundHttp]:
    """Open the client of this process; it is closed when the block ends."""
    config = config or HttpConfig()
    dependencies = dependencies or HttpDependencies()
    guard = AddressGuard(
        is_exempt=config.endpoints.is_override, denied=config.denied_networks, refusal=AddressForbidden
    )
    no_guard = AddressGuard(is_exempt=lambda _host, _port: True)
    async with (
        _resolver(dependencies) as resolver,
        _session(config, guard, resolver) as shops,
        _session(config, no_guard, resolver) as services,
        _session(config, guard, resolver) as files,
    ):
        per_host, total = config.connections_per_host, config.connections
        yield OutboundHttp(
            config.endpoints,
            _client(shops, config, dependencies, _limiter(per_host, total, dependencies)),
            # All shops ask the same service.
            _client(services, config, dependencies, _limiter(total, total, dependencies)),
            Downloader(
                files,
                config.retry,
                dependencies,
                limiter=_limiter(config.downloads_per_host, config.downloads, dependencies),
                user_agent=_user_agent(),
            ),
        )


@asynccontextmanager
async def _resolver(dependencies: HttpDependencies) -> AsyncIterator[AbstractResolver]:
    resolver = dependencies.open_resolver()
    try:
        yield resolver
    finally:
        # A connector closes only a resolver that it has opened itself.
        await resolver.close()


def _limiter(per_host: int, total: int, dependencies: HttpDependencies) -> ConnectionLimiter:
    return ConnectionLimiter(per_host=per_host, total=total, clock=dependencies.clock)


def _client(
    session: aiohttp.ClientSession, config: HttpConfig, dependencies: HttpDependencies, limiter: ConnectionLimiter
) -> RetryingClient:
    hosts = HostStates(config.retry_budget, config.circuit, dependencies.monotonic)
    transport = HttpTransport(session, config.body)
    return RetryingClient(transport, hosts, config.retry, dependencies, limiter=limiter, user_agent=_user_agent())


def _user_agent() -> str:
    return f"catalogsync/{version('catalogsync')}"


def _session(config: HttpConfig, guard: AddressGuard, resolver: AbstractResolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=GuardedConnector(
            guard,
            GuardedResolver(guard, resolver),
            ssl=config.tls,
            # ConnectionLimiter limits them by shop; a wait in here would count into the timeout of an attempt.
            limit=0,
        ),
        timeout=aiohttp.ClientTimeout(
            total=config.total_timeout.total_seconds(),
            sock_connect=config.connect_timeout.total_seconds(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
