"""A gRPC server as all our services have it: interceptor, health, reflection, limits, graceful stop.

A process stops in this order, and `GrpcServer.stop` does the first four steps:
1. health answers NOT_SERVING, so that load balancers and clients choose another replica;
2. a settle delay, until they have noticed (0 in development, 3-5 s where endpoints propagate);
3. the drain starts: long streams end and tell their clients to call again, workers claim no new work;
4. the server rejects new calls and waits for running ones, at most for the grace period, and then for the clean-up
   of those that it cancels; health on a port of its own is answered until then;
5. the process closes what its handlers used: workers, channels, the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from catalogsync_common.access_log import CallMeter
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.call_limits import CallLimiter, CallLimits
from catalogsync_common.drain import Drain
from catalogsync_common.exposure import check_exposure
from catalogsync_common.failure import LimitExceeded
from catalogsync_common.interceptor import CallInterceptor
from catalogsync_common.peer_names import PeerNames
from catalogsync_common.reflection import register_reflection
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ListenAddress

LOGGER: Final = logging.getLogger(__name__)

LIVENESS: Final = "liveness"
"""Name of the health check for a liveness probe: whether the process works, whatever it depends on."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

_OPTIONS: Final = (
    # Otherwise two servers can silently share one port.
    ("grpc.so_reuseport", 0),
    # Half-open connections are detected within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients may ping every 20 s, also without a call. Only pings twice as frequent are rejected
    # ("too_many_pings"), since pings sent 20 s apart may arrive closer together.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    # With the first one alone, gRPC rejects metadata at random from there to 16 KiB.
    ("grpc.max_metadata_size", 8_192),
    ("grpc.absolute_max_metadata_size", 8_192),
    # A client waits, without an error, to open more streams of one connection. One BFF watches for many merchants;
    # what one caller may use is limited by principal and by shop.
    ("grpc.max_concurrent_streams", 1_000),
    # Without these, a thousand watchers that reconnect at once are answered CANCELLED.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # Connections move to new replicas. A running stream continues until its own maximum age. A server whose
    # streams all have one sets max_connection_age_grace_ms: it ends the streams of clients that do not read.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)

_CLEAN_UP_SECONDS: Final = 5.0
"""How long a stop waits for the clean-up of cancelled calls."""
_MAX_HEALTH_CALLS: Final = 1_000
"""On the health port, which anybody who reaches it may call; a Watch call lasts as long as its client wants."""

_MAX_HEALTH_WATCHES: Final = 200
"""On the public port: health is open to everybody, and the channel of each client watches it."""


class ListenError(Exception):
    """The server cannot listen on its address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One gRPC service of a server."""

    name: str
    """The full name: "catalogsync.catalog.v1.CatalogService"."""
    register: Callable[[grpc.aio.Server], None]
    """Adds the servicer: `lambda server: add_XServicer_to_server(servicer, server)`."""


class TooManyHealthWatches(LimitExceeded):
    """The server has as many health watches as it accepts; `Check` is still answered."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"This server has its maximum of {limit} health watches. Use Check.",
            kind="health_watches",
            limit=str(limit),
        )


class Health:
    """The grpc.health.v1 service: the health of a server and its services, and the liveness of its process.

    All are NOT_SERVING at first.
    """

    SERVICE_NAME: ClassVar[str] = health.SERVICE_NAME

    def __init__(self, services: Sequence[str], *, drain: Drain) -> None:
        self._names = ("", *services)
        self._servicer = _DrainingHealthServicer((*self._names, LIVENESS), drain)

    def register(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """Set the status of the server and of each service."""
        status = _SERVING if serving else _NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def set_live(self, live: bool) -> None:
        """Set the status of LIVENESS."""
        await self._servicer.set(LIVENESS, _SERVING if live else _NOT_SERVING)

    async def shut_down(self) -> None:
        """Set every status to NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()


class _DrainingHealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """Ends Watch calls when the drain starts; otherwise a single watching client would use up the grace period."""

    def __init__(self, names: Sequence[str], drain: Drain) -> None:
        super().__init__()
        self._server_status = dict.fromkeys(names, _NOT_SERVING)
        self._drain = drain
        self._watches = 0

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        """Return the status of every service; grpcio-health-checking does not implement this method."""
        statuses = {
            name: health_pb2.HealthCheckResponse(status=status) for name, status in self._server_status.items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        if self._watches >= _MAX_HEALTH_WATCHES:
            raise TooManyHealthWatches(_MAX_HEALTH_WATCHES)
        self._watches += 1
        try:
            await self._drain.race(super().Watch(request, context))
        finally:
            self._watches -= 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A gRPC server with the address that it listens on."""

    server: grpc.aio.Server
    address: ListenAddress
    tls: ServerTls | None = None
    """None: plaintext."""

    def bind(self) -> int:
        """Bind the port and return its number; nothing is answered before the server starts.

        Raises:
            ListenError: the address is in use or not of this machine.
        """
        try:
            if self.tls is None:
                return self.server.add_insecure_port(self.address)
            return self.server.add_secure_port(self.address, self.tls.credentials())
        except RuntimeError as error:
            raise ListenError(
                f"Cannot listen on {self.address}: the address is in use or not of this machine."
            ) from error


class GrpcServer:
    """A gRPC server that starts and stops once. Create it with `build_server`, inside the running event loop."""

    def __init__(
        self,
        main: Listener,
        *,
        health: Health,
        drain: Drain,
        calls_ended: Callable[[], Awaitable[None]],
        health_listener: Listener | None = None,
    ) -> None:
        """Create the server.

        Args:
            main: Where the services are served.
            health: The health of the services.
            drain: Started by the stop.
            calls_ended: Waits until no call is in progress.
            health_listener: Where health alone is served; None: nowhere else.
        """
        self._main = main
        self._calls_ended = calls_ended
        self._health_listener = health_listener
        self._health = health
        self._drain = drain
        self._health_port: int | None = None

    @property
    def health_port(self) -> int | None:
        """The port that serves health only; None: there is none, or the server has not started."""
        return self._health_port

    async def start(self) -> int:
        """Start to listen and to answer calls, and return the port.

        The process counts as live from then on; health stays NOT_SERVING until `set_serving(True)`.

        Raises:
            ListenError: an address is in use or not of this machine.
        """
        port = self._main.bind()
        if self._health_listener is not None:
            self._health_port = self._health_listener.bind()
            await self._health_listener.server.start()
        await self._main.server.start()
        await self.set_live(True)
        if self._health_port is not None:
            LOGGER.info("serving health on port %d", self._health_port, extra={"port": self._health_port})
        extra = {"address": self._main.address, "port": port, "tls": self._main.tls is not None}
        LOGGER.info("listening on port %d", port, extra=extra)
        return port

    async def set_serving(self, serving: bool) -> None:
        """Set the health of each service and of ""; it stays NOT_SERVING after `stop` was called."""
        await self._health.set_serving(serving)

    async def set_live(self, live: bool) -> None:
        """Set the health of `LIVENESS`; it stays NOT_SERVING after `stop` was called."""
        await self._health.set_live(live)

    async def stop(self, grace: timedelta, *, settle: timedelta = timedelta()) -> None:
        """Stop in the order that the module describes. May be called again.

        Args:
            grace: how long running calls may continue before they are cancelled.
            settle: the delay before the drain.
        """
        await self._health.shut_down()
        if settle and not self._drain.started:
            await asyncio.sleep(settle.total_seconds())
        self._drain.start()
        await self._main.server.stop(grace.total_seconds())
        # gRPC does not wait for the clean-up of the calls that it cancels, which may use a database connection.
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await self._calls_ended()
        except TimeoutError:
            LOGGER.warning("calls are still in progress after the stop")
        if self._health_listener is not None:
            await self._health_listener.server.stop(None)


def build_server(
    services: Sequence[Service],
    *,
    listen_address: ListenAddress,
    drain: Drain,
    reflection: bool = True,
    tls: ServerTls | None = None,
    health_address: ListenAddress | None = None,
    allow_insecure: bool = False,
    settings_prefix: str = "",
    meter: CallMeter | None = None,
    write_timeout: timedelta | None = None,
    access: CallAccess | None = None,
    limits: CallLimits | None = None,
    options: Mapping[str, int] | None = None,
) -> GrpcServer:
    """Return a server for `services` that is not started yet.

    Args:
        tls: the TLS configuration; None: plaintext.
        health_address: where health alone is served, in plaintext, in addition to `listen_address`; None: nowhere.
        allow_insecure: whether `listen_address` may be reachable from other machines, although calls are not both
            authenticated and encrypted.
        settings_prefix: the prefix of the service's environment variables, for the error message.
        meter: counts the calls, those on `health_address` excepted.
        write_timeout: how long a message of a stream may wait for its client to read; None: forever.
        access: authenticates callers and authorizes calls; None: everybody may call.
        limits: the limits of the calls; None: the default ones.
        options: gRPC's options by name, in addition to ours or instead of them.

    Raises:
        SettingsError: other machines could reach `listen_address`, calls are not both authenticated and encrypted,
            and `allow_insecure` is not set.
    """
    check_exposure(
        listen_address,
        encrypted=tls is not None,
        authenticated=access is not None or (tls is not None and tls.authenticates_clients),
        allow_insecure=allow_insecure,
        prefix=settings_prefix,
    )
    if access is None and not (tls is not None and tls.authenticates_clients):
        LOGGER.warning("authentication is off: everybody who reaches the port can call every method")
    check_peer = PeerNames(tls.allowed_names).check_peer if tls is not None and tls.allowed_names else None
    limiter = CallLimiter(limits)
    interceptor = CallInterceptor(
        meter, write_timeout=write_timeout, check_peer=check_peer, access=access, limiter=limiter
    )
    server = grpc.aio.server(
        interceptors=(interceptor,),
        options=tuple({**dict(_OPTIONS), **(options or {})}.items()),
        maximum_concurrent_rpcs=limiter.limits.hard_limit,
    )
    names = tuple(service.name for service in services)
    for service in services:
        service.register(server)
    health_service = Health(names, drain=drain)
    health_service.register(server)
    if reflection:
        register_reflection(server, (*names, Health.SERVICE_NAME))
    return GrpcServer(
        Listener(server=server, address=listen_address, tls=tls),
        health=health_service,
        drain=drain,
        calls_ended=limiter.wait_until_idle,
        health_listener=_health_listener(health_service, health_address) if health_address is not None else None,
    )


def _health_listener(health_service: Health, address: ListenAddress) -> Listener:
    server = grpc.aio.server(
        interceptors=(CallInterceptor(),), options=_OPTIONS, maximum_concurrent_rpcs=_MAX_HEALTH_CALLS
    )
    health_service.register(server)
    return Listener(server=server, address=address)
