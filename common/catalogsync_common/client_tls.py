"""TLS of a client: trusted CAs, its own certificate, and the expected name of the server.

This module needs gRPC and the standard library only, since the command line uses it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc


class ClientTlsInvalid(ValueError):
    """A file cannot be used. The message names it, and contains no content of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTls:
    """The TLS configuration of a channel; all contents are PEM."""

    ca: bytes | None = field(default=None, repr=False)
    """Certificates of the trusted CAs; None: the public CAs that gRPC comes with."""
    certificate_chain: bytes | None = field(default=None, repr=False)
    """The client's certificate, for servers that require one; `private_key` is then set as well."""
    private_key: bytes | None = field(default=None, repr=False)
    server_name: str = ""
    """The name that the server's certificate must have; empty: the host in the address."""

    @classmethod
    def read(
        cls, *, ca_file: Path | None = None, certificate_file: Path | None = None, key_file: Path | None = None
    ) -> ClientTls:
        """Return the configuration in these files.

        Raises:
            ClientTlsInvalid: a file cannot be read or used, or a certificate has no key or a key no certificate.
        """
        if (certificate_file is None) != (key_file is None):
            raise ClientTlsInvalid("a client certificate needs both a certificate file and a key file")
        if ca_file is not None:
            _check_ca(ca_file)
        if certificate_file is not None and key_file is not None:
            _check_pair(certificate_file, key_file)
        return cls(
            ca=_read(ca_file) if ca_file else None,
            certificate_chain=_read(certificate_file) if certificate_file else None,
            private_key=_read(key_file) if key_file else None,
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """Return gRPC's form of it; it does not equal that of another call, so channels share no connection."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.certificate_chain)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ClientTlsInvalid(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None


def _check_ca(file: Path) -> None:
    _read(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (ssl.SSLError, OSError):
        raise ClientTlsInvalid(f"{file} does not contain PEM certificates") from None


def _check_pair(certificate_file: Path, key_file: Path) -> None:
    _read(certificate_file)
    _read(key_file)

    def no_passphrase() -> str:
        raise ClientTlsInvalid(f"{key_file} is encrypted; expected a key without a passphrase")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file, password=no_passphrase)
    except (ssl.SSLError, OSError):
        raise ClientTlsInvalid(
            f"{key_file} and {certificate_file} are not a PEM private key and its certificate"
        ) from None
