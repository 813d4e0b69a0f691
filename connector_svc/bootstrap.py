"""Wiring of the connector: the only module that knows all packages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.auth.settings import service_access
from catalogsync_common.call_context import correlation_id
from catalogsync_common.call_limits import CallLimits
from catalogsync_common.certificate_monitor import CertificateMonitor
from catalogsync_common.drain import Drain
from catalogsync_common.event_loop_monitor import EventLoopMonitor
from catalogsync_common.logs import redact
from catalogsync_common.metrics import CallMetrics, LoopMetrics, new_registry, serve_metrics
from catalogsync_common.process import stop_deadline
from catalogsync_common.production import refuse_unsafe_production
from catalogsync_common.rate_limiter import RateLimit
from catalogsync_common.server import GrpcServer, Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import Loop, Supervisor
from catalogsync_common.tls_settings import open_server_tls
from catalogsync_common.trace_export import traced_process
from prometheus_client import CollectorRegistry

from connector_svc.credentials.file import CredentialsFileInvalid, FileCredentials
from connector_svc.credentials.providers import CredentialsChain, RenewingCredentials
from connector_svc.credentials.token_service import TokenServiceConfig, TokenServiceCredentials
from connector_svc.http.client import OutboundHttp, open_http
from connector_svc.http.config import CaFileInvalid, HttpConfig, create_tls_context
from connector_svc.http.dependencies import HttpDependencies, utc_now
from connector_svc.http.retry import RetryPolicy
from connector_svc.metrics import MeteredPlatform, OutboundHttpMetrics, PassMetrics, QueryPoints, WebhookCounter
from connector_svc.platforms.base import CredentialsProvider, Secret
from connector_svc.platforms.registry import PLATFORMS, create_platforms
from connector_svc.platforms.webhooks import WebhookRegistrar
from connector_svc.production import PRODUCTION_RULES
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from connector_svc.settings import ConnectorSettings
from connector_svc.webhook_setup import WebhookSetup
from connector_svc.webhooks import WebhookVerifier

_LONGER_CALL_TIMES = {
    # Each calls the shop's platform, with retries.
    "CheckShop": timedelta(minutes=2),
    "CancelFetch": timedelta(minutes=1),
    "EnsureWebhooks": timedelta(minutes=2),
}
SERVICE = pb.DESCRIPTOR.services_by_name["ConnectorService"]
SERVICE_NAME = SERVICE.full_name


async def serve(settings: ConnectorSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises SettingsError, ListenError, LoopFailed."""
    with stop_deadline(settings.stop_timeout) as begin_to_end:
        async with traced_process(settings, "connector_svc"), running(settings, on_give_up=stop.set):
            await stop.wait()
            begin_to_end()


@asynccontextmanager
async def running(
    settings: ConnectorSettings, *, on_give_up: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """Run the connector; yield its port. It is stopped gracefully when the block ends.

    Args:
        settings: The settings of the replica.
        on_give_up: Called when a background loop was given up and the block must end.
    """
    refuse_unsafe_production(settings, PRODUCTION_RULES)
    tls = open_server_tls(settings)
    drain = Drain()
    registry = new_registry()
    dependencies = HttpDependencies(
        correlation_id=correlation_id.get,
        metrics=OutboundHttpMetrics(registry),
        send_traceparent=settings.send_traceparent,
    )
    certificates = CertificateMonitor((tls.files,) if tls else (), drain=drain, registry=registry)
    event_loop = EventLoopMonitor(registry, drain=drain)
    async with (
        open_http(http_config(settings), dependencies) as http,
        serve_metrics(registry, settings.metrics_address),
    ):
        server = _server(settings, http, drain, registry, tls)
        port = await server.start()
        supervisor = _supervisor((*certificates.loops(), *event_loop.loops()), server, drain, registry, on_give_up)
        async with supervisor.running(stop=lambda: server.stop(settings.stop_grace, settle=settings.settle_delay)):
            await server.set_serving(True)
            yield port


def _supervisor(
    loops: tuple[Loop, ...],
    server: GrpcServer,
    drain: Drain,
    registry: CollectorRegistry,
    on_give_up: Callable[[], None],
) -> Supervisor:
    """Return the supervisor of the background loops; the server is SERVING while they are healthy."""
    metrics = LoopMetrics(registry, service="connector")

    async def set_healthy(healthy: bool) -> None:
        await server.set_live(healthy)
        await server.set_serving(healthy)

    supervisor = Supervisor(
        loops, drain=drain, set_healthy=set_healthy, on_failure=metrics.count_failure, on_give_up=on_give_up
    )
    metrics.initialize(supervisor.names)
    return supervisor


def _server(
    settings: ConnectorSettings,
    http: OutboundHttp,
    drain: Drain,
    registry: CollectorRegistry,
    tls: ServerTls | None,
) -> GrpcServer:
    metrics = PassMetrics(registry, clock=utc_now)
    stored = _stored_credentials(settings, http)
    exchanges = {one.name: one.token_exchange for one in PLATFORMS if one.token_exchange is not None}
    platforms = create_platforms(
        http=http,
        credentials=RenewingCredentials(stored, http, utc_now, exchanges),
        clock=utc_now,
        connections_per_host=settings.http_connections_per_host,
        options={platform.name: settings.options_of(platform) for platform in PLATFORMS},
        query_points=QueryPoints(registry).of_platform,
    )
    metered = Platforms(MeteredPlatform(platform, metrics) for platform in platforms)
    formats = {one.name: one.webhooks for one in PLATFORMS if one.webhooks is not None}
    # The stored credentials: an access token that was requested with them signs no webhook.
    webhooks = WebhookVerifier(formats, stored, WebhookCounter(registry))
    registrars = {one.name: one for one in platforms if isinstance(one, WebhookRegistrar)}
    setup = WebhookSetup(registrars, formats, stored)
    servicer = ConnectorServicer(metered, drain=drain, redact=redact, webhooks=webhooks, webhook_setup=setup)

    def register(server: grpc.aio.Server) -> None:
        add_ConnectorServiceServicer_to_server(servicer, server)

    return build_server(
        (Service(name=SERVICE_NAME, register=register),),
        listen_address=settings.listen_address,
        drain=drain,
        reflection=settings.reflection,
        tls=tls,
        health_address=settings.health_address,
        allow_insecure=settings.allow_insecure,
        settings_prefix="CONNECTOR_",
        meter=CallMetrics(registry, (SERVICE,)),
        access=service_access((SERVICE_NAME,), settings.service_secrets, prefix="CONNECTOR_"),
        limits=_call_limits(settings),
    )


def _call_limits(settings: ConnectorSettings) -> CallLimits:
    return CallLimits(
        services=RateLimit(per_second=settings.service_calls_per_second, burst=settings.service_calls_burst),
        peer_failures=RateLimit(per_second=settings.auth_failures_per_second, burst=settings.auth_failures_burst),
        concurrent_calls=settings.max_concurrent_calls,
        longer_call_times={f"/{SERVICE_NAME}/{method}": time for method, time in _LONGER_CALL_TIMES.items()},
    )


def http_config(settings: ConnectorSettings) -> HttpConfig:
    """Return how shops are called. Raises SettingsError."""
    try:
        tls = create_tls_context(settings.ca_file)
    except CaFileInvalid as error:
        raise SettingsError((f"CONNECTOR_CA_FILE: {error}",)) from None
    return HttpConfig(
        endpoints=settings.endpoints,
        tls=tls,
        total_timeout=settings.http_timeout,
        connect_timeout=settings.http_connect_timeout,
        connections_per_host=settings.http_connections_per_host,
        connections=settings.http_connections,
        downloads=settings.http_downloads,
        denied_networks=settings.denied_networks,
        retry=RetryPolicy(attempts=settings.http_attempts, max_total_delay=settings.http_max_total_retry_delay),
    )


def _stored_credentials(settings: ConnectorSettings, http: OutboundHttp) -> CredentialsProvider:
    """Return the chain of providers: the file first, so that an operator can override the Token Service."""
    providers: list[CredentialsProvider] = []
    if settings.credentials_file:
        providers.append(_file_credentials(settings))
    if settings.token_service:
        secret = settings.token_service_secret
        config = TokenServiceConfig(
            base_url=settings.token_service, secret=Secret(secret.get_secret_value()) if secret else None
        )
        providers.append(TokenServiceCredentials(config, http.services))
    return CredentialsChain(*providers)


def _file_credentials(settings: ConnectorSettings) -> FileCredentials:
    assert settings.credentials_file is not None
    try:
        return FileCredentials(settings.credentials_file)
    except CredentialsFileInvalid as error:
        raise SettingsError((f"CONNECTOR_CREDENTIALS_FILE: {error}",)) from None
