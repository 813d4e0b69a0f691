"""Channels to other services."""

from __future__ import annotations

from typing import Final

import grpc

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # By default the third ping in a row without a request between them waits for a minute: a watcher sends none.
    ("grpc.http2.max_pings_without_data", 0),
    # A server sends up to 8 MiB and receives up to 4 MiB.
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    # gRPC's own limit is two minutes, a long time after the other side is back.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Our services call each other directly; a proxy for the outside world does not know them.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, *, service_config: str | None = None) -> grpc.aio.Channel:
    """A channel to `address` ("host:port", "dns:///host:port"), connecting with the first call.

    Call it inside the running event loop. `service_config` is gRPC's JSON: load balancing, retries, time-outs
    per method. Send `correlation.outgoing_metadata()` with each call.
    """
    options: tuple[tuple[str, int | str], ...] = _OPTIONS
    if service_config is not None:
        options = (*options, ("grpc.service_config", service_config))
    return _connect(address, options)


def _connect(address: str, options: tuple[tuple[str, int | str], ...]) -> grpc.aio.Channel:
    """The one place that decides how a connection is protected."""
    return grpc.aio.insecure_channel(address, options=options)
