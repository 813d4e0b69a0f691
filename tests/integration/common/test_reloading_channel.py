"""A client uses its renewed certificate for new calls, and running calls end undisturbed on the old connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.drain import Drain
from catalogsync_common.reloading_channel import ReloadingChannel
from catalogsync_common.server import Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ListenAddress
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles, TlsMaterial
from google.protobuf.wrappers_pb2 import StringValue

from tests.integration.common.conftest import SERVICE, Handlers, Running
from tests.tls import Authority, IssuedFiles, replace_file
from tests.waiting import until


def caller(context: Any) -> StringValue:
    """Return the DNS name in the certificate of the caller."""
    (name,) = context.auth_context()["peer_dns"]
    return StringValue(value=name.decode())


class Handler:
    """Answers with the name of the caller; streams send it once more when `finish` is set."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.handlers = Handlers(
            unary_unary=self._unary,
            unary_stream=self._stream,
            stream_unary=self._unary,
            stream_stream=self._stream,
        )

    async def _unary(self, request: Any, context: Any) -> StringValue:
        return caller(context)

    async def _stream(self, request: Any, context: Any) -> AsyncIterator[StringValue]:
        yield caller(context)
        await self.finish.wait()
        yield caller(context)


class Client:
    """The files and the channel of a client."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.issued = self.renew("first.internal")

    def renew(self, name: str) -> IssuedFiles:
        """Replace the certificate by one with another name."""
        return self.authority.issue("client", dns=(name,))

    def channel(self, port: int) -> ReloadingChannel:
        paths = TlsFilePaths(certificate=self.issued.certificate, key=self.issued.key, ca=self.authority.file)

        def connect(material: TlsMaterial) -> grpc.aio.Channel:
            assert material.pair is not None
            tls = ClientTls(
                ca=material.ca,
                certificate_chain=material.pair.certificate_chain,
                private_key=material.pair.private_key,
            )
            return open_channel(f"127.0.0.1:{port}", tls=tls)

        return ReloadingChannel(TlsFiles("client", paths), connect)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(Authority(tmp_path / "tls"))


@asynccontextmanager
async def serving(
    handler: Handler, tmp_path: Path, client: Client
) -> AsyncIterator[tuple[Running, ReloadingChannel]]:
    ca = tmp_path / "tls" / "ca.pem"
    issued = client.authority.issue("server")
    paths = TlsFilePaths(certificate=issued.certificate, key=issued.key, ca=ca)
    drain = Drain()
    server = build_server(
        (Service(name=SERVICE, register=handler.handlers.register),),
        listen_address=ListenAddress("127.0.0.1:0"),
        drain=drain,
        tls=ServerTls(files=TlsFiles("server", paths), require_client_certificate=True),
    )
    port = await server.start()
    async with client.channel(port) as channel:
        try:
            yield Running(server=server, drain=drain, port=port, channel=channel), channel
        finally:
            await server.stop(timedelta())


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_new_call_uses_the_renewed_certificate(kind: str, client: Client, tmp_path: Path) -> None:
    handler = Handler()
    handler.finish.set()
    async with serving(handler, tmp_path, client) as (running, channel):
        assert set(await running.call(kind)) == {"first.internal"}
        client.renew("second.internal")
        assert set(await running.call(kind)) == {"second.internal"}
        await until(lambda: channel.open_channels == 1)


async def test_a_running_stream_goes_on_and_the_old_channel_is_closed_after_its_end(
    client: Client, tmp_path: Path
) -> None:
    handler = Handler()
    async with serving(handler, tmp_path, client) as (running, channel):
        stream = running.open("unary_stream")
        assert (await stream.read()).value == "first.internal"
        client.renew("second.internal")
        assert await running.call("unary_unary") == ["second.internal"]
        second = running.open("unary_stream")
        assert (await second.read()).value == "second.internal"
        client.renew("third.internal")
        assert await running.call("unary_unary") == ["third.internal"]
        assert channel.open_channels == 3
        handler.finish.set()
        assert (await stream.read()).value == "first.internal"
        assert await stream.read() is grpc.aio.EOF
        assert (await second.read()).value == "second.internal"
        assert await second.read() is grpc.aio.EOF
        await until(lambda: channel.open_channels == 1)
        assert await running.call("unary_unary") == ["third.internal"]


async def test_a_cancelled_stream_releases_the_old_channel(client: Client, tmp_path: Path) -> None:
    async with serving(Handler(), tmp_path, client) as (running, channel):
        stream = running.open("unary_stream")
        await stream.read()
        client.renew("second.internal")
        await running.call("unary_unary")
        stream.cancel()
        await until(lambda: channel.open_channels == 1)


async def test_unusable_files_leave_the_channel_as_it_is(client: Client, tmp_path: Path) -> None:
    async with serving(Handler(), tmp_path, client) as (running, channel):
        replace_file(client.issued.certificate, b"garbage")
        assert await running.call("unary_unary") == ["first.internal"]
        assert channel.open_channels == 1


async def test_closing_the_channel_ends_the_calls_on_old_connections_too(client: Client, tmp_path: Path) -> None:
    async with serving(Handler(), tmp_path, client) as (running, channel):
        stream = running.open("unary_stream")
        await stream.read()
        client.renew("second.internal")
        await running.call("unary_unary")
        await channel.close()
        assert await stream.code() is grpc.StatusCode.CANCELLED
