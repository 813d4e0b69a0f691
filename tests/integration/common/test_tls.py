"""TLS and mTLS on real sockets: who can connect, and how certificates are replaced while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from catalogsync_common.auth.access_rules import AccessRules
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.auth.secret_keys import ServiceSecrets
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls, ClientTlsInvalid
from catalogsync_common.drain import Drain
from catalogsync_common.server import Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ListenAddress, SettingsError
from catalogsync_common.status import read_failure, read_failure_now
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Running
from tests.tls import NOT_BEFORE, Authority, IssuedFiles, client_context, der_of, replace_file, served_certificate
from tests.waiting import TIMEOUT_SECONDS, within_timeout

CALL_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def issued(authority: Authority) -> IssuedFiles:
    """The certificate of the server, for "localhost" and 127.0.0.1."""
    return authority.issue("server", dns=("localhost",))


def server_tls(issued: IssuedFiles, *, client_ca: Path | None = None, allowed: Sequence[str] = ()) -> ServerTls:
    paths = TlsFilePaths(certificate=issued.certificate, key=issued.key, ca=client_ca)
    return ServerTls(
        files=TlsFiles("server", paths),
        require_client_certificate=client_ca is not None,
        allowed_names=tuple(allowed),
    )


def client_tls(authority: Authority, own: IssuedFiles | None = None) -> ClientTls:
    if own is None:
        return ClientTls.read(ca_file=authority.file)
    return ClientTls.read(ca_file=authority.file, certificate_file=own.certificate, key_file=own.key)


@asynccontextmanager
async def serving(handlers: Handlers, tls: ServerTls, client: ClientTls) -> AsyncIterator[Running]:
    """Run a server with TLS, and a channel to it."""
    drain = Drain()
    server = build_server(
        (Service(name=SERVICE, register=handlers.register),),
        listen_address=ListenAddress("127.0.0.1:0"),
        drain=drain,
        tls=tls,
    )
    port = await server.start()
    await server.set_serving(True)
    async with open_channel(f"127.0.0.1:{port}", tls=client) as channel:
        try:
            yield Running(server=server, drain=drain, port=port, channel=channel)
        finally:
            await server.stop(timedelta())


async def echo(request: StringValue, context: Any) -> StringValue:
    return request


class Recorder:
    """Handlers of all kinds that record whether one of them was entered."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.handlers = Handlers(
            unary_unary=self._unary,
            unary_stream=self._stream,
            stream_unary=self._unary,
            stream_stream=self._stream,
        )

    async def _unary(self, request: Any, context: Any) -> StringValue:
        self.entered.append("unary")
        return StringValue()

    async def _stream(self, request: Any, context: Any) -> AsyncIterator[StringValue]:
        self.entered.append("stream")
        yield StringValue()


async def call_error(port: int, client: ClientTls | None) -> grpc.aio.AioRpcError:
    """Make a call on a new channel, which must fail."""
    async with open_channel(f"127.0.0.1:{port}", tls=client) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS
            )
        return caught.value


async def test_calls_are_encrypted_and_plaintext_is_refused(authority: Authority, issued: IssuedFiles) -> None:
    async with serving(Handlers(unary_unary=echo), server_tls(issued), client_tls(authority)) as running:
        assert await running.call("unary_unary", "hello") == ["hello"]
        assert (await call_error(running.port, None)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_of_an_unknown_ca_is_refused(
    authority: Authority, issued: IssuedFiles, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger", "stranger")
    async with serving(Handlers(unary_unary=echo), server_tls(issued), client_tls(authority)) as running:
        error = await call_error(running.port, client_tls(stranger))
    assert "CERTIFICATE_VERIFY_FAILED" in (error.details() or "")


async def test_the_name_of_the_server_is_verified_unless_another_one_is_expected(authority: Authority) -> None:
    issued = authority.issue("server", dns=("connector.internal",), addresses=())
    async with serving(Handlers(unary_unary=echo), server_tls(issued), client_tls(authority)) as running:
        error = await call_error(running.port, client_tls(authority))
        assert "Hostname Verification Check failed" in (error.details() or "")
        ca = authority.file.read_bytes()
        named = ClientTls(ca=ca, server_name="connector.internal")
        async with open_channel(f"127.0.0.1:{running.port}", tls=named) as channel:
            assert await running.raw(StringValue(value="x").SerializeToString(), channel)
        error = await call_error(running.port, ClientTls(ca=ca, server_name="catalog.internal"))
        assert "Hostname Verification Check failed" in (error.details() or "")


async def test_a_client_needs_a_certificate_of_the_ca(
    authority: Authority, issued: IssuedFiles, tmp_path: Path
) -> None:
    own, stranger = authority.issue("client"), Authority(tmp_path / "stranger").issue("client")
    tls = server_tls(issued, client_ca=authority.file)
    async with serving(Handlers(unary_unary=echo), tls, client_tls(authority, own)) as running:
        assert await running.call("unary_unary", "hello") == ["hello"]
        for client in (client_tls(authority), client_tls(authority, stranger)):
            assert (await call_error(running.port, client)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_connection_gets_the_renewed_certificate_and_a_running_stream_goes_on(
    authority: Authority, issued: IssuedFiles
) -> None:
    finish = asyncio.Event()

    async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="before")
        await finish.wait()
        yield StringValue(value="after")

    async with serving(Handlers(unary_stream=stream), server_tls(issued), client_tls(authority)) as running:
        call = running.open("unary_stream")
        assert (await call.read()).value == "before"
        assert await served_certificate(running.port) == der_of(issued)
        renewed = authority.issue("server", dns=("localhost",))
        assert await served_certificate(running.port) == der_of(renewed)
        finish.set()
        assert (await call.read()).value == "after"


@pytest.mark.parametrize("content", [b"", b"garbage"])
async def test_the_last_good_certificate_is_served_while_the_file_is_unusable(
    authority: Authority, issued: IssuedFiles, content: bytes, logged: LogLines
) -> None:
    good, healthy = der_of(issued), client_tls(authority)
    async with serving(Handlers(unary_unary=echo), server_tls(issued), healthy) as running:
        replace_file(issued.certificate, content)
        for _ in range(3):
            assert await served_certificate(running.port) == good
        assert await running.call("unary_unary", "hello") == ["hello"]
        errors = [line for line in logged.all if line["level"] == "ERROR"]
        assert len(errors) == 1
        authority.issue("server", not_after=NOT_BEFORE + timedelta(hours=1))
        assert await served_certificate(running.port) == good
        renewed = authority.issue("server")
        assert await served_certificate(running.port) == der_of(renewed)


async def test_the_cas_of_clients_are_replaced_as_well(
    authority: Authority, issued: IssuedFiles, tmp_path: Path
) -> None:
    old_ca, new_ca = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    bundle = tmp_path / "clients.pem"
    replace_file(bundle, old_ca.file.read_bytes())
    old, new = (client_tls(authority, ca.issue("client")) for ca in (old_ca, new_ca))
    async with serving(Handlers(unary_unary=echo), server_tls(issued, client_ca=bundle), old) as running:
        assert await running.call("unary_unary") == [""]
        await call_error(running.port, new)
        replace_file(bundle, new_ca.file.read_bytes())
        async with open_channel(f"127.0.0.1:{running.port}", tls=new) as channel:
            await running.raw(b"", channel)
        await call_error(running.port, old)


@pytest.mark.parametrize(
    ("names", "allowed", "accepted"),
    [
        ({"dns": ["catalog.internal"]}, ["catalog.internal"], True),
        ({"dns": ["Catalog.Internal"]}, ["catalog.internal"], True),
        ({"dns": ["other.internal", "catalog.internal"]}, ["x.internal", "catalog.internal"], True),
        ({"uris": ["spiffe://acme/catalog"]}, ["spiffe://acme/catalog"], True),
        ({"dns": ["catalog.internal.evil.example"]}, ["catalog.internal"], False),
        ({"dns": ["*.internal"]}, ["catalog.internal"], False),
        ({"uris": ["spiffe://acme/catalog/x"]}, ["spiffe://acme/catalog"], False),
        ({"dns": ["connector.internal"]}, ["catalog.internal"], False),
        ({"emails": ["catalog.internal"]}, ["catalog.internal"], False),
        ({"addresses": ["127.0.0.1"]}, ["127.0.0.1"], False),
        ({"uris": ["catalog.internal"]}, ["catalog.internal"], False),
        ({"dns": ["spiffe://acme/catalog"]}, ["spiffe://acme/catalog"], False),
        ({"addresses": []}, ["catalog.internal"], False),
    ],
)
async def test_only_clients_with_an_allowed_name_of_the_right_kind_are_accepted(
    authority: Authority, issued: IssuedFiles, names: dict[str, Any], allowed: list[str], accepted: bool
) -> None:
    own = authority.issue("client", **names)
    tls, recorder = server_tls(issued, client_ca=authority.file, allowed=allowed), Recorder()
    async with serving(recorder.handlers, tls, client_tls(authority, own)) as running:
        if accepted:
            await running.call("unary_unary")
            return
        error = await running.error("unary_unary")
    received = read_failure_now(error)
    assert (received.code, received.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert recorder.entered == []


async def test_an_unlisted_client_reaches_no_handler_of_any_kind(
    authority: Authority, issued: IssuedFiles
) -> None:
    tls = server_tls(issued, client_ca=authority.file, allowed=("catalog.internal",))
    recorder, own = Recorder(), authority.issue("client", dns=("other.internal",))
    async with serving(recorder.handlers, tls, client_tls(authority, own)) as running:
        errors = [await running.error(kind) for kind in CALL_KINDS]
        errors.append(await call_error(running.port, client_tls(authority, own)))
        watch = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest())
        assert await within_timeout(_failure_of(watch)) is grpc.StatusCode.UNAUTHENTICATED
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}
    assert recorder.entered == []


async def test_an_unlisted_client_that_sends_nothing_is_refused_at_once(
    authority: Authority, issued: IssuedFiles
) -> None:
    tls = server_tls(issued, client_ca=authority.file, allowed=("catalog.internal",))
    own = authority.issue("client", dns=("other.internal",))
    async with serving(Recorder().handlers, tls, client_tls(authority, own)) as running:
        multi = running.channel.stream_stream(
            f"/{SERVICE}/stream_stream", StringValue.SerializeToString, StringValue.FromString
        )
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel).ServerReflectionInfo
        for call in (multi(), reflection()):
            failure = await within_timeout(_failure_of(call))
            assert failure is grpc.StatusCode.UNAUTHENTICATED


async def _failure_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return (await read_failure(caught.value, call)).code


async def test_connections_without_a_handshake_or_without_http2_are_closed(
    authority: Authority, issued: IssuedFiles
) -> None:
    """Otherwise a client could hold any number of them; gRPC's default is two minutes. The server waits 10 s."""
    context = client_context(authority.file)
    context.set_alpn_protocols(["h2"])
    async with serving(Handlers(unary_unary=echo), server_tls(issued), client_tls(authority)) as running:
        silent = await asyncio.open_connection("127.0.0.1", running.port)
        encrypted = await asyncio.open_connection("127.0.0.1", running.port, ssl=context)
        for reader, writer in (silent, encrypted):
            await within_timeout(reader.read())
            assert reader.at_eof()
            writer.close()


async def test_metadata_beyond_the_limit_are_refused(authority: Authority, issued: IssuedFiles) -> None:
    async with serving(Handlers(unary_unary=echo), server_tls(issued), client_tls(authority)) as running:
        assert await running.call("unary_unary", "x", metadata=(("note", "y" * 6_000),)) == ["x"]
        error = await running.error("unary_unary", "x", metadata=(("note", "y" * 20_000),))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("encrypted", "authenticated", "allowed", "missing"),
    [
        (False, False, (), "authentication and encryption"),
        (True, False, (), "authentication"),
        (False, True, (), "encryption"),
        (True, True, (), None),
        (True, False, ("catalog.internal",), None),
    ],
)
def test_beyond_loopback_calls_must_be_authenticated_and_encrypted(
    authority: Authority,
    issued: IssuedFiles,
    encrypted: bool,
    authenticated: bool,
    allowed: tuple[str, ...],
    missing: str | None,
    logged: LogLines,
) -> None:
    tls = server_tls(issued, client_ca=authority.file, allowed=allowed) if encrypted else None

    def build(*, allow_insecure: bool) -> None:
        build_server(
            (),
            listen_address=ListenAddress("0.0.0.0:0"),
            drain=Drain(),
            tls=tls,
            access=CallAccess(AccessRules({}), secrets=ServiceSecrets()) if authenticated else None,
            allow_insecure=allow_insecure,
            settings_prefix="X_",
        )

    if missing is None:
        build(allow_insecure=False)
        assert logged.text == ""
        return
    with pytest.raises(SettingsError, match=rf"X_LISTEN_ADDRESS: .* without {missing}; .*X_ALLOW_INSECURE=1"):
        build(allow_insecure=False)
    build(allow_insecure=True)
    assert f"without {missing}, where other machines can reach it" in logged.text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda files, ca: {"ca_file": files.key}, "server.key does not contain PEM certificates"),
        (lambda files, ca: {"ca_file": Path("/nonexistent")}, "/nonexistent cannot be read: No such file"),
        (lambda files, ca: {"certificate_file": files.certificate}, "both a certificate file and a key file"),
        (
            lambda files, ca: {"certificate_file": ca, "key_file": files.key},
            "are not a PEM private key and its certificate",
        ),
    ],
)
def test_unusable_files_of_a_client_are_named(
    authority: Authority,
    issued: IssuedFiles,
    change: Callable[[IssuedFiles, Path], dict[str, Path]],
    expected: str,
) -> None:
    with pytest.raises(ClientTlsInvalid, match=expected):
        ClientTls.read(**change(issued, authority.file))


def test_the_repr_of_a_client_configuration_has_no_key(authority: Authority, issued: IssuedFiles) -> None:
    assert "KEY" not in repr(client_tls(authority, issued))
