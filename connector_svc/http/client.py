"""Opens and closes the client, and hands out HTTP to shops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version

import aiohttp
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
from connector_svc.http.circuit_breaker import Host, HostClass, Hosts
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.connection_limits import ConnectionSlots
from connector_svc.http.download import Downloader, file_address
from connector_svc.http.failures import (
    AddressForbidden,
    HttpFailure,
    RedirectAnswer,
    TooManyRequests,
    UnusableAnswer,
)
from connector_svc.http.retrying_client import HttpCaller, HttpDependencies
from connector_svc.http.ssrf_guard import AddressGuard, GuardedConnector, GuardedResolver
from connector_svc.http.transport import Exchange, HttpRequest
from connector_svc.platforms.base import HttpReply


class ShopClient:
    """HTTP to one shop; the `ShopHttp` of platforms."""

    def __init__(
        self,
        shop: Shop,
        base_url: URL,
        caller: HttpCaller,
        on_wait: WaitReporter | None,
        *,
        files: Downloader,
        endpoints: Endpoints,
    ) -> None:
        self._shop = shop
        self._base_url = base_url
        self._caller = caller
        self._files = files
        self._endpoints = endpoints
        self._on_wait = on_wait
        self._host = Host(name=shop.domain, host_class=HostClass.SHOP, platform=shop.platform)

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
        """See `ShopHttp`. Raises SourceFailure."""
        request = HttpRequest(
            method=method,
            url=join(self._base_url, path, params),
            headers=headers or {},
            body=body,
            idempotent=idempotent,
        )
        try:
            return await self._caller.call(request, host=self._host, on_wait=self._on_wait)
        except HttpFailure as failure:
            raise source_failure(self._shop, failure) from failure

    async def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        """See `ShopHttp`. Raises SourceFailure."""
        try:
            address = file_address(url, hosts=hosts, base_url=self._base_url, endpoints=self._endpoints)
            stream = self._files.chunks(address, host=self._host, max_bytes=max_bytes, on_wait=self._on_wait)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        except HttpFailure as failure:
            raise source_failure(self._shop, failure) from failure


class OutboundHttp:
    """The `HttpFactory` of platforms."""

    def __init__(self, endpoints: Endpoints, caller: HttpCaller, services: HttpCaller, files: Downloader) -> None:
        self._endpoints = endpoints
        self._caller = caller
        self._files = files
        self.services = services
        """For services that the operator named: their addresses are not guarded."""

    def to_shop(self, shop: Shop, *, on_wait: WaitReporter | None = None, api_host: str = "") -> ShopClient:
        """HTTP to `shop`. Raises SourceAddressForbidden when its domain is no host name."""
        try:
            base_url = self._endpoints.base_url(shop.domain, api_host)
        except AddressForbidden as failure:
            raise source_failure(shop, failure) from failure
        return ShopClient(shop, base_url, self._caller, on_wait, files=self._files, endpoints=self._endpoints)


def join(base: URL, path: str, params: Sequence[tuple[str, str]] = ()) -> URL:
    """`path` below `base`, on the same host and nowhere else."""
    if not path.startswith("/"):
        raise ValueError("a path starts with a slash")
    url = base.with_path(base.path.rstrip("/") + path).with_query(list(params))
    if url.origin() != base.origin():
        raise ValueError("a path must not change the host")
    return url


def source_failure(shop: Shop, failure: HttpFailure) -> SourceFailure:
    """What an HTTP failure means for `shop`."""
    match failure:
        case TooManyRequests():
            return SourceRateLimited(shop, failure.detail, retry_after=failure.retry_after)
        case RedirectAnswer():
            return SourceRedirected(shop, failure.detail, location=failure.detail.removeprefix("to "))
        case UnusableAnswer():
            return SourceResponseInvalid(shop, failure.detail)
        case AddressForbidden():
            return SourceAddressForbidden(shop, failure.detail)
        case _:
            return SourceUnreachable(shop, failure.detail, retry_after=failure.retry_after)


@asynccontextmanager
async def open_http(
    config: HttpConfig | None = None, surroundings: HttpDependencies | None = None
) -> AsyncIterator[OutboundHttp]:
    """The client of this process, until the block ends."""
    config = config or HttpConfig()
    guard = AddressGuard(is_operators=config.endpoints.is_operators, denied=config.denied_networks)
    open_guard = AddressGuard(is_operators=lambda _host, _port: True)
    world = surroundings or HttpDependencies()
    async with (
        _session(config, guard) as shops,
        _session(config, open_guard) as services,
        _session(config, guard) as files,
    ):
        own, total = config.connections_per_host, config.connections
        yield OutboundHttp(
            config.endpoints,
            _caller(shops, config, world, _slots(own, total, world)),
            # All shops ask the same service.
            _caller(services, config, world, _slots(total, total, world)),
            Downloader(
                files,
                config.retry,
                world,
                slots=_slots(config.downloads_per_host, config.downloads, world),
                user_agent=_agent(),
            ),
        )


def _slots(per_host: int, total: int, world: HttpDependencies) -> ConnectionSlots:
    return ConnectionSlots(per_host=per_host, total=total, clock=world.clock)


def _caller(
    session: aiohttp.ClientSession, config: HttpConfig, world: HttpDependencies, slots: ConnectionSlots
) -> HttpCaller:
    hosts = Hosts(config.retry_budget, config.circuit, world.monotonic)
    exchange = Exchange(session, config.body)
    return HttpCaller(exchange, hosts, config.retry, world, slots=slots, user_agent=_agent())


def _agent() -> str:
    return f"catalogsync/{version('catalogsync')}"


def _session(config: HttpConfig, guard: AddressGuard) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=GuardedConnector(
            guard,
            GuardedResolver(guard),
            ssl=config.tls,
            # ConnectionSlots bound them, by shop; a wait in here would count into the timeout of an attempt.
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
