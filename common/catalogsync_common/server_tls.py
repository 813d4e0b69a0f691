"""TLS of a server, with certificates that are replaced without a restart."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import grpc

from catalogsync_common.tls_files import TlsFiles, TlsMaterial

LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTls:
    """The TLS configuration of a server."""

    files: TlsFiles
    """The server's certificate and key and, for mTLS, the CAs of clients."""
    require_client_certificate: bool = False
    allowed_names: tuple[str, ...] = ()
    """DNS names and URIs of which a client's certificate must have one; empty: any certificate of the CAs."""

    @property
    def authenticates_clients(self) -> bool:
        """Whether only clients with a listed name can call."""
        return self.require_client_certificate and bool(self.allowed_names)

    def credentials(self) -> grpc.ServerCredentials:
        """Return gRPC's form of it. Each new connection uses the files as they are then."""
        initial = self.files.current()
        fetcher = _Fetcher(self.files, initial)
        return grpc.dynamic_ssl_server_credentials(
            _configuration(initial),
            fetcher.fetch,  # type: ignore[arg-type]  # The stubs lack None, which means "unchanged".
            self.require_client_certificate,
        )


class _Fetcher:
    """Called by gRPC before each handshake, in a thread of gRPC's; it must be quick and must not raise."""

    def __init__(self, files: TlsFiles, initial: TlsMaterial) -> None:
        self._files = files
        self._served = initial

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration if it has changed since the last call, else None."""
        try:
            material = self._files.current()
            if material is self._served:
                return None
            configuration = _configuration(material)
        except Exception:
            LOGGER.exception("the certificate of the server could not be replaced")
            return None
        self._served = material
        return configuration


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    assert material.pair is not None
    pair = (material.pair.private_key, material.pair.certificate_chain)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=material.ca)
