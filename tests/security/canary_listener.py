"""Listeners on loopback that nobody may reach: they count connections and keep what is sent to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_REPLY: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
_MAX_BYTES: Final = 1_000_000


@dataclass(slots=True)
class Canary:
    """What arrived at a plain and at a TLS listener."""

    plain_port: int = 0
    tls_port: int = 0
    connections: int = 0
    received: bytearray = field(default_factory=bytearray)
    """Decrypted at the TLS listener; the plain listener also gets the handshakes of TLS clients."""

    def reset(self) -> None:
        """Forget what arrived."""
        self.connections = 0
        self.received.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a connection and answer every request with 404."""
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(65_536):
                if len(self.received) < _MAX_BYTES:
                    self.received += data
                if b"\r\n\r\n" in data:
                    writer.write(_REPLY)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(certificate: Path) -> AsyncIterator[Canary]:
    """Listen on free ports of 127.0.0.1, and on the same ports of ::1 if the machine has IPv6."""
    canary = Canary()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    servers: list[asyncio.Server] = []
    for name, context in (("plain_port", None), ("tls_port", tls)):
        servers.append(await asyncio.start_server(canary.serve, "127.0.0.1", 0, ssl=context))
        port = servers[-1].sockets[0].getsockname()[1]
        setattr(canary, name, port)
        with suppress(OSError):
            servers.append(await asyncio.start_server(canary.serve, "::1", port, ssl=context))
    try:
        yield canary
    finally:
        for server in servers:
            server.close()


def write_certificate(path: Path, names: Sequence[str]) -> Path:
    """Write a PEM with a key and a self-signed certificate for `names`, which trusts itself as a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "canary")])
    addresses = [x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, names), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
