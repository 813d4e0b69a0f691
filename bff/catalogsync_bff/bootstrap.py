"""Wires the BFF together and serves it; the only module that knows all its parts."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from aiohttp import web
from catalogsync_client import CatalogClient, ClientTls, ClientTlsInvalid
from catalogsync_common.auth.secret_keys import HmacKeys, InvalidKeys
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.event_loop_monitor import EventLoopMonitor
from catalogsync_common.metrics import LoopMetrics, new_registry, serve_metrics
from catalogsync_common.process import stop_deadline
from catalogsync_common.server import ListenError
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import Heartbeat, Loop, Supervisor
from catalogsync_common.token_minting import SigningKey
from catalogsync_common.trace_export import traced_process
from pydantic import SecretStr

from catalogsync_bff.app import build_app
from catalogsync_bff.callers import Callers
from catalogsync_bff.csrf import CsrfGuard
from catalogsync_bff.images.addresses import ImageAddresses
from catalogsync_bff.images.cache import ImageCache
from catalogsync_bff.images.fetching import ImageFetcher, ImageHosts, open_fetcher
from catalogsync_bff.images.proxy import ImageProxy
from catalogsync_bff.metrics import BffMetrics
from catalogsync_bff.openapi import OpenApiRoute
from catalogsync_bff.routes.catalog import CatalogRoutes
from catalogsync_bff.routes.events import EventRoutes, OpenMailboxes
from catalogsync_bff.routes.images import ImageRoutes
from catalogsync_bff.routes.pages import PageRoutes, read_page
from catalogsync_bff.routes.sessions import SessionRoutes
from catalogsync_bff.routes.shops import ShopRoutes
from catalogsync_bff.routes.syncs import SyncRoutes
from catalogsync_bff.routes.webhooks import WebhookRoutes
from catalogsync_bff.routing import Gatekeeper, Route
from catalogsync_bff.sessions import SessionCookie, Sessions
from catalogsync_bff.settings import BffSettings
from catalogsync_bff.settings_check import check_settings
from catalogsync_bff.streams.feeds import Feeds, StreamLimiter
from catalogsync_bff.streams.sync_topics import SyncTopics
from catalogsync_bff.upstream import ClientTokens, Upstream

_log = logging.getLogger(__name__)
T = TypeVar("T")

_CLEANUP_INTERVAL_SECONDS: Final = 5.0


async def serve(settings: BffSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then end the event streams, and wait for running requests.

    Raises:
        SettingsError: settings are invalid.
        ListenError: the address cannot be used.
    """
    with stop_deadline(settings.stop_timeout) as start_deadline:
        async with traced_process(settings, "bff"), running(settings, on_give_up=stop.set):
            await stop.wait()
            start_deadline()


@asynccontextmanager
async def running(settings: BffSettings, *, on_give_up: Callable[[], None]) -> AsyncIterator[int]:
    """Serve within the block, and yield the port."""
    check_settings(settings)
    tls = _client_tls(settings)
    registry, drain = new_registry(), Drain()
    metrics = BffMetrics(registry)
    async with (
        serve_metrics(registry, settings.metrics_address),
        CatalogClient(settings.catalog_address, tls=tls) as client,
        open_fetcher(_image_hosts(settings)) as fetcher,
    ):
        bff = _Bff(settings, client, fetcher, metrics, drain)
        loop_metrics = LoopMetrics(registry, service="bff")
        supervisor = Supervisor(
            (bff.cleanup, *EventLoopMonitor(registry, drain=drain).loops()),
            drain=drain,
            set_healthy=bff.set_healthy,
            on_failure=loop_metrics.count_failure,
            on_give_up=on_give_up,
        )
        loop_metrics.initialize(supervisor.names)
        runner = web.AppRunner(
            bff.app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=settings.stop_grace.total_seconds(),
            # A request line and headers that are longer are refused.
            max_line_size=8_190,
            max_field_size=8_190,
        )
        await runner.setup()
        port = await _listen(runner, settings)
        try:
            async with supervisor.running(stop=partial(_stop, bff, runner, drain, settings.settle_delay)):
                yield port
        finally:
            await bff.close()
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: BffSettings) -> int:
    address = settings.listen_address
    try:
        site = web.TCPSite(runner, address.host, address.port, backlog=1_024)
        await site.start()
    except OSError as error:
        raise ListenError(f"Cannot listen on {address}: the address is in use or not of this machine.") from error
    port: int = runner.addresses[0][1]
    _log.info("serving on port %d", port, extra={"address": address, "port": port})
    return port


async def _stop(bff: _Bff, runner: web.AppRunner, drain: Drain, settle_delay: timedelta) -> None:
    """Become unready, and end: event streams at once, since browsers reconnect to another process."""
    bff.draining = True
    await asyncio.sleep(settle_delay.total_seconds())
    drain.start()
    bff.mailboxes.close()
    await runner.cleanup()


class _Bff:
    """The parts of a process that live as long as it does."""

    def __init__(
        self,
        settings: BffSettings,
        client: CatalogClient,
        fetcher: ImageFetcher,
        metrics: BffMetrics,
        drain: Drain,
    ) -> None:
        self.draining = False
        self._healthy = False
        self._drain = drain
        self._upstream = Upstream(
            client,
            service_secret=settings.service_secret.get_secret_value(),
            tokens=_client_tokens(settings),
        )
        self._sessions = Sessions.of_keys(
            _keys(settings.handover_keys, "BFF_HANDOVER_KEYS"),
            _keys(settings.session_keys, "BFF_SESSION_KEYS"),
            lifetime=settings.session_lifetime,
        )
        cache = ImageCache(settings.image_cache_bytes)
        self._images = ImageProxy(fetcher, cache, metrics)
        self.mailboxes = OpenMailboxes()
        self._topics = SyncTopics.of_client(self._upstream.service, max_topics=settings.max_watched_syncs)
        self._feeds = Feeds(self._topics)
        self._limiter = StreamLimiter(most=settings.max_streams, most_per_subject=settings.max_streams_per_subject)
        metrics.read_gauges_from(
            streams=lambda: self._limiter.count,
            watched_syncs=lambda: len(self._topics),
            feeds=lambda: len(self._feeds),
            image_cache_bytes=lambda: cache.size_bytes,
        )
        self.app = self._build_app(settings, metrics)
        self.cleanup = Loop(name="cleanup", run=self._clean_up, heartbeat_timeout=timedelta(seconds=60))

    async def set_healthy(self, healthy: bool) -> None:
        self._healthy = healthy

    async def close(self) -> None:
        """End all streams upstream, and stop fetching images."""
        await self._images.close()
        await self._feeds.close()
        await self._topics.close()

    def _build_app(self, settings: BffSettings, metrics: BffMetrics) -> web.Application:
        cookie = SessionCookie(secure=settings.public_url.startswith("https://"))
        callers = Callers(self._sessions, cookie, self._upstream, dev_login=settings.dev_login)
        dev_subject = settings.dev_subject if settings.dev_login else None
        addresses = ImageAddresses()
        api: tuple[Route, ...] = (
            *ShopRoutes(self._upstream.service).routes(),
            *SyncRoutes().routes(),
            *CatalogRoutes(addresses).routes(),
            *ImageRoutes(self._images, addresses).routes(),
            *self._event_routes(settings).routes(),
        )
        is_development = settings.environment == "development"
        routes = (
            *SessionRoutes(self._sessions, cookie, callers, self._upstream, dev_subject=dev_subject).routes(),
            *PageRoutes(read_page, reload=is_development, is_ready=self._is_ready).routes(),
            *WebhookRoutes(self._upstream.service).routes(),
            *OpenApiRoute(api).routes(),
            *api,
        )
        return build_app(routes, Gatekeeper(callers, CsrfGuard(settings.public_url)), metrics)

    def _event_routes(self, settings: BffSettings) -> EventRoutes:
        return EventRoutes(
            self._topics,
            self._feeds,
            self._limiter,
            self.mailboxes,
            heartbeat_seconds=settings.heartbeat_interval.total_seconds(),
        )

    def _is_ready(self) -> bool:
        return self._healthy and not self.draining

    async def _clean_up(self, heartbeat: Heartbeat) -> None:
        """End feeds without browsers and forget expired ids, until the drain."""
        while True:
            self._sessions.purge()
            await self._feeds.close_idle()
            heartbeat()
            try:
                await self._drain.race(asyncio.sleep(_CLEANUP_INTERVAL_SECONDS))
            except ServerDraining:
                return


def _client_tls(settings: BffSettings) -> ClientTls | None:
    if settings.catalog_tls_ca_file is None:
        return None
    try:
        tls = ClientTls.read(
            ca_file=settings.catalog_tls_ca_file,
            certificate_file=settings.catalog_tls_cert_file,
            key_file=settings.catalog_tls_key_file,
        )
    except ClientTlsInvalid as error:
        raise SettingsError((f"BFF_CATALOG_TLS_CA_FILE: {error}",)) from None
    return replace(tls, server_name=settings.catalog_tls_server_name)


def _image_hosts(settings: BffSettings) -> ImageHosts:
    tls = ssl.create_default_context()
    if settings.image_ca_file is not None:
        try:
            tls.load_verify_locations(cafile=settings.image_ca_file)
        except (ssl.SSLError, OSError):
            raise SettingsError(
                (f"BFF_IMAGE_CA_FILE: {settings.image_ca_file} holds no PEM certificates that can be read",)
            ) from None
    return ImageHosts(exempt=settings.image_hosts, denied=settings.image_denied_networks, tls=tls)


def _client_tokens(settings: BffSettings) -> ClientTokens | None:
    text = settings.client_key.get_secret_value()
    if not text:
        return None
    try:
        key = SigningKey.parse(text)
    except ValueError as error:
        raise SettingsError((f"BFF_CLIENT_KEY: {error}",)) from None
    return ClientTokens(key=key, issuer=settings.client_issuer, audience=settings.client_audience)


def _keys(secret: SecretStr, variable: str) -> HmacKeys:
    try:
        return HmacKeys.parse(secret.get_secret_value())
    except InvalidKeys as error:
        raise SettingsError((f"{variable}: {error}",)) from None
