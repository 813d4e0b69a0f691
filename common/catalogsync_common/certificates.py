"""Reads and checks PEM files of TLS: a certificate chain with its private key, and the certificates of CAs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_MAX_FILE_BYTES: Final = 1 << 20
"""More than a bundle of all public CAs has."""
_MIN_RSA_BITS: Final = 2048


class TlsFileInvalid(Exception):
    """A file cannot be used for TLS. The message contains no content of the file."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file} {problem}")
        self.file = file


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, both PEM."""

    certificate_chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    expires_at: datetime
    """When the first of the chain's valid certificates expires."""


def read_key_pair(certificate_file: Path, key_file: Path, *, now: datetime) -> KeyPair:
    """Return the pair of a certificate file, which begins with the certificate itself, and its key file.

    Raises:
        TlsFileInvalid: a file cannot be read or parsed, the key does not belong to the certificate, the
            certificate is not valid at `now`, or gRPC does not support the kind of key.
    """
    chain, key_bytes = _read(certificate_file), _read(key_file)
    certificates = _parse_certificates(certificate_file, chain)
    key = _parse_key(key_file, key_bytes)
    if certificates[0].public_key() != key.public_key():
        raise TlsFileInvalid(key_file, f"is not the key of the first certificate in {certificate_file}")
    _check_validity(certificate_file, certificates[0], now)
    # A chain may contain an expired cross-signed certificate that clients do not need any more.
    ends = [one.not_valid_after_utc for one in certificates if one.not_valid_after_utc > now]
    return KeyPair(certificate_chain=chain, private_key=key_bytes, expires_at=min(ends))


def read_ca_bundle(file: Path) -> bytes:
    """Return the PEM text of a file with one or more certificates of CAs.

    An expired certificate in it is no error: it verifies nothing, and the others still do.

    Raises:
        TlsFileInvalid: the file cannot be read, or does not contain certificates only.
    """
    content = _read(file)
    _parse_certificates(file, content)
    return content


def is_readable_by_others(file: Path) -> bool:
    """Return whether every user of the machine may read or replace the file's content."""
    return bool(file.stat().st_mode & 0o006)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TlsFileInvalid(file, f"cannot be read: {error.strerror or type(error).__name__}") from None
    if not content.strip():
        raise TlsFileInvalid(file, "is empty")
    if len(content) > _MAX_FILE_BYTES:
        raise TlsFileInvalid(file, f"is larger than {_MAX_FILE_BYTES} bytes")
    return content


def _parse_certificates(file: Path, content: bytes) -> list[x509.Certificate]:
    # The parser ignores a last block without its end: a file that is still being written.
    begun = content.count(b"-----BEGIN CERTIFICATE-----")
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError:
        certificates = []
    if not certificates or len(certificates) != begun:
        raise TlsFileInvalid(file, "does not contain complete PEM certificates")
    return certificates


def _parse_key(file: Path, content: bytes) -> PrivateKeyTypes:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise TlsFileInvalid(file, "is encrypted; expected a key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsFileInvalid(file, "does not contain a PEM private key") from None
    if not _is_supported(key):
        raise TlsFileInvalid(
            file, f"has a key that is not supported; use ECDSA P-256 or P-384, or RSA with {_MIN_RSA_BITS} bits"
        )
    return key


def _is_supported(key: PrivateKeyTypes) -> bool:
    """Return whether gRPC can use the key: its handshakes fail with Ed25519 and with other curves."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS


def _check_validity(file: Path, certificate: x509.Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        raise TlsFileInvalid(file, f"has expired on {_text(ends)}")
    if now < begins:
        raise TlsFileInvalid(file, f"is not valid before {_text(begins)}")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
