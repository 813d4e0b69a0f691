"""TLS contexts of the clients under test, and certificates of an authority that a test creates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import NameOID

NOT_BEFORE = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
NOT_AFTER = NOT_BEFORE + timedelta(days=90)


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a client context that trusts only the CA certificates in `ca_file`; without a file it trusts none.

    Loading the system's root certificates takes 20 ms, which tests against the devstore do not need.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedFiles:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that issues certificates into a directory.

    Args:
        directory: Where all files are written; it is created.
        name: Of the authority; its certificate is the file "{name}.pem".
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of the tests")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), NOT_BEFORE, NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        emails: Sequence[str] = (),
        addresses: Sequence[str] = ("127.0.0.1",),
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> IssuedFiles:
        """Write "{name}.pem" and "{name}.key" with a new certificate; existing files are replaced at once.

        Args:
            name: Of the files.
            dns: DNS names of the certificate, as its other subject alternative names.
            key: The private key; None: a new one on the curve P-256.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.RFC822Name, emails),
            *(x509.IPAddress(ip_address(text)) for text in addresses),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._name, key.public_key(), not_before, not_after)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = IssuedFiles(certificate=self._directory / f"{name}.pem", key=self._directory / f"{name}.key")
        replace_file(files.key, pem_of(key), mode=0o600)
        replace_file(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return files


def pem_of(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """Return a private key in PEM format, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def replace_file(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a new file and rename it to `file`."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    new.replace(file)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


async def served_certificate(port: int) -> bytes:
    """Return the certificate, in DER format, that a new connection to a gRPC server gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(certificate, bytes)
    return certificate


def der_of(issued: IssuedFiles) -> bytes:
    """Return a certificate in DER format."""
    return ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())
