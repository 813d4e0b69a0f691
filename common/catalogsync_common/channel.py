"""gRPC channels to other services."""

from __future__ import annotations

from typing import Final

import grpc

from catalogsync_common.client_tls import ClientTls

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # By default the third ping in a row without a request in between is delayed by a minute; a watcher sends none.
    ("grpc.http2.max_pings_without_data", 0),
    # A server sends up to 8 MiB and receives up to 4 MiB.
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    # gRPC's default maximum is two minutes: too long after the other side is back.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Our services call each other directly; a proxy for outgoing traffic does not know them.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(
    address: str, *, service_config: str | None = None, tls: ClientTls | None = None
) -> grpc.aio.Channel:
    """Return a channel that connects with its first call. Call this inside the running event loop.

    Send `call_context.outgoing_metadata()` with each call.

    Args:
        address: "host:port" or "dns:///host:port".
        service_config: gRPC's service config as JSON: load balancing, retries and timeouts per method.
        tls: encrypts the connection and verifies the server; None: plaintext.
    """
    options: tuple[tuple[str, int | str], ...] = _OPTIONS
    if service_config is not None:
        options = (*options, ("grpc.service_config", service_config))
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    if tls.server_name:
        # The name is still verified, but the one that is expected here.
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    return grpc.aio.secure_channel(address, tls.credentials(), options=options)
