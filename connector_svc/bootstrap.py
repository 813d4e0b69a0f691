"""Puts the connector together; the only place that knows all its rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.correlation import correlation_id
from catalogsync_common.drain import Drain
from catalogsync_common.metrics import CallMetrics, new_registry, serving_metrics
from catalogsync_common.process import ended_within
from catalogsync_common.redaction import redact
from catalogsync_common.server import GrpcServer, Service, build_server
from catalogsync_common.settings import SettingsError
from prometheus_client import CollectorRegistry

from connector_svc.credentials.file import CredentialsFileInvalid, FileCredentials
from connector_svc.credentials.providers import FirstOf, ShopifyTokens
from connector_svc.credentials.token_service import TokenServiceConfig, TokenServiceCredentials
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import CaFileInvalid, HttpConfig, trusted_roots
from connector_svc.http.retry import RetryPolicy
from connector_svc.http.retrying_client import HttpDependencies, utc_now
from connector_svc.metrics import MeteredPlatform, OutboundMetrics, PassMetrics
from connector_svc.platforms.base import CredentialsProvider, Secret
from connector_svc.platforms.registry import registered_platforms
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from connector_svc.settings import ConnectorSettings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ConnectorService"].full_name


async def serve(settings: ConnectorSettings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Raises SettingsError, ListenError."""
    with ended_within(settings.stop_bound) as begin_to_end:
        async with running(settings):
            await stop.wait()
            begin_to_end()


@asynccontextmanager
async def running(settings: ConnectorSettings) -> AsyncIterator[int]:
    """The connector, answering on the port that is yielded; stopped gracefully when the block ends."""
    drain = Drain()
    registry = new_registry()
    surroundings = HttpDependencies(correlation_id=correlation_id.get, meter=OutboundMetrics(registry))
    async with (
        open_http(_http_config(settings), surroundings) as http,
        serving_metrics(registry, settings.metrics_address),
    ):
        server = _server(settings, http, drain, registry)
        port = await server.start()
        try:
            await server.set_serving(True)
            yield port
        finally:
            await server.stop(settings.stop_grace, settle=settings.settle_delay)


def _server(
    settings: ConnectorSettings, http: OutboundHttp, drain: Drain, registry: CollectorRegistry
) -> GrpcServer:
    platforms = registered_platforms(
        http=http,
        credentials=_credentials(settings, http),
        clock=utc_now,
        shopify_strategy=settings.shopify_strategy,
        connections_per_host=settings.http_connections_per_host,
    )
    metrics = PassMetrics(registry, clock=utc_now)
    metered = Platforms(MeteredPlatform(platform, metrics) for platform in platforms.all())
    servicer = ConnectorServicer(metered, drain=drain, redact=redact)

    def register(server: grpc.aio.Server) -> None:
        add_ConnectorServiceServicer_to_server(servicer, server)

    return build_server(
        (Service(name=SERVICE_NAME, register=register),),
        listen_address=settings.listen_address,
        drain=drain,
        reflection=settings.reflection,
        allow_insecure=settings.allow_insecure,
        settings_prefix="CONNECTOR_",
        meter=CallMetrics(registry),
    )


def _http_config(settings: ConnectorSettings) -> HttpConfig:
    try:
        trust = trusted_roots(settings.ca_file)
    except CaFileInvalid as error:
        raise SettingsError((f"CONNECTOR_CA_FILE: {error}",)) from None
    return HttpConfig(
        endpoints=settings.endpoints,
        tls=trust,
        total_timeout=settings.http_timeout,
        connect_timeout=settings.http_connect_timeout,
        connections_per_host=settings.http_connections_per_host,
        connections=settings.http_connections,
        downloads=settings.http_downloads,
        denied_networks=settings.denied_networks,
        retry=RetryPolicy(attempts=settings.http_attempts, patience=settings.http_patience),
    )


def _credentials(settings: ConnectorSettings, http: OutboundHttp) -> CredentialsProvider:
    """The file first, so that an operator can overrule the Token Service."""
    providers: list[CredentialsProvider] = []
    if settings.credentials_file:
        providers.append(_file_credentials(settings))
    if settings.token_service:
        secret = settings.token_service_secret
        config = TokenServiceConfig(
            base_url=settings.token_service, secret=Secret(secret.get_secret_value()) if secret else None
        )
        providers.append(TokenServiceCredentials(config, http.services))
    return ShopifyTokens(FirstOf(*providers), http, utc_now)


def _file_credentials(settings: ConnectorSettings) -> FileCredentials:
    assert settings.credentials_file is not None
    try:
        return FileCredentials(settings.credentials_file)
    except CredentialsFileInvalid as error:
        raise SettingsError((f"CONNECTOR_CREDENTIALS_FILE: {error}",)) from None
