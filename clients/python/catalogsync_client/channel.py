"""The channel to a service, with the service config that catalogsync-protos ships."""

from __future__ import annotations

from importlib.resources import files

import grpc
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls


def open_catalog_channel(address: str, *, tls: ClientTls | None = None) -> grpc.aio.Channel:
    """Return a channel to catalog_svc that connects with its first call. Call this inside the running event loop.

    The service config balances the calls over all replicas that the name resolves to, leaves out unhealthy ones,
    and repeats calls that are safe to repeat.

    Args:
        address: "host:port" or "dns:///host:port"; several addresses as "ipv4:10.0.0.1:50051,10.0.0.2:50051".
        tls: encrypts the connection and verifies the server; None: plaintext.
    """
    config = files("catalogsync").joinpath("service_config.json").read_text(encoding="utf-8")
    return open_channel(address, service_config=config, tls=tls)
