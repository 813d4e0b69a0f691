"""The channel to connector_svc, in plaintext or with TLS."""

from __future__ import annotations

import grpc
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.reloading_channel import ReloadingChannel
from catalogsync_common.tls_files import TlsFiles, TlsMaterial

from catalog_svc.source.connector_client import CONNECTOR_CHANNEL


def open_connector_channel(address: str, tls: TlsFiles | None, *, server_name: str = "") -> grpc.aio.Channel:
    """Return a channel that connects with its first call.

    Args:
        address: Of connector_svc, as a gRPC target.
        tls: The client's files; a call that starts after they have changed uses a new connection. None: plaintext.
        server_name: The name that the certificate of connector_svc must have; empty: the host in the address.
    """
    if tls is None:
        return open_channel(address, service_config=CONNECTOR_CHANNEL)

    def connect(material: TlsMaterial) -> grpc.aio.Channel:
        pair = material.pair
        client_tls = ClientTls(
            ca=material.ca,
            certificate_chain=pair.certificate_chain if pair else None,
            private_key=pair.private_key if pair else None,
            server_name=server_name,
        )
        return open_channel(address, service_config=CONNECTOR_CHANNEL, tls=client_tls)

    return ReloadingChannel(tls, connect)
