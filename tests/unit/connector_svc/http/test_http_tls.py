from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector_svc.domain.errors import SourceUnreachable
from connector_svc.http.client import open_http
from connector_svc.http.config import CaFileInvalid, Endpoints, HttpConfig, create_tls_context
from tests.fakes.shop_server import SHOP, FakeEnvironment


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """PEM with a key and a self-signed certificate for 127.0.0.1, and not for "localhost"."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "shop.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
async def port(certificate: Path) -> AsyncIterator[int]:
    """The port of a shop that uses this certificate."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_get("/", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask(base_url: str, tls: ssl.SSLContext, env: FakeEnvironment) -> int:
    config = HttpConfig(endpoints=Endpoints.of({SHOP.domain: base_url}), tls=tls)
    async with open_http(config, env.dependencies()) as http:
        return (await http.to_shop(SHOP).request("GET", "/")).status


async def test_a_private_ca_is_trusted_if_it_is_configured(
    port: int, certificate: Path, env: FakeEnvironment
) -> None:
    assert await ask(f"https://127.0.0.1:{port}", create_tls_context(certificate), env) == 200


async def test_an_untrusted_certificate_is_rejected_without_retry(port: int, env: FakeEnvironment) -> None:
    with pytest.raises(SourceUnreachable, match="certificate"):
        await ask(f"https://127.0.0.1:{port}", create_tls_context(), env)
    assert env.sleeps == []


async def test_a_certificate_of_another_host_is_rejected(
    port: int, certificate: Path, env: FakeEnvironment
) -> None:
    with pytest.raises(SourceUnreachable, match="certificate"):
        await ask(f"https://localhost:{port}", create_tls_context(certificate), env)


@pytest.mark.parametrize("package", ["catalog_svc", "connector_svc", "common"])
def test_no_code_can_switch_the_verification_of_certificates_off(package: str) -> None:
    names = (
        "CERT_NONE",
        "check_hostname",
        "verify_mode",
        "_create_unverified_context",
        "verify_ssl",
        "trust_env=True",
    )
    root = Path(__file__).parents[4] / package
    sources = {path: path.read_text() for path in root.rglob("*.py")}
    assert sources
    assert [(path, name) for path, text in sources.items() for name in names if name in text] == []
    assert [path for path, text in sources.items() if "ssl=False" in text] == []


def test_the_systems_roots_stay_trusted_with_a_private_ca(certificate: Path) -> None:
    alone, both = create_tls_context(), create_tls_context(certificate)
    assert len(both.get_ca_certs()) == len(alone.get_ca_certs()) + 1


def test_a_ca_file_without_certificates_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(CaFileInvalid, match=r"ca\.pem"):
        create_tls_context(path)
    with pytest.raises(CaFileInvalid):
        create_tls_context(tmp_path / "missing.pem")
