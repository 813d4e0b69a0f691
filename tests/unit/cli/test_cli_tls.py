"""The command line over TLS: options and environment, and one readable sentence for each failed connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_cli.command import Options
from catalogsync_common.drain import Drain
from catalogsync_common.server import Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ListenAddress
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles

from tests.fakes.checking_connector import CheckingConnector
from tests.tls import NOT_BEFORE, Authority, IssuedFiles
from tests.unit.cli.conftest import CommandLine, Result


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@asynccontextmanager
async def connector(issued: IssuedFiles | None, *, client_ca: Path | None = None) -> AsyncIterator[str]:
    """Run a connector with TLS, or in plaintext without a certificate; yield its address."""

    def register(server: grpc.aio.Server) -> None:
        add_ConnectorServiceServicer_to_server(CheckingConnector(), server)

    tls = None
    if issued is not None:
        files = TlsFiles("server", TlsFilePaths(certificate=issued.certificate, key=issued.key, ca=client_ca))
        tls = ServerTls(files=files, require_client_certificate=client_ca is not None)
    server = build_server(
        (Service(name="x", register=register),),
        listen_address=ListenAddress("127.0.0.1:0"),
        drain=Drain(),
        tls=tls,
    )
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(timedelta())


async def platforms(run: CommandLine, address: str, *options: str, **environment: str) -> Result:
    return await run(*options, "--connector", address, "platforms", **environment)


async def test_options_and_environment_give_the_files(run: CommandLine, authority: Authority) -> None:
    issued, own = authority.issue("server"), authority.issue("client")
    ca, certificate, key = map(str, (authority.file, own.certificate, own.key))
    async with connector(issued, client_ca=authority.file) as address:
        options = ("--ca-file", ca, "--cert-file", certificate, "--key-file", key)
        assert (await platforms(run, address, *options)).code == 0
        environment = {
            "CATALOGSYNC_CA_FILE": ca,
            "CATALOGSYNC_CERT_FILE": certificate,
            "CATALOGSYNC_KEY_FILE": key,
        }
        assert (await platforms(run, address, **environment)).code == 0


async def test_each_failed_connection_is_one_sentence(
    run: CommandLine, authority: Authority, tmp_path: Path
) -> None:
    issued = authority.issue("server")
    stranger = Authority(tmp_path / "stranger", "stranger")
    own = stranger.issue("client")
    trusted = ("--ca-file", str(authority.file))
    with_certificate = (*trusted, "--cert-file", str(own.certificate), "--key-file", str(own.key))
    async with connector(issued) as address:
        await expect(run, address, ("--ca-file", str(stranger.file)), "CA that is not trusted here", "UNTRUSTED")
        await expect(run, address, ("--tls",), "CA that is not trusted here", "CERTIFICATE_UNTRUSTED")
        await expect(run, address, (), "it may require TLS", "CONNECTION_CLOSED")
        named = address.replace("127.0.0.1", "localhost")
        await expect(run, named, trusted, "for another name than the host", "CERTIFICATE_NAME_MISMATCH")
    async with connector(issued, client_ca=authority.file) as address:
        for options in (trusted, with_certificate):
            await expect(run, address, options, "a client certificate that it trusts", "CONNECTION_CLOSED")
    async with connector(None) as address:
        await expect(run, address, trusted, "does not use TLS", "TLS_NOT_SUPPORTED")


async def expect(run: CommandLine, address: str, options: tuple[str, ...], message: str, reason: str) -> None:
    """Run a command, and check its error: one line with a message, a reason and a next step."""
    result = await platforms(run, address, *options)
    assert (result.code, result.out) == (4, "")
    assert result.err.count("\n") == 1, result.err
    line = result.err.strip()
    assert line.startswith(f"Error: connector_svc at {address} ")
    assert message in line
    assert f"{reason}]; " in line
    assert "OPENSSL" not in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ca-file", "/nonexistent/ca.pem"), "/nonexistent/ca.pem cannot be read: No such file or directory"),
        (("--cert-file", "/nonexistent/c.pem"), "needs both a certificate file and a key file"),
    ],
)
async def test_unusable_files_are_named(run: CommandLine, options: tuple[str, ...], message: str) -> None:
    result = await run(*options, "platforms")
    assert result.code == 2
    assert message in result.err


def test_suggested_commands_have_the_options_for_tls() -> None:
    assert Options(tls=True).catalog_hint == " --tls"
    assert Options(catalog="a:1", ca_file="/my ca.pem").catalog_hint == " --catalog a:1 --ca-file '/my ca.pem'"
    assert Options().catalog_hint == ""


async def test_an_expired_certificate_of_the_service_is_reported(run: CommandLine, authority: Authority) -> None:
    issued = authority.issue("server", not_after=NOT_BEFORE + timedelta(hours=1))
    # A server of ours does not start with such a certificate; it was started before.
    paths = TlsFilePaths(certificate=issued.certificate, key=issued.key)
    files = TlsFiles("server", paths, utc_now=lambda: NOT_BEFORE)
    server = build_server(
        (), listen_address=ListenAddress("127.0.0.1:0"), drain=Drain(), tls=ServerTls(files=files)
    )
    port = await server.start()
    try:
        address = f"127.0.0.1:{port}"
        await expect(run, address, ("--ca-file", str(authority.file)), "has expired", "CERTIFICATE_EXPIRED")
    finally:
        await server.stop(timedelta())
