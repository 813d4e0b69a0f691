"""The connector's real client, platforms and gRPC service, on a network whose DNS answers are hostile."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
from aiohttp.abc import AbstractResolver, ResolveResult
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceStub,
    add_ConnectorServiceServicer_to_server,
)
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.logs import redact
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import read_failure

from connector_svc.domain.shop import Shop
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import Endpoints, HttpConfig, create_tls_context
from connector_svc.http.dependencies import HttpDependencies
from connector_svc.platforms.base import Credentials, CredentialsProvider, Secret
from connector_svc.platforms.registry import create_platforms
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.dns_server import DnsServer, serving_dns
from tests.fakes.shop_server import FakeEnvironment
from tests.security.canary_listener import Canary, listening, write_certificate
from tests.security.hostile_references import HostileDns

TOKEN: Final = "canary-token-3fT9qLw7Zr2Vb8Nx4Kc6"
PLATFORMS: Final = ("bigcommerce", "feed", "shopify", "woocommerce")
CERTIFIED: Final = ("*.hostile.example", "*.myshopify.com", "api.bigcommerce.com", "storage.googleapis.com")


class CanaryCredentials:
    """Has credentials for every shop, all with TOKEN in them."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`."""
        names = ("access_token", "consumer_key", "consumer_secret", "feed_token")
        return {**{name: Secret(TOKEN) for name in names}, "feed_secret": Secret(TOKEN + TOKEN)}


class PortMappingResolver(AbstractResolver):
    """Leaves the addresses as they are and replaces port 443, which a test cannot listen on, by the canary's."""

    def __init__(self, inner: AbstractResolver, canary: Canary) -> None:
        self._inner = inner
        self._canary = canary

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        mapped = {443: self._canary.tls_port, 80: self._canary.plain_port}.get(port, port)
        results = await self._inner.resolve(host, port, family)
        return [{**result, "port": mapped} for result in results]

    async def close(self) -> None:
        await self._inner.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class HostileNetwork:
    """The canary, the DNS server, and a certificate that the connector trusts."""

    canary: Canary
    dns: DnsServer
    answers: HostileDns
    certificate: Path

    @asynccontextmanager
    async def http(self, overrides: Mapping[str, str] | None = None) -> AsyncIterator[OutboundHttp]:
        """Open the connector's client. Time passes by sleeping only, so that retries take none.

        Args:
            overrides: Base URLs by shop domain; what they lead to is not guarded.
        """
        env = FakeEnvironment()
        base = env.dependencies()
        dependencies = HttpDependencies(
            clock=base.clock,
            monotonic=base.monotonic,
            sleep=base.sleep,
            jitter=base.jitter,
            open_resolver=lambda: PortMappingResolver(self.dns.open_resolver(), self.canary),
        )
        config = HttpConfig(endpoints=Endpoints.of(overrides or {}), tls=create_tls_context(self.certificate))
        async with open_http(config, dependencies) as http:
            yield http

    @asynccontextmanager
    async def connector(
        self, overrides: Mapping[str, str] | None = None, credentials: CredentialsProvider | None = None
    ) -> AsyncIterator[ConnectorServiceStub]:
        """Serve ConnectorService with all platforms, and yield its client; `overrides` as in `http`."""
        async with self.http(overrides) as http:
            env = FakeEnvironment()
            provider = credentials or CanaryCredentials()
            platforms = create_platforms(http=http, credentials=provider, clock=env.dependencies().clock)
            drain = Drain()
            servicer = ConnectorServicer(Platforms(platforms), drain=drain, redact=redact)
            service = Service(
                name="catalogsync.connector.v1.ConnectorService",
                register=lambda server: add_ConnectorServiceServicer_to_server(servicer, server),
            )
            server = build_server((service,), listen_address=ListenAddress("127.0.0.1:0"), drain=drain)
            port = await server.start()
            channel = open_channel(f"127.0.0.1:{port}")
            try:
                yield ConnectorServiceStub(channel)
            finally:
                await channel.close()
                await server.stop(timedelta(seconds=2))


@asynccontextmanager
async def hostile_network(directory: Path) -> AsyncIterator[HostileNetwork]:
    """Run the canary and the DNS server."""
    certificate = write_certificate(directory / "canary.pem", CERTIFIED)
    answers = HostileDns()
    async with listening(certificate) as canary, serving_dns(answers) as dns:
        yield HostileNetwork(canary=canary, dns=dns, answers=answers, certificate=certificate)


async def check_shop(connector: ConnectorServiceStub, platform: str, domain: str) -> str:
    """Return the reason with which CheckShop fails; empty if it succeeds."""
    call = connector.CheckShop(pb.CheckShopRequest(shop=pb.ShopRef(platform=platform, domain=domain)))
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return (await read_failure(error, call)).reason
    return ""


async def fetch_products(connector: ConnectorServiceStub, platform: str, domain: str) -> str:
    """Return the reason with which FetchProducts fails; empty if it succeeds."""
    call = connector.FetchProducts(pb.FetchProductsRequest(shop=pb.ShopRef(platform=platform, domain=domain)))
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return (await read_failure(error, call)).reason
    return ""
